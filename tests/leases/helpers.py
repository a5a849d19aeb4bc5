"""Protocols that take leases, connections to use them on, and memory that tells of a use out of turn."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import socket
from collections.abc import AsyncIterator
from typing import Any

from loop.helpers import Events

import netloop

__all__ = ["FREE", "KERNELS", "LEASED", "PAGE", "SENDING", "Keeper", "Pages", "joined", "pattern"]

PAGE = mmap.PAGESIZE

# The states of a buffer, as cext/nl_lease.h numbers them.
FREE, KERNELS, LEASED, SENDING = range(4)

_libc = ctypes.CDLL(None, use_errno=True)


def pattern(start: int, length: int) -> bytes:
    """Bytes of a stream whose position each of them tells, as far as one byte can."""
    return bytes((at * 31 + (at >> 8) * 7 + (at >> 16)) & 0xFF for at in range(start, start + length))


class Keeper(Events, netloop.LeaseProtocol):
    """Keeps what it receives, and the leases too if ``keeps`` says so."""

    def __init__(self, pool: netloop.BufferPool | None = None, keeps: bool = False) -> None:
        super().__init__()
        self.pool = pool
        self.keeps = keeps
        self.leases: list[netloop.Lease] = []

    def receive_pool(self) -> netloop.BufferPool | None:
        return self.pool

    def lease_received(self, lease: netloop.Lease) -> None:
        self.data += lease
        if self.keeps:
            self.leases.append(lease)
        else:
            lease.release()
        self.called("lease_received")

    def release_all(self) -> None:
        """Give up all that is kept."""
        while self.leases:
            self.leases.pop().release()


@contextlib.asynccontextmanager
async def joined(loop: Any, protocol: Any, tcp: bool = False, small: bool = False) -> AsyncIterator[socket.socket]:
    """Give a protocol a connection, and yield the other end, a socket that does not block; the end of it is awaited.

    With ``small`` the kernel's buffers are, so that little can be sent until the other end reads.
    """
    if tcp:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            near = socket.create_connection(listener.getsockname())
            far = listener.accept()[0]
    else:
        near, far = socket.socketpair()
    if small:
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)
        far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
    near.setblocking(False)
    far.setblocking(False)
    with far:
        transport, _ = await loop.create_connection(lambda: protocol, sock=near)
        try:
            yield far
        finally:
            transport.abort()
            await protocol.lost


class Pages:
    """Memory for a pool whose buffers are pages, which can be made unreadable one by one.

    A read or write of the program's then is a segmentation fault, and one of the kernel's fails with EFAULT.
    """

    NONE, READ, WRITE = mmap.PROT_WRITE & 0, mmap.PROT_READ, mmap.PROT_READ | mmap.PROT_WRITE

    def __init__(self, count: int) -> None:
        self.memory = mmap.mmap(-1, count * PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._address = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))

    def protect(self, index: int, protection: int) -> None:
        """Say what may be done to a page."""
        address = ctypes.c_void_p(self._address + index * PAGE)
        if _libc.mprotect(address, ctypes.c_size_t(PAGE), protection):
            raise OSError(ctypes.get_errno(), "mprotect() failed")
