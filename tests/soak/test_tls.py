"""TLS connections, also those that begin without, that echo any amount of data and are broken off at random."""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
from collections.abc import Callable
from typing import Any

import pytest
from loop.certificates import client_context, server_context
from loop.helpers import HOST, address_of, eventually, pattern

COUNT = 6
SIZES = (1, 1000, 100_000, 2_000_000)
ENDINGS = (ConnectionError, ssl.SSLError, asyncio.IncompleteReadError)


class Echo:
    """A server; with ``upgrade`` its connections begin in the clear."""

    def __init__(self, chance: random.Random, upgrade: bool) -> None:
        self.chance, self.upgrade = chance, upgrade
        self.context = server_context()

    async def start(self) -> asyncio.Server:
        return await asyncio.start_server(self.serve, HOST, 0, ssl=None if self.upgrade else self.context)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if self.upgrade:
                await reader.readexactly(1)
                writer.write(b"!")
                await writer.drain()
                await writer.start_tls(self.context)
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
                if self.chance.random() < 0.002:
                    writer.transport.abort()
            writer.close()
            await writer.wait_closed()
        except ENDINGS:
            pass
        finally:
            writer.transport.abort()


class Client:
    """Sends random bytes and reads them back."""

    def __init__(self, chance: random.Random, upgrade: bool, context: ssl.SSLContext) -> None:
        self.chance, self.upgrade, self.context = chance, upgrade, context
        self.data = chance.randbytes(chance.choice(SIZES))
        self.got = bytearray()

    async def connect(self, address: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if not self.upgrade:
            return await asyncio.open_connection(*address, ssl=self.context, server_hostname="localhost")
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b"?")
        await reader.readexactly(1)
        await writer.start_tls(self.context, server_hostname="localhost")
        return reader, writer

    async def send(self, writer: asyncio.StreamWriter) -> None:
        for start in range(0, len(self.data), 50_000):
            writer.write(self.data[start : start + 50_000])
            await writer.drain()

    async def talk(self, address: Any) -> None:
        """Play the part; that the connection breaks off is no failure."""
        with contextlib.suppress(*ENDINGS):
            reader, writer = await self.connect(address)
            sending = asyncio.create_task(self.send(writer))
            try:
                while len(self.got) < len(self.data) and (data := await reader.read(100_000)):
                    self.got += data
                    if self.chance.random() < 0.01:
                        writer.transport.abort()
            finally:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)
                writer.close()
            await writer.wait_closed()


async def test_what_comes_back_is_what_was_sent(
    loop: Any, loop_name: str, chance: random.Random, going_on: Callable[[], bool]
) -> None:
    complete = 0
    context = client_context()
    while going_on() or not complete:
        upgrade = chance.random() < 0.5
        server = await Echo(chance, upgrade).start()
        clients = [Client(chance, upgrade, context) for _ in range(COUNT)]
        await asyncio.gather(*[client.talk(address_of(server)) for client in clients])
        server.close()
        for client in clients:
            assert client.data.startswith(client.got)
            complete += len(client.got) == len(client.data)
        if loop_name == "netloop":
            await eventually(lambda: not loop.statistics().connections and not loop.statistics().in_flight)
    await eventually(lambda: len(asyncio.all_tasks()) == 1)


LARGE = 100_000_000
CHUNK = 1 << 18


async def send_all(writer: asyncio.StreamWriter, payload: bytes) -> None:
    for start in range(0, len(payload), CHUNK):
        writer.write(payload[start : start + CHUNK])
        await writer.drain()


async def check_all(reader: asyncio.StreamReader, payload: bytes) -> None:
    """Read as much as was sent, in pieces of any size, and compare each with its place in the payload."""
    place = 0
    while place < len(payload):
        piece = await reader.read(CHUNK)
        assert piece and piece == payload[place : place + len(piece)], f"wrong data at byte {place}"
        place += len(piece)


@pytest.mark.limit(120)
async def test_a_hundred_megabytes_both_ways_under_back_pressure(loop: asyncio.AbstractEventLoop) -> None:
    payload = pattern(LARGE)
    served = loop.create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await asyncio.gather(check_all(reader, payload), send_all(writer, payload))
            served.set_result(None)
            await reader.read()
        finally:
            writer.close()

    server = await asyncio.start_server(serve, HOST, 0, ssl=server_context())
    reader, writer = await asyncio.open_connection(
        *address_of(server), ssl=client_context(), server_hostname="localhost"
    )
    await asyncio.gather(check_all(reader, payload), send_all(writer, payload))
    await served
    writer.close()
    await writer.wait_closed()
    server.close()
    await server.wait_closed()
