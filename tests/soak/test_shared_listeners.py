"""Servers of two loops on one listening socket, opened and closed at random: one of them serves every connection."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from loop.helpers import HOST

PATIENCE = 20.0
BACKLOG = 100
CLIENTS = 3


class Echo(asyncio.Protocol):
    """Echoes, and now and then is busy for a while."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        if self.chance.random() < 0.02:
            time.sleep(0.01)

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


async def serve_now_and_then(listening: socket.socket, chance: random.Random, ends: threading.Event) -> None:
    """Open and close servers on the socket; at the end there is one until nobody comes any more."""
    loop = asyncio.get_running_loop()
    servers: list[Any] = []
    while not ends.is_set():
        if len(servers) < 3 and chance.random() < 0.5:
            servers.append(await loop.create_server(lambda: Echo(chance), sock=listening.dup(), backlog=BACKLOG))
        elif servers:
            servers.pop(chance.randrange(len(servers))).close()
        await asyncio.sleep(chance.choice((0, 0, 0, 0.0005, 0.003)))
    for server in servers:
        server.close()


def visit(address: Any, seed: float, ends: threading.Event, failed: list[str]) -> None:
    """Connect again and again, at times several at once; everybody must be answered."""
    chance = random.Random(seed)
    while not ends.is_set() and not failed:
        with contextlib.ExitStack() as stack:
            count = chance.choice((1, 1, 2, 20))
            socks = [stack.enter_context(socket.create_connection(address, PATIENCE)) for _ in range(count)]
            for number, sock in enumerate(socks):
                sock.sendall(b"%d" % number)
            for number, sock in enumerate(socks):
                try:
                    answer = sock.recv(100)
                except OSError as error:
                    answer = repr(error).encode()
                if answer != b"%d" % number:
                    failed.append(f"{number} of {count}: {answer!r}")


@pytest.mark.loops("netloop")  # asyncio forgets connections that were accepted just before their server was closed
def test_no_connection_is_lost(
    raw_loop: Callable[[], asyncio.AbstractEventLoop], chance: random.Random, going_on: Callable[[], bool]
) -> None:
    with socket.create_server((HOST, 0), backlog=BACKLOG) as listening:
        address = listening.getsockname()
        no_visitors, no_servers = threading.Event(), threading.Event()
        failed: list[str] = []
        wrong: list[Any] = []

        def serve(seed: float) -> None:
            with asyncio.Runner(loop_factory=raw_loop) as runner:
                runner.get_loop().set_exception_handler(lambda _, context: wrong.append(context))
                runner.run(serve_now_and_then(listening, random.Random(seed), no_servers))

        servers = [threading.Thread(target=serve, args=(chance.random(),)) for _ in range(2)]
        visitors = [
            threading.Thread(target=visit, args=(address, chance.random(), no_visitors, failed)) for _ in range(CLIENTS)
        ]
        for thread in [*servers, *visitors]:
            thread.start()
        while going_on() and not failed:
            time.sleep(0.05)
        no_visitors.set()
        for thread in visitors:
            thread.join()
        no_servers.set()
        for thread in servers:
            thread.join()
    assert failed == []
    assert wrong == []
