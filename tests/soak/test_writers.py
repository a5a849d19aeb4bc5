"""Writers that wait for their data to leave, over readers that dawdle; and files sent to peers that break off."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from loop.helpers import HOST, Recorder, address_of, eventually, first, pattern, reset, serving

COUNT = 6
CHUNKS = (1, 1000, 70_000, 300_000, 2_000_000)
FILE = 4_000_000


async def write_and_drain(writer: asyncio.StreamWriter, chance: random.Random, payload: memoryview) -> None:
    """Write in chunks of all sizes; after each drain nothing is held back."""
    while payload:
        size = chance.choice(CHUNKS)
        if chance.random() < 0.3:
            writer.writelines([payload[: size // 2], payload[size // 2 : size]])
        else:
            writer.write(payload[:size])
        payload = payload[size:]
        await writer.drain()
        assert writer.transport.get_write_buffer_size() == 0
        if chance.random() < 0.1:
            writer.transport.set_write_buffer_limits(high=0)
    writer.write_eof()


async def dawdle(reader: asyncio.StreamReader, chance: random.Random) -> bytes:
    """Read everything, with pauses."""
    got = bytearray()
    while data := await reader.read(chance.choice((1000, 100_000, 1_000_000))):
        got += data
        if chance.random() < 0.2:
            await asyncio.sleep(chance.choice((0, 0, 0.001)))
    return bytes(got)


@pytest.mark.loops("netloop")  # asyncio 3.12 hangs or loses the error here
async def test_with_a_high_mark_of_zero_drain_waits_for_every_byte(
    loop: Any, chance: random.Random, going_on: Callable[[], bool]
) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.set_write_buffer_limits(high=0)
        await asyncio.gather(write_and_drain(writer, chance, memoryview(payload)), dawdle(reader, chance))
        writer.close()
        await writer.wait_closed()

    async def talk(address: Any) -> None:
        reader, writer = await asyncio.open_connection(*address)
        writer.transport.set_write_buffer_limits(high=0)
        _, got = await asyncio.gather(write_and_drain(writer, chance, memoryview(payload)), dawdle(reader, chance))
        assert got == payload
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, HOST, 0)
    while going_on():
        payload = pattern(chance.choice((100_000, 1_000_000, 5_000_000)))
        await asyncio.gather(*[talk(address_of(server)) for _ in range(COUNT)])
        await eventually(lambda: len(asyncio.all_tasks()) == 1)
    server.close()
    await server.wait_closed()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(pattern(FILE))
    return path


class Transfer:
    """A file on its way to a peer that takes all of it, or only some and then breaks off."""

    def __init__(self, loop: Any, protocol: Any, peer: socket.socket, chance: random.Random) -> None:
        self.loop, self.protocol, self.peer, self.chance = loop, protocol, peer, chance
        self.offset = chance.randrange(FILE)
        self.how = chance.choice(("all", "all", "reset", "close", "cancel"))
        self.wanted = FILE - self.offset if self.how == "all" else chance.randrange(FILE - self.offset)

    async def play(self, path: Path) -> None:
        with path.open("rb") as file:
            sending = asyncio.ensure_future(self.loop.sendfile(self.protocol.transport, file, self.offset))
            got = await self.receive()
            if self.how == "reset":
                reset(self.peer)
            elif self.how == "close":
                self.peer.close()
            elif self.how == "cancel":
                sending.cancel()
            outcome = (await asyncio.gather(sending, return_exceptions=True))[0]
        self.check(got, outcome)
        self.protocol.transport.abort()
        await self.protocol.lost
        self.peer.close()

    async def receive(self) -> bytes:
        got = bytearray()
        while len(got) < self.wanted:
            got += await self.loop.sock_recv(self.peer, min(200_000, self.wanted - len(got)))
            if self.chance.random() < 0.1:
                await asyncio.sleep(0.001)
        return bytes(got)

    def check(self, got: bytes, outcome: int | BaseException) -> None:
        assert got == pattern(FILE)[self.offset : self.offset + self.wanted]
        left = FILE - self.offset
        if outcome != left:  # what the socket's buffers hold may be the whole rest of the file
            assert isinstance(outcome, asyncio.CancelledError if self.how == "cancel" else ConnectionError)
            assert self.how != "all"


@pytest.mark.loops("netloop")  # asyncio 3.12 hangs or loses the error here
async def test_sendfile_while_peers_break_off(
    loop: Any, chance: random.Random, going_on: Callable[[], bool], path: Path
) -> None:
    while going_on():
        transfers = []
        async with serving(Recorder) as (server, protocols):
            for _ in range(COUNT):
                peer = socket.create_connection(address_of(server))
                peer.setblocking(False)
                protocol = await first(protocols)
                protocols.clear()
                transfers.append(Transfer(loop, protocol, peer, chance))
            await asyncio.gather(*[transfer.play(path) for transfer in transfers])
