"""Protocols and factories that fail: reported, and nobody else notices."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from loop.helpers import (
    HOST,
    BufferedRecorder,
    Echo,
    Recorder,
    address_of,
    connected,
    eventually,
    finish,
    first,
    peer_of,
    serving,
    stop,
    turns,
)
from loop.patience import stretched

CALLBACKS = ["connection_made", "data_received", "eof_received", "connection_lost", "pause_writing", "resume_writing"]
BUFFERED = ["get_buffer", "buffer_updated"]


def failing(callback, error):
    """A protocol class whose callback raises, the first time it is called."""
    base = BufferedRecorder if callback in BUFFERED else Recorder
    raised = []

    def fail(self, *args):
        result = getattr(base, callback)(self, *args)
        if not raised:
            raised.append(True)
            raise error(callback)
        return result

    return type("Failing", (base,), {callback: fail})


async def provoke(kind):
    """Drive a connection of that kind through all its callbacks, and another beside it that must not notice."""
    loop = asyncio.get_running_loop()
    async with serving(kind) as (server, protocols), connected(server=Echo) as (bystander, _):
        _, client = await loop.create_connection(Recorder, *address_of(server))
        try:
            client.answer_to_eof = True
            protocol = await first(protocols)
            client.transport.pause_reading()
            protocol.transport.write(bytes(8_000_000))
            await asyncio.sleep(0.005)
            client.transport.resume_reading()
            client.transport.write(b"some data")
            await asyncio.sleep(0.005)
            client.transport.write_eof()
            await protocol.lost
        finally:
            await finish(client)
        bystander.transport.write(b"unharmed")
        assert await bystander.until_received(8) == b"unharmed"


@pytest.mark.parametrize("callback", CALLBACKS + BUFFERED)
async def test_an_exception_is_reported_once_and_harms_nobody_else(loop, exceptions, callback):
    await provoke(failing(callback, LookupError))
    await turns()
    [context] = exceptions.take()
    assert isinstance(context["exception"], LookupError)
    assert context["message"]


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
@pytest.mark.parametrize("callback", CALLBACKS + BUFFERED)
def test_after_an_exit_the_loop_runs_again_and_the_connection_goes_on_or_ends(loop, exceptions, callback, error):
    """It does not stay open without a word: somebody who waits for it to be lost would wait for ever."""
    task = loop.create_task(provoke(failing(callback, error)))
    with pytest.raises(error):
        loop.run_until_complete(task)
    loop.run_until_complete(asyncio.wait([task], timeout=stretched(2)))
    in_limbo = not task.done()
    if in_limbo:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            loop.run_until_complete(task)
    exceptions.take()

    async def use():
        async with connected(server=Echo) as (client, _):
            client.transport.write(b"again")
            return await client.until_received(5)

    assert loop.run_until_complete(use()) == b"again"
    assert not in_limbo


async def test_a_servers_factory_that_fails_ends_only_its_own_connection(loop, exceptions):
    calls = []

    def factory():
        calls.append(1)
        if len(calls) == 1:
            raise LookupError("no protocol")
        return Echo()

    server = await loop.create_server(factory, HOST, 0)
    with peer_of(server) as peer, contextlib.suppress(ConnectionResetError):
        assert await loop.sock_recv(peer, 1) == b""
    _, client = await loop.create_connection(Recorder, *address_of(server))
    client.transport.write(b"next")
    assert await client.until_received(4) == b"next"
    await finish(client)
    await stop(server)
    assert exceptions.take_types() == [LookupError]


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # the standard library leaves it to be collected
async def test_a_clients_factory_that_fails(loop):
    def factory():
        raise LookupError("no protocol")

    async with serving() as (server, protocols):
        with pytest.raises(LookupError, match="no protocol"):
            await loop.create_connection(factory, *address_of(server))
        await eventually(lambda: protocols)
        await protocols[0].lost


async def test_an_exception_handler_that_fails_too(loop, caplog):
    def broken(loop, context):
        raise ValueError("the handler is broken")

    loop.set_exception_handler(broken)
    await provoke(failing("data_received", LookupError))
    assert "the handler is broken" in caplog.text


@pytest.mark.parametrize("word", ["close", "abort"])
@pytest.mark.parametrize("kind", [Recorder, BufferedRecorder], ids=["Protocol", "BufferedProtocol"])
async def test_ending_twice_inside_a_callback(loop, kind, word):
    class Ending(kind):
        def called(self, name):
            super().called(name)
            if name in ("data_received", "buffer_updated"):
                self.transport.write(b"answer")
                getattr(self.transport, word)()
                getattr(self.transport, word)()
                self.transport.abort()

    for _ in range(20):
        async with connected(server=Ending) as (client, server):
            client.transport.write(bytes(500_000))
            await server.lost
            await client.lost
            assert server.calls.count("connection_lost") == 1


async def test_dropping_every_reference_inside_a_callback(loop):
    """The protocol, its transport and its socket object are let go in the middle of a delivery."""

    class Forgetting(Recorder):
        def data_received(self, data):
            transport, self.transport = self.transport, None
            transport.get_extra_info("socket")
            transport.set_protocol(asyncio.Protocol())
            transport.abort()

    async with serving(Forgetting) as (server, protocols):
        for _ in range(50):
            with peer_of(server) as peer:
                peer.send(bytes(100_000))
                await eventually(lambda: protocols)
                protocol = protocols.pop()
                await protocol.made
                await eventually(lambda: protocol.transport is None)  # noqa: B023
