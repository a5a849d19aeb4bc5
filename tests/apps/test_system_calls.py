"""The claim that data moves by the ring: what a busy echo server asks of the kernel, as strace sees it.

Where the kernel cannot accept into the ring's file table, connections are accepted by system calls.
"""

from __future__ import annotations

import asyncio
import collections
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from kernels.needs import missing
from loop.patience import stretched

from netloop.core.probe import probe

from .programs import NETLOOP

CONNECTIONS = 100
ROUNDS = 50
MESSAGE = b"0123456789abcdef" * 4

# The server announces the beginning and the end of the traffic by a call that nothing else makes.
SERVER = f"""
import asyncio, os, sys, netloop

class Echo(asyncio.Protocol):
    open = seen = 0
    def connection_made(self, transport):
        self.transport = transport
        assert transport.get_extra_info("sockname")[1] == port
        Echo.open += 1
        if Echo.open == {CONNECTIONS}:
            os.access("/traffic-begins", os.F_OK)
            for protocol in protocols:
                protocol.transport.write(b"go")
    def data_received(self, data):
        self.transport.write(data)
        Echo.seen += len(data)
        if Echo.seen == {CONNECTIONS * ROUNDS * len(MESSAGE)}:
            os.access("/traffic-ends", os.F_OK)
    def connection_lost(self, error):
        Echo.open -= 1
        if not Echo.open:
            done.set()

protocols = []
def factory():
    protocols.append(Echo())
    return protocols[-1]

async def main():
    global done, port
    done = asyncio.Event()
    server = await asyncio.get_running_loop().create_server(factory, sys.argv[1], 0, backlog={CONNECTIONS})
    port = server.sockets[0].getsockname()[1]
    print(port, flush=True)
    await done.wait()
    server.close()

from netloop.core.ring import OlderKernel
kernel = OlderKernel(sys.argv[2:]) if sys.argv[2:] else None
with asyncio.Runner(loop_factory=lambda: netloop.EventLoop(_faults=kernel)) as runner:
    runner.run(main())
"""


async def talk_all(host: str, port: int) -> None:
    """Rounds of one message on each connection: all are sent before the first answer is awaited."""
    streams = [await asyncio.open_connection(host, port) for _ in range(CONNECTIONS)]
    for reader, _ in streams:
        assert await reader.readexactly(2) == b"go"
    for _ in range(ROUNDS):
        for _, writer in streams:
            writer.write(MESSAGE)
        for reader, _ in streams:
            assert await reader.readexactly(len(MESSAGE)) == MESSAGE
    for _, writer in streams:
        writer.close()
        await writer.wait_closed()


def calls_in(trace: str) -> collections.Counter[str]:
    return collections.Counter(re.findall(r"^\d+ +(\w+)\(", trace, re.MULTILINE))


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed: apt-get install strace")
@pytest.mark.limit(90)
@pytest.mark.parametrize("lacking", [[], ["IORING_ACCEPT_DONTWAIT"]], ids=["this kernel", "an older kernel"])
@pytest.mark.parametrize(("host", "there"), [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::", "::1")])
def test_the_ring_moves_the_data(tmp_path: Path, host: str, there: str, lacking: list[str]) -> None:
    program, trace = tmp_path / "server.py", tmp_path / "trace"
    program.write_text(SERVER)
    server = subprocess.Popen(
        ["strace", "-f", "-o", str(trace), sys.executable, str(program), host, *lacking],
        stdout=subprocess.PIPE,
        env={"PYTHONPATH": NETLOOP, "PATH": "/usr/bin:/bin"},
    )
    assert server.stdout is not None
    with server, asyncio.Runner() as runner:
        try:
            runner.run(asyncio.wait_for(talk_all(there, int(server.stdout.readline())), stretched(60)))
            assert server.wait(stretched(20)) == 0
        finally:
            server.kill()
    before, _, rest = trace.read_text().partition("/traffic-begins")
    calls = calls_in(rest.partition("/traffic-ends")[0])
    # Where the machine is slow, receive buffers are given back in between: five seconds after they were many.
    del calls["madvise"]
    # A machine without a clock that can be read from user space has calls for that.
    del calls["clock_gettime"]
    assert calls["io_uring_enter"]
    forbidden = {"recvfrom", "recvmsg", "recv", "read", "sendto", "sendmsg", "send", "write", "epoll_wait", "poll"}
    assert not forbidden & calls.keys()
    assert calls.total() < 0.2 * CONNECTIONS * ROUNDS
    accepting = calls_in(before.rpartition("listen(")[2].partition("write(1")[2])
    assert not accepting["accept"]
    # Not one for each connection. A wait on a slow machine may take some.
    assert accepting["fcntl"] < CONNECTIONS / 2
    if not lacking and probe()["trials"]["IORING_ACCEPT_DONTWAIT"]:
        # To accept is the ring's work too.
        assert accepting["accept4"] == 0
    else:
        # One for each, and one that finds none at the end of each batch.
        assert CONNECTIONS <= accepting["accept4"] <= 2 * CONNECTIONS
    # A ring for a trial, made once per process, leaves its own descriptor and those of a pipe.
    closed = accepting["close"] - 3 * accepting["io_uring_setup"]
    if lacking or missing("fixed_table"):
        # CPython asks too, when it makes a socket object of a descriptor.
        assert accepting["getsockname"] <= 2 * CONNECTIONS
        assert closed == 0
    else:
        # Asking for the address of each connection leaves no descriptor.
        assert closed == accepting["getsockname"]
        assert closed == (CONNECTIONS if host != there and missing("socket_names") else 0)
