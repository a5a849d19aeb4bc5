"""loop.close() while the kernel still holds operations: over within a second, nothing used after it was freed."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import time
import warnings

import pytest
from loop.helpers import HOST, Echo, Recorder, address_of
from loop.patience import stretched

from .child import descriptors, descriptors_left, run_child


async def accepting(loop):
    return await loop.create_server(Echo, HOST, 0)


async def receiving(loop):
    server = await loop.create_server(Echo, HOST, 0)
    return server, [await loop.create_connection(Recorder, *address_of(server)) for _ in range(50)]


async def sending(loop):
    server = await loop.create_server(Recorder, HOST, 0)
    made = [await loop.create_connection(Recorder, *address_of(server)) for _ in range(10)]
    for transport, _ in made:
        transport.write(bytes(8_000_000))
        transport.write(bytearray(8_000_000))
    return server, made


async def closing(loop):
    server, made = await sending(loop)
    for transport, _ in made:
        transport.close()
    return server, made


async def connecting(loop):
    listening = socket.create_server((HOST, 0), backlog=0)
    fillers = [socket.socket() for _ in range(4)]
    for filler in fillers:
        filler.setblocking(False)
        filler.connect_ex(listening.getsockname())
    task = asyncio.ensure_future(loop.create_connection(Recorder, *listening.getsockname()))
    await asyncio.sleep(0.01)
    return listening, fillers, task


async def polling(loop):
    pairs = [socket.socketpair() for _ in range(50)]
    for near, _ in pairs:
        loop.add_reader(near, print)
        near.setblocking(False)
    return pairs


async def socket_calls(loop):
    near, far = socket.socketpair()
    listening = socket.create_server((HOST, 0))
    for sock in (near, far, listening):
        sock.setblocking(False)
    calls = [loop.sock_recv(near, 100), loop.sock_recv_into(near, bytearray(100)), loop.sock_accept(listening)]
    calls.append(loop.sock_sendall(far, bytes(8_000_000)))
    tasks = [asyncio.ensure_future(call) for call in calls]
    await asyncio.sleep(0.01)
    return near, far, listening, tasks


async def threads(loop):
    return [loop.run_in_executor(None, time.sleep, 0.05) for _ in range(3)]


async def everything(loop):
    return [await scene(loop) for scene in (accepting, receiving, sending, connecting, polling, socket_calls)]


SCENES = [accepting, receiving, sending, closing, connecting, polling, socket_calls, threads, everything]


def close_during(name, how):
    """Play a scene and close the loop in the middle of it; how long that took and which descriptors stay."""
    import netloop

    warnings.simplefilter("ignore", ResourceWarning)  # what the scene leaves open is the point of it
    scene = next(scene for scene in SCENES if scene.__name__ == name)
    before = descriptors()
    loop = netloop.new_event_loop()
    loop.set_exception_handler(lambda loop, context: None)
    kept = loop.run_until_complete(scene(loop))
    for _ in range(3):
        loop.run_until_complete(asyncio.sleep(0))
    unfinished = [(task, task.get_coro()) for task in asyncio.all_tasks(loop)]
    start = time.monotonic()
    if how == "close":
        loop.close()
        took = time.monotonic() - start
        for task, coroutine in unfinished:
            task._log_destroy_pending = False
            with contextlib.suppress(RuntimeError):  # it may want to clean up on the loop that is gone
                coroutine.close()
        del unfinished, kept, scene
    else:
        for task, _ in unfinished:
            task._log_destroy_pending = False
        del unfinished, kept, scene, loop
        took = 0.0
    gc.collect()
    gc.collect()
    return took, descriptors_left(before)


@pytest.mark.parametrize("scene", [scene.__name__ for scene in SCENES])
def test_close(scene):
    took, left = run_child(close_during, scene, "close")
    assert took < stretched(1.0)
    assert left == []


def use_after_close():
    """Use transports, servers and sockets whose loop was closed under them; the errors that this raised."""
    import netloop

    warnings.simplefilter("ignore", ResourceWarning)
    loop = netloop.new_event_loop()
    server, made = loop.run_until_complete(receiving(loop))
    transport, _ = made[0]
    sock = transport.get_extra_info("socket")
    loop.close()
    errors = []
    for use in (
        lambda: transport.write(b"late"),
        transport.pause_reading,
        transport.resume_reading,
        transport.get_write_buffer_size,
        transport.is_closing,
        transport.write_eof,
        transport.close,
        transport.abort,
        lambda: transport.get_extra_info("peername"),
        sock.fileno,
        sock.getpeername,
        lambda: sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        lambda: repr((transport, sock, server, loop)),
        loop.statistics,
        server.close,
        loop.close,
    ):
        try:
            use()
        except Exception as error:
            errors.append(type(error).__name__)
    return errors


def test_use_after_close():
    assert set(run_child(use_after_close)) <= {"RuntimeError", "OSError"}


def forget(name):
    return close_during(name, "forget")


@pytest.mark.parametrize("scene", ["accepting", "receiving", "polling"])
def test_a_loop_that_is_forgotten_with_operations_in_flight(scene):
    _, left = run_child(forget, scene)
    assert left == []
