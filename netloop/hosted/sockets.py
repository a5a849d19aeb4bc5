"""Operations on sockets of the caller: loop.sock_recv() and its kin."""

from __future__ import annotations

import contextlib
import errno
import socket
from asyncio import base_events
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from netloop.hosted.loop_mixin import LoopMixin

if TYPE_CHECKING:
    from netloop.operations.socket_calls import SocketCalls

__all__ = ["SocketOperations"]

_T = TypeVar("_T")

# The families whose addresses netloop translates itself.
_FAMILIES = (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)


class SocketOperations(LoopMixin):
    """The sock_ methods of a loop, for non-blocking sockets; see asyncio.loop.

    What is waited for is done by the ring: receives and sends entirely, while for accepting, connecting and families
    whose addresses only the socket's own methods know, it waits until these can be called. An operation in flight holds
    its socket open, so that close() takes effect when the operation has ended or was cancelled; one that begins after
    close() fails with EBADF.

    A call that is cancelled just after it has received something keeps that for the next call on the same socket
    object. The socket's own methods, and other objects for the same descriptor, know nothing of it. Where the object is
    of a class without weak references, nothing is received before the call is sure to return it.
    """

    _socket_calls: SocketCalls

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        """Connect a socket to a remote address."""
        self._socket_calls.check(sock)
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            found = await self._ensure_resolved(
                address, family=sock.family, type=sock.type, proto=sock.proto, loop=self
            )
            address = found[0][4]
        if sock.gettimeout() != 0 and sock.family in _FAMILIES:
            await self._socket_calls.connect(sock, address)  # the socket's own method would block the loop
        elif not await self._try_to_connect(sock, address):
            await self._socket_calls.ready(sock, True)
            if error := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                raise OSError(error, f"Connect call failed {address}")

    async def _try_to_connect(self, sock: socket.socket, address: Any) -> bool:
        """Call connect(); says whether the socket is connected, or whether that is still to be waited for."""
        try:
            sock.connect(address)
        except InterruptedError:
            return False
        except BlockingIOError as error:
            if error.errno != errno.EAGAIN:
                return False
            if sock.family != socket.AF_UNIX:
                raise
            # The listener's backlog is full, and no poll tells when it has room.
            await self._socket_calls.connect(sock, address)
        return True

    async def sock_accept(self, sock: socket.socket) -> tuple[socket.socket, Any]:
        """Accept a connection: a new non-blocking socket and the peer's address.

        The listening socket may be shared, with other loops and other processes: whoever runs takes the connection.
        """
        connection, address = await self._when_ready(sock, sock.accept)
        connection.setblocking(False)
        return connection, address

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

    # What sockets do by their own methods --------------------------------------------------------------------------

    async def _when_ready(self, sock: socket.socket, attempt: Callable[[], _T], writing: bool = False) -> _T:
        """Try, and try again each time the socket has become ready, until the attempt would not block."""
        self._socket_calls.check(sock)
        if sock.gettimeout() == 0:  # one that is blocking is ready before it is tried
            with contextlib.suppress(BlockingIOError, InterruptedError):
                return attempt()
        while True:
            await self._socket_calls.ready(sock, writing)
            with contextlib.suppress(BlockingIOError, InterruptedError):
                return attempt()

    def _check_socket(self, sock: socket.socket) -> None:
        base_events._check_ssl_socket(sock)  # type: ignore[attr-defined]
        if self._debug and sock.gettimeout() != 0:
            raise ValueError("the socket must be non-blocking")
