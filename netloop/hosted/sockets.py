"""Operations on sockets of the caller: loop.sock_recv() and its kin."""

from __future__ import annotations

import contextlib
import socket
from asyncio import base_events
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from netloop.hosted.loop_mixin import LoopMixin
from netloop.operations.operation import Poll

if TYPE_CHECKING:
    from netloop.operations.socket_calls import SocketCalls

__all__ = ["SocketOperations"]

_T = TypeVar("_T")

# The families whose addresses netloop translates itself.
_FAMILIES = (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)


class SocketOperations(LoopMixin):
    """The sock_ methods of a loop, for non-blocking sockets; see asyncio.loop.

    What is waited for is done by the ring. An operation in flight holds its socket open, so that close() takes effect
    when the operation has ended or was cancelled; one that begins after close() fails with EBADF.

    A call that is cancelled just after it has received something keeps that for the next call on the same socket
    object. The socket's own methods, and other objects for the same descriptor, know nothing of it.
    """

    _socket_calls: SocketCalls

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        """Connect a socket to a remote address."""
        self._check_socket(sock)
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            found = await self._ensure_resolved(
                address, family=sock.family, type=sock.type, proto=sock.proto, loop=self
            )
            address = found[0][4]
        if sock.family in _FAMILIES:
            await self._socket_calls.connect(sock, address)
        else:
            await self._connect_otherwise(sock, address)

    async def sock_accept(self, sock: socket.socket) -> tuple[socket.socket, Any]:
        """Accept a connection: a new non-blocking socket and the peer's address."""
        return await self._socket_calls.accept(sock)  # type: ignore[no-any-return]

    async def sock_recv(self, sock: socket.socket, n: int) -> bytes:
        """Receive up to ``n`` bytes; b"" when the peer has ended."""
        return await self._socket_calls.receive(sock, n)  # type: ignore[no-any-return]

    async def sock_recv_into(self, sock: socket.socket, buf: Any) -> int:
        """Receive into a buffer, which must not be resized meanwhile; how many bytes came."""
        return await self._socket_calls.receive_into(sock, buf)  # type: ignore[no-any-return]

    async def sock_recvfrom(self, sock: socket.socket, bufsize: int) -> tuple[bytes, Any]:
        """Receive a datagram of up to ``bufsize`` bytes and its sender's address."""
        if sock.family not in _FAMILIES:
            return await self._when_ready(sock, lambda: sock.recvfrom(bufsize))
        return await self._socket_calls.receive_from(sock, bufsize)  # type: ignore[no-any-return]

    async def sock_recvfrom_into(self, sock: socket.socket, buf: Any, nbytes: int = 0) -> tuple[int, Any]:
        """Receive a datagram into a buffer: its length and its sender's address."""
        if sock.family not in _FAMILIES:
            return await self._when_ready(sock, lambda: sock.recvfrom_into(buf, nbytes))
        return await self._socket_calls.receive_from_into(sock, buf, nbytes)  # type: ignore[no-any-return]

    async def sock_sendall(self, sock: socket.socket, data: Any) -> None:
        """Send all of ``data``, which must not be resized meanwhile."""
        rest = self._socket_calls.send_all(sock, data)
        if rest is not None:
            await rest

    async def sock_sendto(self, sock: socket.socket, data: Any, address: Any) -> int:
        """Send a datagram to an address; how many bytes went."""
        self._check_socket(sock)
        if sock.family not in _FAMILIES:
            return await self._when_ready(sock, lambda: sock.sendto(data, address), writing=True)
        with contextlib.suppress(BlockingIOError, InterruptedError):
            return sock.sendto(data, address)
        return await self._socket_calls.send_to(sock, data, address)  # type: ignore[no-any-return]

    # Families whose addresses only the socket's own methods know ----------------------------------------------------

    async def _when_ready(self, sock: socket.socket, attempt: Callable[[], _T], writing: bool = False) -> _T:
        """Try, and try again each time the socket has become ready, until the attempt would not block."""
        self._check_socket(sock)
        while True:
            with contextlib.suppress(BlockingIOError, InterruptedError):
                return attempt()
            await Poll(self, sock.fileno(), writing)

    async def _connect_otherwise(self, sock: socket.socket, address: Any) -> None:
        with contextlib.suppress(BlockingIOError, InterruptedError):
            return sock.connect(address)
        await Poll(self, sock.fileno(), True)
        error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise OSError(error, f"Connect call failed {address}")

    def _check_socket(self, sock: socket.socket) -> None:
        base_events._check_ssl_socket(sock)  # type: ignore[attr-defined]
        if self._debug and sock.gettimeout() != 0:
            raise ValueError("the socket must be non-blocking")
