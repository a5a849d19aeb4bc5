"""Connections on which large pieces keep coming, and what happens between, before and after them."""

from __future__ import annotations

import asyncio
import random

import pytest

from .helpers import BufferedRecorder, Echo, Recorder, connected, pattern, peer_of, serving, turns

LARGE = 300_000


class BufferedEcho(BufferedRecorder):
    size = 200_000

    def buffer_updated(self, nbytes):
        self.transport.write(self.buffer[:nbytes])
        super().buffer_updated(nbytes)


async def send(loop, peer, data):
    await loop.sock_sendall(peer, data)


async def receive(loop, peer, size):
    received = bytearray()
    while len(received) < size:
        received += await loop.sock_recv(peer, size - len(received))
    return bytes(received)


@pytest.mark.parametrize("factory", [Echo, BufferedEcho])
async def test_every_byte_of_large_and_small_messages_comes_back(loop, factory):
    sizes = [LARGE] * 12 + [1, 100, LARGE, 5000] * 3 + [64] * 30 + [LARGE] * 12
    async with serving(factory) as (server, _):
        with peer_of(server) as peer:
            for size in sizes:
                sending = asyncio.ensure_future(send(loop, peer, pattern(size)))
                assert await receive(loop, peer, size) == pattern(size)
                await sending


@pytest.mark.parametrize("factory", [Recorder, BufferedRecorder])
async def test_pausing_and_resuming_amid_large_pieces(loop, factory):
    total = 20_000_000
    chance = random.Random(5)

    class Pausing(factory):
        def called(self, name):
            super().called(name)
            if name in ("data_received", "buffer_updated") and chance.random() < 0.3:
                assert "connection_lost" not in self.calls
                self.transport.pause_reading()
                loop.call_later(0.001, self.transport.resume_reading)

    async with serving(Pausing) as (server, protocols):
        with peer_of(server) as peer:
            await send(loop, peer, pattern(total))
            protocol = protocols[0]
            assert await protocol.until_received(total) == pattern(total)


async def test_the_end_after_large_pieces(loop):
    total = 6_000_000
    async with serving(Recorder) as (server, protocols):
        with peer_of(server) as peer:
            await send(loop, peer, pattern(total))
        await turns()
        await protocols[0].lost
        assert bytes(protocols[0].data) == pattern(total)
        assert protocols[0].calls.count("eof_received") == 1


@pytest.mark.parametrize("successor", [Recorder, BufferedRecorder])
@pytest.mark.parametrize("predecessor", [Recorder, BufferedRecorder])
async def test_another_protocol_amid_large_pieces(loop, predecessor, successor):
    total = 10_000_000

    class First(predecessor):
        next = None

        def called(self, name):
            super().called(name)
            if self.next is None and len(self.data) > total // 2:
                self.next = successor()
                self.hand_over_to(self.next)

    async with serving(First) as (server, protocols):
        with peer_of(server) as peer:
            await send(loop, peer, pattern(total))
            first = protocols[0]
            await first.until(lambda: first.next) if not first.next else None
            await first.next.until_received(total - len(first.data))
            assert bytes(first.data + first.next.data) == pattern(total)


async def test_closing_amid_large_pieces(loop):
    class Closing(Recorder):
        def called(self, name):
            super().called(name)
            if len(self.data) > 3_000_000 and not self.transport.is_closing():
                self.transport.close()

    async with connected(Recorder, Closing) as (near, far):
        near.transport.write(pattern(20_000_000))
        await far.lost
        await near.lost
        count = len(far.data)
        assert bytes(far.data) == pattern(20_000_000)[:count]


async def test_an_error_of_the_protocol_amid_large_pieces(loop, exceptions):
    class Failing(BufferedRecorder):
        def get_buffer(self, sizehint):
            if len(self.data) > 3_000_000:
                raise LookupError("no buffer")
            return super().get_buffer(sizehint)

    async with connected(Recorder, Failing) as (near, far):
        near.transport.write(pattern(20_000_000))
        assert isinstance(await far.lost, LookupError | RuntimeError)
        await near.lost
    assert exceptions.take()
