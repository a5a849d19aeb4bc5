"""The protocol that is handed the receive buffers themselves, and the transport that sends from them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from netloop.core.pool import BufferPool, Lease

__all__ = ["TLS_TEXT", "LeaseProtocol", "LeaseTransport"]

# What who asks for leases of an encrypted connection is told.
TLS_TEXT = (
    "a connection with TLS has no leases: what arrives is decrypted into memory of OpenSSL's, and what is sent is "
    "encrypted there, so nothing of it lies in a buffer of a pool"
)


class LeaseProtocol(asyncio.BaseProtocol):
    """A protocol for stream connections of netloop's that reads what arrives where the kernel has put it.

    A connection whose protocol is a LeaseProtocol calls ``lease_received`` in place of ``data_received``. All else is
    as with ``asyncio.Protocol``. It works for TCP and UNIX sockets and pipes, on netloop's loop alone; what arrives by
    TLS is decrypted into other memory, so there such a protocol is refused with TypeError.
    """

    __slots__ = ()

    def receive_pool(self) -> BufferPool | None:
        """The pool that the connection receives into; None, the default, is one that the loop has for all.

        A pipe takes buffers of 4096 bytes and more, because it may hold packets of that size. From another file that
        keeps messages apart, such as a socket of datagrams given to ``connect_read_pipe()``, what does not fit into a
        buffer is lost.

        Asked once, when the transport is given this protocol, which is before ``connection_made``.
        """
        return None

    def lease_received(self, lease: Lease) -> None:
        """Bytes have arrived. The lease is the protocol's: it may keep it, send it on, and has to release it.

        A lease that nobody refers to any more is released too; in debug mode with a ResourceWarning.
        """

    def data_received(self, data: bytes) -> None:
        """Raises TypeError: a transport that calls it has no leases to give."""
        raise TypeError(
            "this transport cannot hand its protocol leases, as only those of TCP and UNIX sockets and of pipes on "
            "netloop's event loop can, without TLS; use an asyncio.Protocol"
        )

    def eof_received(self) -> bool | None:
        """The peer will send no more; see asyncio.Protocol.eof_received."""
        return None


class LeaseTransport(asyncio.Transport):
    """What a transport is an instance of that sends leases: those of TCP and UNIX sockets on netloop's loop."""

    __slots__ = ()

    def write_lease(self, lease: Lease) -> None:
        """Send the bytes of a lease from where they lie, in order with write(); never blocks.

        The transport takes the lease over, which cannot be read after that: its buffer goes back to the pool as soon as
        the kernel has sent it, or the connection has come to its end. If an exception is raised, it is still the
        caller's.

        A lease of less than a sixteenth of its buffer is copied where others wait before it, so that a slow peer does
        not keep a whole buffer for each few bytes.

        Raises:
            ValueError: the lease was released or handed over before, or its pool belongs to another loop.
            BufferError: a view that writes to it is still exported.
            RuntimeError: write_eof() was called, or a file is being sent; or the pool's loop is closed.
        """
        raise NotImplementedError

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview | Lease]) -> None:
        """Send several pieces; leases among them are taken over, all of them or, if an exception is raised, none."""
        raise NotImplementedError
