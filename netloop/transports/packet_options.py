"""What a packet endpoint asks of its socket, once: options, groups, paths. Not on the way of a packet."""

from __future__ import annotations

import contextlib
import errno
import operator
import socket
import struct
from collections.abc import Iterable
from typing import Any, Final

__all__ = [
    "FIELDS",
    "ask_for_times",
    "change_membership",
    "coalesces",
    "configure",
    "interface_index",
    "path_mtu",
    "segments_of",
    "source_address",
]

FIELDS: Final = ("destination", "tos", "ttl", "time")
"""What an endpoint can be asked to tell of each packet."""

# Of the kernel's headers, as far as the socket module does not name them.
_SOL_UDP = 17
_UDP_SEGMENT, _UDP_GRO = 103, 104
_IP_PKTINFO, _IP_MTU_DISCOVER, _IP_RECVERR, _IP_RECVTTL, _IP_RECVTOS, _IP_MTU = 8, 10, 11, 12, 13, 14
_IPV6_MTU_DISCOVER, _IPV6_MTU, _IPV6_RECVERR = 23, 24, 25
_SO_BINDTODEVICE, _SO_TIMESTAMPNS, _SO_MARK, _SO_TIMESTAMPING, _SO_RXQ_OVFL, _SO_TXTIME = 25, 35, 36, 37, 40, 61
_SOF_TIMESTAMPING_RX_HARDWARE, _SOF_TIMESTAMPING_RAW_HARDWARE = 1 << 2, 1 << 6
_SOF_TXTIME_REPORT_ERRORS = 1 << 1

_DISCOVER: Final = {False: 0, True: 2, "probe": 3}
# Room for the control messages of each field, rounded up: IPv6's are the larger ones.
_ROOM: Final = {"": 48, "destination": 40, "tos": 24, "ttl": 24, "time": 96}

_segments = 0


def configure(sock: socket.socket, fields: Iterable[str], gro: bool, dont_fragment: bool | str | None) -> int:
    """Have the kernel tell what is wanted of each packet; returns the room that its control messages need.

    Raises:
        OSError: the kernel refuses an option.
        TypeError: ``fields`` is not a collection of names.
        ValueError: a field is not known, or ``dont_fragment`` is not True, False, "probe" or None.
    """
    names = _checked(fields)
    if dont_fragment is not None and (not isinstance(dont_fragment, (bool, str)) or dont_fragment not in _DISCOVER):
        raise ValueError(f"dont_fragment must be True, False, 'probe' or None, not {dont_fragment!r}")
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        if sock.family != socket.AF_UNIX:
            raise ValueError(f"a packet endpoint is for sockets of IPv4, IPv6 or UNIX, not {sock.family!r}")
        if names or dont_fragment is not None:
            raise ValueError(f"{'fields' if names else 'dont_fragment'}: a UNIX socket has no such thing")
        return 0
    for option in (_SO_RXQ_OVFL, *((_SO_TIMESTAMPNS,) if "time" in names else ())):
        sock.setsockopt(socket.SOL_SOCKET, option, 1)
    if "time" in names:
        times = _SOF_TIMESTAMPING_RX_HARDWARE | _SOF_TIMESTAMPING_RAW_HARDWARE
        sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPING, times)
    if gro:
        with contextlib.suppress(OSError):  # a kernel or a protocol without it delivers every datagram on its own
            sock.setsockopt(_SOL_UDP, _UDP_GRO, 1)
    _ask(sock, names, dont_fragment)
    room = _ROOM[""] + sum(_ROOM[name] for name in names)
    return (room + 15) // 16 * 16


def coalesces(sock: socket.socket) -> bool:
    """May the kernel deliver several datagrams at once, because configure() or the program has asked for that?"""
    try:
        return sock.family != socket.AF_UNIX and bool(sock.getsockopt(_SOL_UDP, _UDP_GRO))
    except OSError:
        return False


def _checked(fields: Iterable[str]) -> frozenset[str]:
    if isinstance(fields, str):
        raise TypeError(f"fields must be a collection of names, not the str {fields!r}")
    names = frozenset(fields)
    for name in names:
        if name not in FIELDS:
            raise ValueError(f"fields: {name!r} is not one of {', '.join(FIELDS)}")
    return names


def _ask(sock: socket.socket, names: frozenset[str], dont_fragment: bool | str | None) -> None:
    """The options of IPv6 and, because a socket of IPv6 may carry both, of IPv4."""
    six = {"destination": socket.IPV6_RECVPKTINFO, "tos": socket.IPV6_RECVTCLASS, "ttl": socket.IPV6_RECVHOPLIMIT}
    four = {"destination": _IP_PKTINFO, "tos": _IP_RECVTOS, "ttl": _IP_RECVTTL}
    levels = [(socket.IPPROTO_IP, four, _IP_RECVERR, _IP_MTU_DISCOVER)]
    if sock.family == socket.AF_INET6:
        # Of an IPv4 packet too such a socket tells the destination as IPv6 does.
        del four["destination"]
        levels.append((socket.IPPROTO_IPV6, six, _IPV6_RECVERR, _IPV6_MTU_DISCOVER))
    for level, options, errors, discover in levels:
        sock.setsockopt(level, errors, 1)
        for name in names & options.keys():
            sock.setsockopt(level, options[name], 1)
        if dont_fragment is not None:
            sock.setsockopt(level, discover, _DISCOVER[dont_fragment])


def segments_of(sock: socket.socket) -> int:
    """How many datagrams of a socket are one send at most. UDP cuts them apart; other protocols would join them."""
    return _kernel_segments() if sock.getsockopt(socket.SOL_SOCKET, socket.SO_PROTOCOL) == socket.IPPROTO_UDP else 1


def _kernel_segments() -> int:
    """How many datagrams this kernel sends at once: 64, or 128 from Linux 6.9 on. Tried once, on the loopback."""
    global _segments
    if not _segments:
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
        ):
            try:
                receiver.bind(("127.0.0.1", 0))
                sender.setsockopt(_SOL_UDP, _UDP_SEGMENT, 1)
                sender.sendto(bytes(128), receiver.getsockname())
                _segments = 128
            except OSError as error:
                # Without a loopback interface nothing is known, and 64 is what every kernel takes.
                _segments = 64
                if error.errno not in (errno.EINVAL, errno.ENETUNREACH, errno.EADDRNOTAVAIL):
                    _segments = 1
    return _segments


def ask_for_times(sock: socket.socket) -> None:
    """Have transmit times looked at, on CLOCK_MONOTONIC unless the program has chosen a clock."""
    chosen = sock.getsockopt(socket.SOL_SOCKET, _SO_TXTIME, 8)
    if not any(chosen):
        wanted = struct.pack("=iI", 1, _SOF_TXTIME_REPORT_ERRORS)
        sock.setsockopt(socket.SOL_SOCKET, _SO_TXTIME, wanted)


def interface_index(interface: Any, argument: str) -> int:
    """The number of a network interface that is given by number or name; None is 0, which leaves it to the system."""
    if interface is None:
        return 0
    if isinstance(interface, str):
        try:
            return socket.if_nametoindex(interface)
        except OSError:
            raise OSError(errno.ENODEV, f"{argument}: there is no interface {interface!r}") from None
    try:
        index = operator.index(interface)
    except TypeError:
        kind = type(interface).__name__
        raise TypeError(f"{argument} must be an interface's name or index, not {kind}") from None
    if not 0 <= index < 1 << 31:
        raise ValueError(f"{argument}: {interface} is not the index of an interface")
    return index


def source_address(family: int, source: Any) -> tuple[bytes, int]:
    """A local address in the kernel's form, and the index of an interface, from ``host`` or ``(host, interface)``.

    On a socket of IPv6 an IPv4 address may be given in either form.
    """
    host, interface = source, None
    if isinstance(source, tuple):
        if len(source) != 2:
            raise ValueError(f"source must be a host or a pair (host, interface), not {source!r}")
        host, interface = source
    if not isinstance(host, str):
        raise TypeError(f"source must be a host or a pair (host, interface), not {source!r}")
    if family == socket.AF_UNIX:
        raise ValueError("source: a UNIX socket has no such thing")
    host, _, scope = host.partition("%")
    index = interface_index(interface if interface is not None else scope or None, "source")
    for known, prefix in ((family, b""), (socket.AF_INET, bytes(10) + b"\xff\xff")):
        with contextlib.suppress(OSError):
            return (prefix if known != family else b"") + socket.inet_pton(known, host), index
        if family == socket.AF_INET:
            break
    name = "IPv4" if family == socket.AF_INET else "IPv6"
    raise ValueError(f"source: {host!r} is not an address of {name}")


def change_membership(sock: socket.socket, group: Any, interface: Any, joins: bool) -> None:
    """Join a multicast group, or leave it.

    Raises:
        OSError: the kernel refuses: no such interface, a member already, none.
        TypeError: the group is not a str.
        ValueError: the group is not a multicast address of the socket's family.
    """
    if not isinstance(group, str):
        raise TypeError(f"group must be a str, not {type(group).__name__}")
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        raise ValueError("group: a UNIX socket has no such thing")
    address, _, scope = group.partition("%")
    index = interface_index(interface if interface is not None else scope or None, "interface")
    try:
        packed = socket.inet_pton(sock.family, address)
    except OSError:
        packed = b"\0"
    if packed[0] >> 4 != 0xE if sock.family == socket.AF_INET else packed[0] != 0xFF:
        raise ValueError(f"group: {group!r} is not a multicast address of the socket's family")
    if sock.family == socket.AF_INET:
        option = socket.IP_ADD_MEMBERSHIP if joins else socket.IP_DROP_MEMBERSHIP
        sock.setsockopt(socket.IPPROTO_IP, option, packed + struct.pack("=4si", bytes(4), index))
    else:
        option = socket.IPV6_JOIN_GROUP if joins else socket.IPV6_LEAVE_GROUP
        sock.setsockopt(socket.IPPROTO_IPV6, option, packed + struct.pack("=I", index))


def path_mtu(sock: socket.socket, address: Any, connected: bool) -> int:
    """The largest IP packet, in bytes, that the kernel knows the path to an address to take.

    The kernel tells it of a connected socket. For another one a socket is made that leaves by the same way.
    """
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        raise ValueError("a UNIX socket has no path")
    if connected:
        return _mtu_of(sock)
    with socket.socket(sock.family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as other:
        for option, size in ((_SO_MARK, 4), (_SO_BINDTODEVICE, 16)):
            value = sock.getsockopt(socket.SOL_SOCKET, option, size)
            if any(value):
                other.setsockopt(socket.SOL_SOCKET, option, value)
        host, _, *rest = sock.getsockname()
        other.bind((host, 0, *rest))
        other.connect(address)
        return _mtu_of(other)


def _mtu_of(sock: socket.socket) -> int:
    if sock.family == socket.AF_INET6 and not sock.getpeername()[0].startswith("::ffff:"):
        return sock.getsockopt(socket.IPPROTO_IPV6, _IPV6_MTU)
    return sock.getsockopt(socket.IPPROTO_IP, _IP_MTU)
