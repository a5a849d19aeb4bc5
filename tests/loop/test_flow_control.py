"""pause_writing and resume_writing, water marks, pause_reading and resume_reading."""

from __future__ import annotations

import asyncio
import socket

import pytest

from .helpers import BufferedRecorder, Recorder, connected, first, pattern, peer_of, serving, turns

BIG = 16_000_000  # more than the kernel's socket buffers hold

KINDS = pytest.mark.parametrize("kind", [Recorder, BufferedRecorder], ids=["Protocol", "BufferedProtocol"])


async def test_the_default_water_marks(loop):
    async with connected() as (client, _):
        assert client.transport.get_write_buffer_limits() == (16 * 1024, 64 * 1024)
        assert client.transport.get_write_buffer_size() == 0


@pytest.mark.parametrize(
    ("options", "limits"),
    [
        ({"high": 1000}, (250, 1000)),
        ({"high": 1000, "low": 10}, (10, 1000)),
        ({"high": 0}, (0, 0)),
        ({"low": 100}, (100, 400)),
        ({}, (16 * 1024, 64 * 1024)),
    ],
)
async def test_setting_water_marks(loop, options, limits):
    async with connected() as (client, _):
        client.transport.set_write_buffer_limits(**options)
        assert client.transport.get_write_buffer_limits() == limits


@pytest.mark.parametrize("options", [{"high": -1}, {"high": 10, "low": 20}, {"low": -1}, {"high": 10, "low": -1}])
async def test_bad_water_marks(loop, options):
    async with connected() as (client, _):
        with pytest.raises(ValueError):
            client.transport.set_write_buffer_limits(**options)


async def test_a_peer_that_does_not_read_pauses_the_writer(loop):
    payload = pattern(BIG)
    async with connected() as (client, server):
        server.transport.pause_reading()
        client.transport.write(payload)
        await client.until_called("pause_writing")
        assert client.transport.get_write_buffer_size() > client.transport.get_write_buffer_limits()[1]
        await asyncio.sleep(0.02)
        assert "resume_writing" not in client.calls
        server.transport.resume_reading()
        await client.until_called("resume_writing")
        assert client.transport.get_write_buffer_size() <= client.transport.get_write_buffer_limits()[0]
        assert await server.until_received(BIG) == payload
        assert client.calls.count("pause_writing") == client.calls.count("resume_writing") == 1


async def test_pausing_once_for_many_writes(loop):
    async with connected() as (client, server):
        server.transport.pause_reading()
        for _ in range(200):
            client.transport.write(b"x" * 100_000)
        await client.until_called("pause_writing")
        await asyncio.sleep(0.01)
        assert client.calls.count("pause_writing") == 1
        server.transport.resume_reading()
        await client.until_called("resume_writing")
        await server.until_received(20_000_000)
        assert client.calls.count("pause_writing") == client.calls.count("resume_writing") == 1


async def test_with_a_high_mark_of_zero_anything_held_back_pauses(loop):
    async with connected() as (client, server):
        client.transport.set_write_buffer_limits(high=0)
        server.transport.pause_reading()
        client.transport.write(bytes(BIG))
        await client.until_called("pause_writing")
        server.transport.resume_reading()
        await client.until_called("resume_writing")
        assert client.transport.get_write_buffer_size() == 0
        await server.until_received(BIG)


async def test_writes_below_the_mark_never_pause(loop):
    async with connected() as (client, server):
        for count in range(1, 200):
            client.transport.write(b"x" * 1000)
            await server.until_received(count * 1000)
    assert "pause_writing" not in client.calls


async def test_a_writer_that_obeys_sends_everything(loop):
    class Obedient(Recorder):
        def __init__(self):
            super().__init__()
            self.may_write = asyncio.Event()
            self.may_write.set()
            self.most = 0

        def pause_writing(self):
            self.may_write.clear()
            super().pause_writing()

        def resume_writing(self):
            self.may_write.set()
            super().resume_writing()

    payload = pattern(BIG)
    async with connected(client=Obedient) as (client, server):
        for start in range(0, BIG, 10_000):
            await client.may_write.wait()
            client.transport.write(payload[start : start + 10_000])
            client.most = max(client.most, client.transport.get_write_buffer_size())
        assert await server.until_received(BIG) == payload
    assert client.most <= 64 * 1024 + 10_000


@pytest.mark.parametrize("callback", ["pause_writing", "resume_writing"])
async def test_a_flow_control_callback_that_fails_is_reported_and_the_data_arrives(loop, exceptions, callback):
    def fail(self):
        getattr(Recorder, callback)(self)
        raise LookupError(callback)

    async with connected(client=type("Failing", (Recorder,), {callback: fail})) as (client, server):
        server.transport.pause_reading()
        client.transport.write(pattern(BIG))
        await client.until_called("pause_writing")
        server.transport.resume_reading()
        assert await server.until_received(BIG) == pattern(BIG)
        await client.until_called("resume_writing")
    assert exceptions.take_types() == [LookupError]


async def test_closing_when_all_was_sent_ends_once(loop, exceptions):
    class Sender(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            transport.set_write_buffer_limits(high=0)
            transport.write(bytes(BIG))

        def resume_writing(self):
            self.transport.close()

    async with connected(server=Sender) as (client, server):
        assert await server.lost is None
        await client.lost
        await turns()
        assert server.calls.count("connection_lost") == 1
        assert exceptions == []
        assert len(client.data) == BIG


async def test_is_reading(loop):
    async with connected() as (client, _):
        transport = client.transport
        assert transport.is_reading()
        for _ in range(2):
            transport.pause_reading()
            assert not transport.is_reading()
        for _ in range(2):
            transport.resume_reading()
            assert transport.is_reading()
        transport.close()
        assert not transport.is_reading()
        await client.lost


@KINDS
async def test_no_data_comes_while_reading_is_paused(loop, kind):
    async with connected(server=kind) as (client, server):
        server.transport.pause_reading()
        client.transport.write(b"early")
        await asyncio.sleep(0.02)
        assert server.data == b""
        server.transport.resume_reading()
        assert await server.until_received(5) == b"early"


@KINDS
async def test_pausing_takes_effect_at_once(loop, kind):
    """However much has arrived already, nothing is delivered after pause_reading has returned."""

    class Pausing(kind):
        def called(self, name):
            super().called(name)
            if name in ("data_received", "buffer_updated"):
                self.transport.pause_reading()

    payload = pattern(1_000_000)
    async with connected(server=Pausing) as (client, server):
        client.transport.write(payload)
        before = 0
        while len(server.data) < len(payload):
            await server.until(lambda: len(server.data) > before)  # noqa: B023
            before = len(server.data)
            assert not server.transport.is_reading()
            await asyncio.sleep(0.001)
            assert len(server.data) == before
            server.transport.resume_reading()
        assert server.data == payload


async def test_pausing_between_two_arrivals_keeps_both(loop):
    async with connected() as (client, server):
        for number in range(50):
            client.transport.write(b"%02d" % number)
            server.transport.pause_reading()
            client.transport.write(b"__")
            await turns(number % 4)
            server.transport.resume_reading()
        await server.until_received(200)
        assert server.data == b"".join(b"%02d__" % number for number in range(50))


async def test_pausing_and_resuming_in_one_turn_loses_nothing(loop):
    payload = pattern(2_000_000)
    async with connected() as (client, server):
        client.transport.write(payload)
        while len(server.data) < len(payload):
            for _ in range(5):
                server.transport.pause_reading()
                server.transport.resume_reading()
            await turns(3)
        assert server.data == payload


async def test_pausing_in_connection_made(loop):
    class Paused(Recorder):
        def connection_made(self, transport):
            transport.pause_reading()
            super().connection_made(transport)

    async with serving(Paused) as (server, protocols):
        with peer_of(server) as peer:
            peer.send(b"early")
            protocol = await first(protocols)
            await asyncio.sleep(0.02)
            assert protocol.data == b""
            assert not protocol.transport.is_reading()
            protocol.transport.resume_reading()
            assert await protocol.until_received(5) == b"early"


async def test_the_end_waits_behind_paused_data(loop):
    async with serving() as (server, protocols):
        with peer_of(server) as peer:
            protocol = await first(protocols)
            protocol.transport.pause_reading()
            peer.send(b"data before the end")
            peer.shutdown(socket.SHUT_WR)
            await asyncio.sleep(0.02)
            assert protocol.calls == ["connection_made"]
            protocol.transport.resume_reading()
            assert await protocol.lost is None
    assert protocol.data == b"data before the end"
    assert protocol.calls[-2:] == ["eof_received", "connection_lost"]


async def test_a_paused_connection_can_still_write_and_close(loop):
    async with connected() as (client, server):
        server.transport.pause_reading()
        server.transport.write(b"answer")
        assert await client.until_received(6) == b"answer"
        server.transport.close()
        await server.lost
        await client.lost


@pytest.mark.parametrize("method", ["pause_reading", "resume_reading"])
async def test_pausing_and_resuming_a_closing_transport_does_nothing(loop, method):
    async with connected() as (client, _):
        client.transport.close()
        getattr(client.transport, method)()
        await client.lost
        getattr(client.transport, method)()
