"""What asyncio says of a connection's life in its log, in debug mode and without, and what transports tell of it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import resource
import socket

import pytest

from .helpers import HOST, reset
from .parity import answer_of_running_loop, compare, expressions
from .test_bad_transport_calls import datagram_scene, pipe_scene, stream_scene, tls_scene

# asyncio's words are the standard here, and uvloop says hardly anything.
pytestmark = pytest.mark.loops("asyncio", "netloop")

STREAM = expressions("""
    t.is_closing()
    (t.pause_reading(), t.resume_reading())
    (t.pause_reading(), t.pause_reading())
    (t.write(b'x'), t.close(), await asyncio.sleep(0.05))
    (t.write_eof(), await asyncio.sleep(0.05))
    (t.abort(), await asyncio.sleep(0.05))
    (a.close(), await asyncio.sleep(0.05))
    (await loop.sock_connect(tcp, t.get_extra_info('peername')), tcp.close(), await asyncio.sleep(0.05))
    (await loop.create_connection(Protocol, *t.get_extra_info('peername')))
    (await loop.create_connection(Protocol, HOST, unused))
    (s := await loop.create_server(Protocol, HOST, 0))
    (t._fatal_error(OSError(5, 'Input/output error')), await asyncio.sleep(0.05))
    (t._fatal_error(ZeroDivisionError('broken'), 'Fatal error'), await asyncio.sleep(0.05))
    (reset_peer(), await asyncio.sleep(0.05))
    (setattr(protocol, 'data_received', broken), a.write(b'x'), await asyncio.sleep(0.05))
    (setattr(protocol, 'eof_received', broken), a.write_eof(), await asyncio.sleep(0.05))
    (setattr(protocol, 'connection_lost', broken), t.close(), await asyncio.sleep(0.05))
    (setattr(protocol, 'pause_writing', broken), fill(t), await asyncio.sleep(0.05))
    (loop.call_soon(broken), await asyncio.sleep(0))
    (loop.call_later(0, broken), await asyncio.sleep(0.01))
    (loop.call_soon_threadsafe(broken), await asyncio.sleep(0.01))
    (loop.create_task(failing()), await asyncio.sleep(0.01), collect() * 0)
""")

KINDS = {"stream": stream_scene, "tls": tls_scene, "datagram": datagram_scene, "pipe": pipe_scene}
NAMES = (
    *("socket", "sockname", "peername", "pipe", "subprocess", "sslcontext", "ssl_object", "cipher", "compression"),
    *("peercert", "addr", "fileno", "sock", "protocol", "server", "loop"),
)


class WithAttributes(asyncio.Protocol):
    """A protocol whose methods may be replaced."""


def broken(*args):
    raise ZeroDivisionError("broken")


async def failing():
    raise ZeroDivisionError("failed")


def fill(transport):
    """Write more than the socket takes."""
    for _ in range(40):
        transport.write(bytes(500_000))


@contextlib.asynccontextmanager
async def scene(loop):
    """A connection and what else the expressions use."""
    async with stream_scene(loop) as names:
        names["protocol"] = WithAttributes()
        names["t"].set_protocol(names["protocol"])

        def reset_peer():
            sock = names["a"].get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            names["a"].abort()

        with socket.socket() as unused:
            unused.bind((HOST, 0))
            port = unused.getsockname()[1]
        yield {
            **names,
            "HOST": HOST,
            "unused": port,
            "broken": broken,
            "failing": failing,
            "fill": fill,
            "reset_peer": reset_peer,
            "setattr": setattr,
            "collect": gc.collect,
        }


@pytest.mark.parametrize("debug", [False, True], ids=["plain", "debug"])
@pytest.mark.parametrize("expression", STREAM)
def test_a_connections_life(new_loop, expression, debug):
    answers = []
    for factory in (asyncio.SelectorEventLoop, None):
        loop = new_loop(factory)
        loop.set_debug(debug)
        loop.slow_callback_duration = 10
        # In no order, because it is not said which end of a connection comes first.
        answers.append(sorted(answer_of_running_loop(loop, scene, expression)))
    compare(answers[1], answers[0])


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_transport_tells(new_loop, kind):
    def told(loop):
        async def ask():
            async with KINDS[kind](loop) as names:
                transports = {name: one for name, one in names.items() if isinstance(one, asyncio.BaseTransport)}
                return {
                    (name, info): type(one.get_extra_info(info)).__name__
                    for name, one in transports.items()
                    for info in NAMES
                    if one.get_extra_info(info, "nothing") != "nothing"
                }

        return loop.run_until_complete(ask())

    assert told(new_loop()) == told(new_loop(asyncio.SelectorEventLoop))


def test_what_a_subprocess_tells(new_loop):
    def told(loop):
        async def ask():
            process = await asyncio.create_subprocess_exec("true", stdin=-1, stdout=-1, stderr=-1)
            transport = process._transport
            found = {info for info in NAMES if transport.get_extra_info(info, "nothing") != "nothing"}
            for number in range(3):
                pipe = transport.get_pipe_transport(number)
                found |= {(number, info) for info in NAMES if pipe.get_extra_info(info, "nothing") != "nothing"}
            await process.communicate()
            return found

        return loop.run_until_complete(ask())

    assert told(new_loop()) == told(new_loop(asyncio.SelectorEventLoop))


def test_a_process_without_descriptors_says_so_and_goes_on(new_loop):
    """accept() without a descriptor to give is reported, and tried again a second later."""

    def answer(loop):
        contexts = []

        async def run():
            loop.set_exception_handler(lambda _, context: contexts.append(context))
            server = await loop.create_server(asyncio.Protocol, HOST, 0)
            with socket.create_connection(server.sockets[0].getsockname()) as peer:
                held = []
                with contextlib.suppress(OSError):
                    while True:
                        held.append(os.dup(0))
                await asyncio.sleep(0.05)
                for descriptor in held:
                    os.close(descriptor)
                reset(peer)
            server.close()
            await server.wait_closed()
            await asyncio.sleep(1.1)

        loop.run_until_complete(run())
        return [(context["message"], type(context["exception"]), sorted(context)) for context in contexts]

    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    asyncio_loop, loop = new_loop(asyncio.SelectorEventLoop), new_loop()
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, limits[1]))
    try:
        wanted, given = answer(asyncio_loop), answer(loop)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert wanted and wanted[0][0] == "socket.accept() out of system resource"
    assert not given or given[0] == wanted[0]  # a connection in the ring's table needs no descriptor
