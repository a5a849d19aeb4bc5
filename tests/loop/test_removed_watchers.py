"""A descriptor is its owner's again as soon as its watcher was removed: closing it closes it."""

from __future__ import annotations

import asyncio
import random
import socket

from .helpers import HOST


def watch_for_a_while(loop, sock):
    """Watch a socket until the kernel surely knows, then stop watching."""
    loop.add_reader(sock, print)
    loop.run_until_complete(asyncio.sleep(0.02))
    loop.remove_reader(sock)


def test_the_other_end_sees_a_close_after_remove_reader_while_the_loop_rests(loop):
    near, far = socket.socketpair()
    with far:
        far.settimeout(10)
        watch_for_a_while(loop, near)
        near.close()
        assert far.recv(1) == b""


def test_a_port_is_free_after_remove_reader_and_close_while_the_loop_rests(loop):
    listening = socket.create_server((HOST, 0))
    address = listening.getsockname()
    watch_for_a_while(loop, listening)
    listening.close()
    socket.create_server(address).close()


async def test_a_callback_never_sees_another_descriptor_of_the_same_number(loop):
    """Sockets are watched, abandoned in the middle and closed; the next ones get their numbers."""
    chance = random.Random(3)
    watched: set[socket.socket] = set()
    wrong = []

    def read(sock):
        if sock not in watched:
            wrong.append("called after its removal")
            return
        try:
            sock.recv(chance.choice((1, 3)))
        except BlockingIOError:
            wrong.append("called with nothing to read")

    async def watch(sock, word, *, to_the_end):
        sock.setblocking(False)
        watched.add(sock)
        loop.add_reader(sock, read, sock)
        word()
        if to_the_end:
            while unread(sock):
                await asyncio.sleep(0)
        else:
            await asyncio.sleep(chance.choice((0, 0, 0.0005)))
        loop.remove_reader(sock)
        watched.remove(sock)

    for number in range(600):
        near, far = socket.socketpair()
        with near, far:
            await watch(near, lambda: far.send(b"seven b"), to_the_end=number % 2 == 1)  # noqa: B023
    assert wrong == []


def unread(sock):
    """Whether there is something to read."""
    try:
        return len(sock.recv(10, socket.MSG_PEEK)) > 0
    except BlockingIOError:
        return False
