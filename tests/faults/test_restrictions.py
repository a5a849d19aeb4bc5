"""Whoever gets hold of a loop's ring can do no more by it than the loop itself."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import mmap
import os
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from loop.helpers import Echo, connected

import netloop
from netloop.core.ring import FaultPlan, OlderKernel

from .child import run_child
from .seccomp import CALLS, refuse_registration

# The kernel's binary interface, <linux/io_uring.h>.
OPENAT = 18
QUEUES_OFFSET, ENTRIES_OFFSET = 0, 0x10000000
GETEVENTS = 1
REGISTER_EVENTFD, REGISTER_PERSONALITY, REGISTER_RESTRICTIONS = 4, 9, 11
PARAMS = struct.Struct("8I 2I 10I 10I")  # 120 bytes: what was asked for, then where the queues' fields are
OURS = 0x1234

libc = ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments: object) -> int:
    """One io_uring system call; -errno if it fails."""
    result = libc.syscall(CALLS[name], *arguments)
    return -ctypes.get_errno() if result < 0 else int(result)


def rings() -> list[int]:
    """The descriptors of this process that are rings."""

    def found() -> Iterator[int]:
        for name in os.listdir("/proc/self/fd"):
            try:
                if os.readlink(f"/proc/self/fd/{name}") == "anon_inode:[io_uring]":
                    yield int(name)
            except FileNotFoundError:  # the descriptor of the listing itself
                pass

    return list(found())


def offsets() -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Where a submission queue has its head, tail and mask, and a completion queue these and its entries."""
    params = ctypes.create_string_buffer(PARAMS.size)
    fd = call("setup", 1, params)
    assert fd >= 0, os.strerror(-fd)
    os.close(fd)
    fields = PARAMS.unpack(params.raw)
    submissions, completions = fields[10:20], fields[20:30]
    return submissions[:3], (*completions[:3], completions[5])


def submit(fd: int, entry: bytes) -> int:
    """Write a submission into somebody's ring, by its descriptor alone, and have it carried out; the result."""
    (sq_head, sq_tail, sq_mask), (cq_head, cq_tail, cq_mask, cqes) = offsets()
    with mmap.mmap(fd, mmap.PAGESIZE, offset=QUEUES_OFFSET) as queues:
        masks = [struct.unpack_from("I", queues, place)[0] for place in (sq_mask, cq_mask)]
    with (
        mmap.mmap(fd, cqes + 16 * (masks[1] + 1), offset=QUEUES_OFFSET) as queues,
        mmap.mmap(fd, 64 * (masks[0] + 1), offset=ENTRIES_OFFSET) as entries,
    ):
        (tail,) = struct.unpack_from("I", queues, sq_tail)
        assert struct.unpack_from("I", queues, sq_head) == (tail,), "the loop has submitted everything"
        at = 64 * (tail & masks[0])
        entries[at : at + 64] = entry
        struct.pack_into("I", queues, sq_tail, tail + 1)
        assert call("enter", fd, 1, 1, GETEVENTS, None, 0) == 1
        head, tail = (struct.unpack_from("I", queues, place)[0] for place in (cq_head, cq_tail))
        for index in range(head, tail):
            token, result = struct.unpack_from("Qi", queues, cqes + 16 * (index & masks[1]))
            if token == OURS:
                return int(result)
    raise AssertionError("nothing has completed")


def open_by(fd: int, path: str) -> int:
    """Have somebody's ring make a file."""
    name = ctypes.create_string_buffer(path.encode())
    entry = struct.pack(
        "BBHiQQIIQ", OPENAT, 0, 0, -100, 0, ctypes.addressof(name), 0o600, os.O_CREAT | os.O_WRONLY, OURS
    )
    return submit(fd, entry.ljust(64, b"\0"))


def break_in(path, lacking):
    """Use a loop's ring behind its back; what came of it. The loop, which is a submission behind, is only closed."""
    loop = netloop.EventLoop(_faults=OlderKernel(lacking))
    loop.run_until_complete(asyncio.sleep(0))
    fd, *_ = rings()
    told = loop.statistics().restricted, open_by(fd, path), call("register", fd, REGISTER_PERSONALITY, None, 0)
    loop.close()
    return told


def test_another_operation_than_the_loops_own_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "made"
    restricted, opened, registered = run_child(break_in, str(path), [])
    assert restricted is True
    assert (opened, registered) == (-errno.EACCES, -errno.EACCES)
    assert not path.exists()


def test_without_restrictions_that_would_have_worked(tmp_path: Path) -> None:
    """So it is they that refuse it; and a loop does without them where the kernel has none."""
    path = tmp_path / "made"
    restricted, opened, registered = run_child(break_in, str(path), ["RESTRICTIONS"])
    assert restricted is False
    assert opened >= 0
    assert registered > 0
    assert path.exists()


def registers_events() -> int:
    """Have the ring of this process's only loop tell somebody of its completions."""
    fd, *_ = rings()
    event = os.eventfd(0)
    try:
        return call("register", fd, REGISTER_EVENTFD, ctypes.byref(ctypes.c_int(event)), 1)
    finally:
        os.close(event)


def run_in_two_threads():
    """Run a loop here and, with another ring, in another thread; what others may register with either."""
    loop = netloop.EventLoop()
    server = loop.run_until_complete(loop.create_server(asyncio.Protocol, "127.0.0.1", 0))
    told = []

    async def tell():
        await asyncio.sleep(0)
        told.append([loop.statistics().restricted, registers_events()])

    loop.run_until_complete(tell())
    thread = threading.Thread(target=loop.run_until_complete, args=(tell(),))
    thread.start()
    thread.join()
    loop.run_until_complete(tell())
    server.close()
    loop.close()
    return told


def test_the_ring_of_a_loop_that_goes_to_another_thread_is_restricted_too() -> None:
    assert run_child(run_in_two_threads) == [[True, -errno.EACCES]] * 3


def serve_once(number):
    """Refuse the restrictions as a policy does; serve and connect all the same."""

    async def main():
        async with connected(server=Echo) as (client, _):
            client.transport.write(b"ping")
            await client.until_received(4)
            return asyncio.get_running_loop().statistics().restricted

    refuse_registration(number, REGISTER_RESTRICTIONS)
    return netloop.run(main())


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSYS, errno.EACCES], ids=errno.errorcode.get)
def test_a_policy_that_refuses_them(number: int) -> None:
    assert run_child(serve_once, number) is False


# The first call asks which operations there are, the second restricts the ring to them.
@pytest.mark.parametrize("nth", [1, 2])
def test_memory_that_is_short_for_a_moment_makes_no_ring_that_may_do_everything(nth: int) -> None:
    with pytest.raises(netloop.Unavailable, match="memory") as raised:
        netloop.EventLoop(_faults=FaultPlan("register", nth, errno.ENOMEM))
    assert raised.value.errno == errno.ENOMEM
    assert rings() == []
