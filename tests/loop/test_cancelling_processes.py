"""Pipes and child processes, cancelled at every moment: no pipe stays open, no child is left, no zombie either."""

from __future__ import annotations

import asyncio
import os
from asyncio.subprocess import PIPE

import pytest

PIPES = {"stdin": PIPE, "stdout": PIPE, "stderr": PIPE}


async def test_connect_read_pipe(loop, walk):
    async def connect():
        reading, writing = os.pipe()
        try:
            return *await loop.connect_read_pipe(walk.made(), os.fdopen(reading, "rb", 0)), writing
        except asyncio.CancelledError:
            os.close(writing)
            raise

    async def use(pipe):
        transport, protocol, writing = pipe
        os.write(writing, b"hello")
        assert await protocol.until_received(5) == b"hello"
        transport.close()
        await protocol.lost
        os.close(writing)

    await walk(connect, use)


async def test_connect_write_pipe(loop, walk):
    async def connect():
        reading, writing = os.pipe()
        try:
            return *await loop.connect_write_pipe(walk.made(), os.fdopen(writing, "wb", 0)), reading
        except asyncio.CancelledError:
            os.close(reading)
            raise

    async def use(pipe):
        transport, protocol, reading = pipe
        transport.write(b"hello")
        transport.close()
        await protocol.lost
        assert os.read(reading, 100) == b"hello"
        os.close(reading)

    await walk(connect, use)


class Process(asyncio.SubprocessProtocol):
    """Keeps what the child writes."""

    def __init__(self):
        self.data = bytearray()
        self.lost = asyncio.get_running_loop().create_future()

    def pipe_data_received(self, fd, data):
        self.data += data

    def connection_lost(self, exc):
        if not self.lost.done():
            self.lost.set_result(None)


async def talk(child):
    """A child that copies its input works; it ends."""
    transport, protocol = child
    pipe = transport.get_pipe_transport(0)
    pipe.write(b"hello")
    pipe.close()
    await protocol.lost
    assert protocol.data == b"hello"
    assert transport.get_returncode() == 0
    transport.close()


async def test_subprocess_exec(loop, walk):
    await walk(lambda: loop.subprocess_exec(walk.made(Process), "cat", **PIPES), talk)


async def test_subprocess_shell(loop, walk):
    await walk(lambda: loop.subprocess_shell(walk.made(Process), "cat", **PIPES), talk)


async def test_a_child_whose_own_child_keeps_the_pipes(loop, walk):
    """The pipes are closed although somebody else holds their other ends."""

    async def dispose(child):
        transport, _ = child
        pid = await first_line(child)
        os.kill(pid, 9)
        transport.close()
        await transport._wait()

    async def first_line(child):
        while not child[1].data.endswith(b"\n"):
            await asyncio.sleep(0.001)
        return int(child[1].data)

    await walk(lambda: loop.subprocess_shell(walk.made(Process), "sleep 4 & echo $!; wait", **PIPES), dispose)


@pytest.mark.parametrize("create", ["exec", "shell"])
async def test_create_subprocess(walk, create):
    async def start():
        start = asyncio.create_subprocess_exec if create == "exec" else asyncio.create_subprocess_shell
        return walk.track(await start("cat", **PIPES))

    async def use(process):
        assert await process.communicate(b"hello") == (b"hello", b"")
        assert process.returncode == 0

    await walk(start, use)


async def test_communicate(walk):
    """Cancelled, it leaves the process, which can be waited for or be ended."""

    async def communicate():
        process = await asyncio.create_subprocess_exec("cat", **PIPES)
        try:
            out, _ = await process.communicate(b"x" * 300_000)
            assert out == b"x" * 300_000
        except asyncio.CancelledError:
            process._transport.close()
            raise

    await walk(communicate)


async def test_wait(walk):
    """Whoever stops waiting for a child may wait for it again."""

    async def start():
        processes.append(await asyncio.create_subprocess_shell("sleep 0.003; exit 7"))

    async def check(code):
        assert code == 7
        processes.pop()

    processes: list = []
    await walk(lambda: processes[-1].wait(), check, start, keeping=True)
