"""Kernels that lack something: a server's first echo comes, and nothing is complained of."""

from __future__ import annotations

import asyncio
import logging
import socket
import sysconfig
import tracemalloc

import pytest
from loop.helpers import SEVERAL_RINGS, Echo, eventually, finish, serving
from loop.test_lifetime import memory_of_connections

import netloop
from netloop.core.probe import probe
from netloop.core.ring import OlderKernel

SECONDS = 10.0
FEATURES = {
    "everything": [],
    "no descriptors for fixed files": ["FIXED_FD_INSTALL"],
    "no accepts that do not wait": ["IORING_ACCEPT_DONTWAIT"],
    "files that go late": ["files closed at once"],
    "no names of sockets": ["SOCKET_URING_OP_GETSOCKNAME"],
    "no repeated reads": ["READ_MULTISHOT"],
    "no restrictions": ["RESTRICTIONS"],
    "Linux 6.6": [
        *("FIXED_FD_INSTALL", "READ_MULTISHOT", "IORING_ACCEPT_DONTWAIT"),
        *("SOCKET_URING_OP_SETSOCKOPT", "SOCKET_URING_OP_GETSOCKNAME", "files closed at once"),
    ],
}
SETUP_FLAGS = {
    "SUBMIT_ALL": 1 << 7, "COOP_TASKRUN": 1 << 8, "TASKRUN_FLAG": 1 << 9, "SINGLE_ISSUER": 1 << 12,
    "DEFER_TASKRUN": 1 << 13, "NO_SQARRAY": 1 << 16,
}  # fmt: skip
KERNELS = {
    **{name: (lacking, 0) for name, lacking in FEATURES.items()},
    **{f"no {name}": ([], number) for name, number in SETUP_FLAGS.items()},
    "none of the flags": (FEATURES["Linux 6.6"], sum(SETUP_FLAGS.values())),
}


@pytest.fixture(params=list(KERNELS))
def lacking(request):
    return KERNELS[request.param]


@pytest.fixture
def loop(new_loop, lacking):
    names, flags = lacking
    return new_loop(lambda: netloop.EventLoop(_faults=OlderKernel(names, unknown_flags=flags)))


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
async def test_the_first_echo(loop, host, caplog):
    """The fixtures see what has reached the loop's exception handler, and this what was logged."""
    with caplog.at_level(logging.WARNING):
        async with serving(Echo, host=host) as (server, protocols):
            there = ("127.0.0.1", server.sockets[0].getsockname()[1])
            with socket.create_connection(there, timeout=SECONDS) as client:
                client.sendall(b"hello")
                assert await asyncio.to_thread(client.recv, 100) == b"hello"
                info = protocols[0].transport.get_extra_info
                assert info("sockname") == client.getpeername() == info("socket").getsockname()
                assert info("peername") == client.getsockname()
                info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                assert info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            await finish(*protocols)
    assert not caplog.records


async def test_a_connection_has_a_descriptor_where_the_table_cannot_be_used(loop, lacking):
    """Without one the program could not be given what it asks for."""
    offered = probe(OlderKernel(*lacking))
    moved = offered["operations"]["FIXED_FD_INSTALL"] and "FIXED_FD_INSTALL" not in lacking[0]
    moved = moved and offered["trials"]["files closed at once"]
    fixed = moved and offered["trials"]["IORING_ACCEPT_DONTWAIT"]
    async with serving(Echo) as (server, protocols):
        with socket.create_connection(server.sockets[0].getsockname(), timeout=SECONDS):
            await eventually(lambda: protocols)
            # A ring that gets its connections from another one's listener has them moved into its table.
            assert loop.statistics().fixed_files_in_use == (1 if fixed or (SEVERAL_RINGS and moved) else 0)
        await finish(*protocols)


@pytest.mark.parametrize("message", [b"", b"x" * 64], ids=["silent", "spoken to"])
def test_idle_connections_that_have_descriptors_take_little_memory(new_loop, message):
    loop = new_loop(lambda: netloop.EventLoop(_faults=OlderKernel(["IORING_ACCEPT_DONTWAIT"])))
    tracemalloc.start()
    try:
        # Tables that have grown stay so.
        loop.run_until_complete(memory_of_connections(200, message))
        # An object of a free-threaded interpreter is a little larger.
        most = 1200 if sysconfig.get_config_var("Py_GIL_DISABLED") else 1100
        assert loop.run_until_complete(memory_of_connections(200, message)) < most
    finally:
        tracemalloc.stop()


async def test_a_pipe_is_read_all_the_same(loop):
    reader = asyncio.StreamReader()
    ends = socket.socketpair()
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), ends[0])
    for number in range(5):
        ends[1].sendall(b"%d\n" % number)
        assert await reader.readline() == b"%d\n" % number
    ends[1].close()
    assert await reader.read() == b""
    transport.close()
