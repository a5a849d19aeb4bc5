"""A mix of calls on one loop, each cancelled at a random moment; then everything is at rest."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import io
import os
import random
import socket
from asyncio.subprocess import PIPE
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from loop.cancelling import FIGURES
from loop.certificates import client_context, server_context
from loop.helpers import HOST, Echo, address_of, eventually, socket_pair

AT_ONCE = 12
FILE_SIZE = 600_000
ENDINGS = (ConnectionError, TimeoutError, asyncio.IncompleteReadError)


class Calls:
    """The calls, and what they meet: an echo server in the clear, one over TLS, a file and a pair of sockets."""

    def __init__(self, loop: Any, chance: random.Random, path: Path, near: socket.socket, far: socket.socket) -> None:
        self.loop, self.chance, self.path, self.near, self.far = loop, chance, path, near, far
        self.client = client_context()
        self.sent, self.came = bytearray(), bytearray()
        self.receiving = asyncio.Lock()
        self.completed = self.cancelled = 0

    async def start(self) -> None:
        self.plain = await self.loop.create_server(Echo, HOST, 0)
        self.secure = await self.loop.create_server(Echo, HOST, 0, ssl=server_context())

    async def stop(self) -> None:
        for server in (self.plain, self.secure):
            server.close()
            await server.wait_closed()

    async def stream(self) -> None:
        options: Any = {"happy_eyeballs_delay": 0.001} if self.chance.random() < 0.5 else {}
        address = ("localhost", address_of(self.plain)[1])
        if self.chance.random() < 0.4:
            address = address_of(self.secure)
            options = {"ssl": self.client, "server_hostname": "localhost"}
        reader, writer = await asyncio.open_connection(*address, **options)
        try:
            word = self.chance.randbytes(self.chance.choice((1, 1000, 100_000)))
            writer.write(word)
            await writer.drain()
            assert await reader.readexactly(len(word)) == word
            writer.close()
            await writer.wait_closed()
        finally:
            writer.transport.abort()

    async def send_file(self) -> None:
        reader, writer = await asyncio.open_connection(*address_of(self.plain))
        try:
            with self.path.open("rb") if self.chance.random() < 0.5 else io.BytesIO(self.path.read_bytes()) as file:
                await self.loop.sendfile(writer.transport, file)
            assert await reader.readexactly(FILE_SIZE) == self.path.read_bytes()
        finally:
            writer.transport.abort()

    async def upgrade(self) -> None:
        _, writer = await asyncio.open_connection(*address_of(self.plain))
        try:  # the echo is no TLS
            with contextlib.suppress(OSError):
                await writer.start_tls(self.client, server_hostname="localhost", ssl_handshake_timeout=0.05)
        finally:
            writer.transport.abort()

    async def serve(self) -> None:
        server = await self.loop.create_server(Echo, HOST, 0)
        try:
            async with server:
                await asyncio.wait_for(server.serve_forever(), 0.002)
        finally:
            server.close()

    async def child(self) -> None:
        process = await asyncio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE, stderr=PIPE)
        try:
            assert await process.communicate(b"hello") == (b"hello", b"")
        finally:
            process._transport.close()  # type: ignore[attr-defined]

    async def receive(self) -> None:
        """What one call has not received another one does; the order is kept."""
        async with self.receiving:
            data = self.chance.randbytes(8)
            self.loop.call_soon(self.far.send, data)
            self.sent += data
            if self.chance.random() < 0.5:
                self.came += await self.loop.sock_recv(self.near, 100)
            else:
                buffer = bytearray(100)
                self.came += buffer[: await self.loop.sock_recv_into(self.near, buffer)]

    async def look_up(self) -> None:
        await self.loop.getaddrinfo("localhost", 80)

    async def datagrams(self) -> None:
        transport, _ = await self.loop.create_datagram_endpoint(
            asyncio.DatagramProtocol, local_addr=("localhost", 0), family=socket.AF_INET
        )
        transport.close()

    async def pipes(self) -> None:
        reading, writing = os.pipe()
        with os.fdopen(writing, "wb", 0):
            transport, _ = await self.loop.connect_read_pipe(asyncio.Protocol, os.fdopen(reading, "rb", 0))
            transport.close()

    def choose(self) -> Callable[[], Any]:
        often = (self.stream, self.receive, self.datagrams, self.pipes, self.serve, self.look_up)
        rare = (self.send_file, self.upgrade, self.child)
        return self.chance.choice(often * 2 + rare)

    async def attempt(self) -> None:
        """One call, cancelled soon, later or not at all, once or twice."""
        task = self.loop.create_task(self.choose()())
        how = self.chance.random()
        if how < 0.5:
            for _ in range(self.chance.randrange(25)):
                await asyncio.sleep(0)
        else:
            await asyncio.wait([task], timeout=self.chance.choice((0.0003, 0.001, 0.003, 0.01)))
        if how < 0.9:
            task.cancel()
            if self.chance.random() < 0.3:
                await asyncio.sleep(0)
                task.cancel()
        await asyncio.wait([task])
        if task.cancelled():
            self.cancelled += 1
        elif isinstance(task.exception(), ENDINGS):
            pass
        else:
            self.completed += task.result() is None

    async def go_on(self, going_on: Callable[[], bool]) -> None:
        while going_on():
            await self.attempt()


def figures(loop: Any) -> list[int]:
    return [getattr(loop.statistics(), name) for name in FIGURES]


@pytest.mark.loops("netloop")  # asyncio's create_server and sock_recv leave and lose something when they are cancelled
async def test_calls_that_are_cancelled_leave_nothing(
    loop: Any, exceptions: list[Any], chance: random.Random, going_on: Callable[[], bool], tmp_path: Path
) -> None:
    path = tmp_path / "file"
    path.write_bytes(chance.randbytes(FILE_SIZE))
    with socket_pair() as (near, far):
        calls = Calls(loop, chance, path, near, far)
        await calls.start()
        await asyncio.sleep(0.01)
        before = figures(loop)
        await asyncio.gather(*[calls.go_on(going_on) for _ in range(AT_ONCE)])
        await eventually(lambda: gc.collect() >= 0 and figures(loop) == before and len(asyncio.all_tasks()) == 1)
        while len(calls.came) < len(calls.sent):
            calls.came += await loop.sock_recv(near, 100_000)
        assert calls.came == calls.sent
        await calls.stop()
    assert calls.completed and calls.cancelled
    assert not exceptions
