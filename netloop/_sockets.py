"""Operations on sockets of the caller: loop.sock_connect() and its kin."""

from __future__ import annotations

import contextlib
import functools
import socket
from asyncio import base_events
from collections.abc import Callable
from typing import Any, TypeVar

from netloop._host import Host
from netloop._operation import Connect, Poll

__all__ = ["SocketOperations"]

_T = TypeVar("_T")


class SocketOperations(Host):
    """The sock_ methods of a loop, for non-blocking sockets; see asyncio.loop."""

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        """Connect a socket to a remote address."""
        self._check_socket(sock)
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            found = await self._ensure_resolved(
                address, family=sock.family, type=sock.type, proto=sock.proto, loop=self
            )
            address = found[0][4]
        await Connect(self, sock, address).future

    async def sock_accept(self, sock: socket.socket) -> tuple[socket.socket, Any]:
        """Accept a connection: a new non-blocking socket and the peer's address."""
        self._check_socket(sock)
        connection, address = await self._when_ready(sock, sock.accept)
        connection.setblocking(False)
        return connection, address

    async def sock_recv(self, sock: socket.socket, n: int) -> bytes:
        """Receive up to ``n`` bytes; b"" when the peer has ended."""
        self._check_socket(sock)
        return await self._when_ready(sock, lambda: sock.recv(n))

    async def sock_recv_into(self, sock: socket.socket, buf: Any) -> int:
        """Receive into a buffer; how many bytes came."""
        self._check_socket(sock)
        return await self._when_ready(sock, lambda: sock.recv_into(buf))

    async def sock_recvfrom(self, sock: socket.socket, bufsize: int) -> tuple[bytes, Any]:
        """Receive a datagram of up to ``bufsize`` bytes and its sender's address."""
        self._check_socket(sock)
        return await self._when_ready(sock, lambda: sock.recvfrom(bufsize))

    async def sock_recvfrom_into(self, sock: socket.socket, buf: Any, nbytes: int = 0) -> tuple[int, Any]:
        """Receive a datagram into a buffer: its length and its sender's address."""
        self._check_socket(sock)
        return await self._when_ready(sock, lambda: sock.recvfrom_into(buf, nbytes or len(buf)))

    async def sock_sendall(self, sock: socket.socket, data: Any) -> None:
        """Send all of ``data``."""
        self._check_socket(sock)
        rest = memoryview(data).cast("B")
        while rest:
            sent = await self._when_ready(sock, functools.partial(sock.send, rest), writing=True)
            rest = rest[sent:]

    async def sock_sendto(self, sock: socket.socket, data: Any, address: Any) -> int:
        """Send a datagram to an address; how many bytes went."""
        self._check_socket(sock)
        return await self._when_ready(sock, lambda: sock.sendto(data, address), writing=True)

    async def _when_ready(self, sock: socket.socket, attempt: Callable[[], _T], writing: bool = False) -> _T:
        """Try, and try again each time the socket has become ready, until the attempt would not block."""
        while True:
            with contextlib.suppress(BlockingIOError, InterruptedError):
                return attempt()
            await Poll(self, sock.fileno(), writing).future

    def _check_socket(self, sock: socket.socket) -> None:
        base_events._check_ssl_socket(sock)  # type: ignore[attr-defined]
        if self._debug and sock.gettimeout() != 0:
            raise ValueError("the socket must be non-blocking")
