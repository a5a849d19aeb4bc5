"""create_packet_endpoint(): a datagram socket, made and bound as create_datagram_endpoint() does, for packets."""

from __future__ import annotations

import os
import socket
import stat
from asyncio.log import logger
from collections.abc import Callable, Iterable
from typing import Any, Literal, TypeVar

from netloop.core.pool import BufferPool
from netloop.hosted.loop_mixin import LoopMixin
from netloop.transports.packet_options import configure
from netloop.transports.packet_protocol import PacketProtocol
from netloop.transports.packet_transport import PacketTransport, make_packets

__all__ = ["PacketEndpoints"]

_Protocol = TypeVar("_Protocol", bound=PacketProtocol)
# What a socket is made of, and where it is bound and connected to: family, protocol, local and remote address.
_Place = tuple[int, int, Any, Any]


class PacketEndpoints(LoopMixin):
    """The method of a loop that makes packet endpoints."""

    async def create_packet_endpoint(
        self,
        protocol_factory: Callable[[], _Protocol],
        local_addr: Any = None,
        remote_addr: Any = None,
        *,
        family: int = 0,
        proto: int = 0,
        flags: int = 0,
        reuse_port: bool | None = None,
        allow_broadcast: bool | None = None,
        sock: socket.socket | None = None,
        fields: Iterable[str] = (),
        gro: bool = True,
        dont_fragment: bool | Literal["probe"] | None = None,
        pool: BufferPool | None = None,
    ) -> tuple[PacketTransport, _Protocol]:
        """Make a datagram endpoint that works in packets: a transport and its protocol, a netloop.PacketProtocol.

        Args:
            protocol_factory: makes the protocol.
            local_addr: where to receive, as for create_datagram_endpoint(): a tuple, or a path for a UNIX socket.
            remote_addr: whom to be connected to.
            family: AF_INET, AF_INET6 or AF_UNIX, where the addresses leave a choice.
            proto: the protocol, for getaddrinfo().
            flags: for getaddrinfo().
            reuse_port: let other sockets have the same address.
            allow_broadcast: let packets go to a broadcast address; the socket is not connected then.
            sock: a datagram socket to be used instead, which the transport owns from then on.
            fields: what each packet is to tell beside payload and source: "destination" (address and interface),
                "tos" (ECN and DSCP), "ttl", "time". What is not named costs nothing.
            gro: have the kernel deliver datagrams of one sender coalesced, which costs it less; they are told apart.
            dont_fragment: True refuses packets that are larger than the path takes, and learns what it takes;
                "probe" sends them all the same, unfragmented; False has them fragmented; None is the system's default.
            pool: receive into the buffers of a netloop.BufferPool; payloads then are read-only memoryviews, which keep
                their buffer from being used again. What the kernel tells of a datagram takes up to 384 bytes before it;
                what is too large for the rest is cut. With ``gro``, buffers of 66 KiB suffice for all fields. While no
                buffer is free, datagrams wait in the socket, which drops those that it has no room for.

        Raises:
            OSError: the addresses cannot be resolved, bound or connected to, or an option is refused.
            RuntimeError: the loop of the pool is closed.
            TypeError: ``fields`` is not a collection of names, ``pool`` no BufferPool.
            ValueError: the arguments contradict each other, or name what there is not; the pool is another loop's, or
                its buffers are too small.
        """
        self._check_closed()
        if sock is None:
            sock, address = await self._open_packets(
                local_addr, remote_addr, family, proto, flags, reuse_port, allow_broadcast
            )
        else:
            named = (local_addr, remote_addr, family, proto, flags, reuse_port, allow_broadcast)
            if any(value is not None and value != 0 for value in named):
                raise ValueError("socket modifier keyword arguments can not be used when sock is specified")
            if sock.type != socket.SOCK_DGRAM:
                raise ValueError(f"A datagram socket was expected, got {sock!r}")
            sock.setblocking(False)
            address = None
        waiter = self.create_future()
        try:
            room = configure(sock, fields, gro, dont_fragment)
            protocol = protocol_factory()
            transport = make_packets(self, sock, protocol, address, waiter, None, room, pool)
        except BaseException:
            sock.close()
            raise
        try:
            await waiter
        except BaseException:
            transport.close()
            raise
        return transport, protocol

    async def _open_packets(
        self,
        local_addr: Any,
        remote_addr: Any,
        family: int,
        proto: int,
        flags: int,
        reuse_port: bool | None,
        allow_broadcast: bool | None,
    ) -> tuple[socket.socket, Any]:
        """A socket, and the only address that it may send to where it is not connected."""
        errors = []
        for place in await self._places(local_addr, remote_addr, family, proto, flags):
            sock = socket.socket(place[0], socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, place[1])
            try:
                if reuse_port:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                if allow_broadcast:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
                if place[2] is not None:
                    sock.bind(place[2])
                if place[3] is not None and not allow_broadcast:
                    await self.sock_connect(sock, place[3])
                return sock, place[3] if allow_broadcast else None
            except OSError as error:
                sock.close()
                errors.append(error)
            except BaseException:
                sock.close()
                raise
        raise errors[0]

    async def _places(self, local_addr: Any, remote_addr: Any, family: int, proto: int, flags: int) -> list[_Place]:
        """The ways in which such a socket can be had, the best one first."""
        if family == socket.AF_UNIX:
            for name, address in (("local_addr", local_addr), ("remote_addr", remote_addr)):
                if address is not None and not isinstance(address, (str, bytes, os.PathLike)):
                    raise TypeError(f"{name} must be a str, bytes or os.PathLike for AF_UNIX, not {address!r}")
            paths = [address and os.fspath(address) for address in (local_addr, remote_addr)]
            if paths[0]:
                _remove_stale(paths[0])
            return [(family, proto, *paths)]
        if local_addr is None and remote_addr is None:
            if not family:
                raise ValueError("unexpected address family")
            return [(family, proto, None, None)]
        found: dict[tuple[int, int], list[Any]] = {}
        for at, address in enumerate((local_addr, remote_addr)):
            if address is None:
                continue
            if not (isinstance(address, tuple) and len(address) >= 2):
                raise TypeError("2-tuple is expected")
            infos = await self._ensure_resolved(
                address, family=family, type=socket.SOCK_DGRAM, proto=proto, flags=flags, loop=self
            )
            for info_family, _, info_proto, _, info_address in infos:
                pair = found.setdefault((info_family, info_proto), [None, None])
                if pair[at] is None:
                    pair[at] = info_address
        places = [
            (*key, *pair)
            for key, pair in found.items()
            if not ((local_addr is not None and pair[0] is None) or (remote_addr is not None and pair[1] is None))
        ]
        if not places:
            raise ValueError("can not get address information")
        return places


def _remove_stale(path: str | bytes) -> None:
    """Remove a socket that is left over at a path; a leading zero byte makes a name of no file."""
    if path[:1] in ("\0", b"\0"):
        return
    try:
        if stat.S_ISSOCK(os.stat(path).st_mode):
            os.remove(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        # Making a socket in the directory may be allowed even so.
        logger.error("Unable to check or remove stale UNIX socket %r: %r", path, error)
