"""Servers that come and go while clients come, talk and break off; with few slots in the kernel's table.

Every connection that is made is lost once, and no slot, connection or descriptor is left.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from loop.helpers import HOST, address_of, eventually, reset

FEW_SLOTS = {"netloop": {"fixed_files": 20}}
PATIENCE = 0.5
HELD = 60
CHURN = 2000
AT_ONCE = 40


@pytest.fixture
def loop(new_loop: Callable[..., Any], loop_class: type, loop_name: str) -> Any:
    return new_loop(lambda: loop_class(**FEW_SLOTS.get(loop_name, {})))


class Ledger:
    """The connections that were made, those that live, and the servers that listen."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.made = self.lost = 0
        self.alive: set[Echo] = set()
        self.servers: list[Any] = []
        self.wrong: list[str] = []

    def settled(self) -> bool:
        """Abort what lives; whether every connection that was made is lost."""
        for protocol in list(self.alive):
            protocol.transport.abort()
        return self.made == self.lost


class Echo(asyncio.Protocol):
    """Echoes, or ends its connection, or closes one of the servers."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.ledger.made += 1
        self.ledger.alive.add(self)
        what = self.ledger.chance.random()
        if what < 0.1:
            transport.abort()
        elif what < 0.2:
            transport.close()
        elif what < 0.3:
            transport.get_extra_info("socket").fileno()
        elif what < 0.35:
            transport.get_extra_info("sockname")
            transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)
        if self.ledger.chance.random() < 0.05:
            self.transport.abort()
        if self.ledger.chance.random() < 0.05 and self.ledger.servers:
            self.ledger.servers.pop().close()

    def connection_lost(self, exc: BaseException | None) -> None:
        self.ledger.lost += 1
        if self not in self.ledger.alive:
            self.ledger.wrong.append("connection_lost twice, or without connection_made")
        self.ledger.alive.discard(self)


def visit(ports: list[int], seed: float, leave: threading.Event) -> None:
    """Connect to the ports again and again; some connections are held, some closed, some reset."""
    chance = random.Random(seed)
    held: list[socket.socket] = []
    while not leave.is_set():
        try:
            sock = socket.create_connection((HOST, chance.choice(ports)), PATIENCE)
        except OSError:  # no server listens there at the moment
            time.sleep(0.001)
            continue
        held.append(sock)
        if chance.random() < 0.3:
            reset(held.pop())
        else:
            with contextlib.suppress(OSError):
                sock.send(bytes(chance.choice((1, 1000))))
        while held and (len(held) > HELD or chance.random() < 0.45):
            held.pop(chance.randrange(len(held))).close()
    for sock in held:
        sock.close()


@contextlib.contextmanager
def visitors(ports: list[int], chance: random.Random) -> Iterator[list[threading.Thread]]:
    """Two threads that visit; they are told to leave at the end, and must be waited for."""
    leave = threading.Event()
    threads = [threading.Thread(target=visit, args=(ports, chance.random(), leave)) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield threads
    finally:
        leave.set()


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on."""
    socks = [socket.create_server((HOST, 0)) for _ in range(count)]
    ports = [int(sock.getsockname()[1]) for sock in socks]
    for sock in socks:
        sock.close()
    return ports


@pytest.mark.loops("netloop")  # asyncio forgets connections that were accepted just before their server was closed
async def test_servers_that_come_and_go(loop: Any, chance: random.Random, going_on: Callable[[], bool]) -> None:
    ledger = Ledger(chance)
    ports = free_ports(3)
    with visitors(ports, chance) as threads:
        while going_on() and not ledger.wrong:
            with contextlib.suppress(OSError):  # another one listens there already
                ledger.servers.append(await loop.create_server(lambda: Echo(ledger), HOST, chance.choice(ports)))
            await asyncio.sleep(chance.choice((0, 0, 0.001, 0.01)))
            if chance.random() < 0.6 and ledger.servers:
                ledger.servers.pop(chance.randrange(len(ledger.servers))).close()
    for server in ledger.servers:
        server.close()
    await eventually(lambda: not any(thread.is_alive() for thread in threads))
    await eventually(ledger.settled)
    await asyncio.sleep(0.05)
    assert ledger.settled() and ledger.made > 20
    assert ledger.wrong == []


async def test_many_short_connections_and_few_slots(loop: Any, loop_name: str, chance: random.Random) -> None:
    """More connections at a time than the table has slots: some are fixed files, the others plain descriptors."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.append(1)
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1000):
                writer.write(data)
                await writer.drain()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        ended.append(1)

    async def call(address: Any, how: str) -> None:
        async with room:
            reader, writer = await asyncio.open_connection(*address)
            word = chance.randbytes(chance.choice((1, 100, 5000)))
            writer.write(word)
            if how == "abort":
                writer.transport.abort()
            else:
                assert await reader.readexactly(len(word)) == word
                writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    served: list[int] = []
    ended: list[int] = []
    room = asyncio.Semaphore(AT_ONCE)
    server = await asyncio.start_server(echo, HOST, 0, backlog=2 * AT_ONCE)
    hows = chance.choices(("talk", "abort"), (3, 1), k=CHURN)
    await asyncio.gather(*[call(address_of(server), how) for how in hows])
    await eventually(lambda: len(ended) == len(served) >= hows.count("talk"))
    server.close()
    await server.wait_closed()
    if loop_name == "netloop":
        await eventually(lambda: not loop.statistics().connections)
        assert loop.statistics().fixed_files_in_use == 0
