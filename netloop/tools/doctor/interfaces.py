"""What the network interfaces of this machine do for packets: segmentation, coalescing, time stamps, transmit times.

The kernel tells it by ioctls for ethtool(8) and by routing netlink, to every user. Nothing here raises OSError: what an
interface does not tell is called unknown, since containers and old drivers leave out much of it.
"""

from __future__ import annotations

import ctypes
import fcntl
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

__all__ = ["Interface", "read_interfaces"]

# <linux/sockios.h>, <net/if.h> and <linux/ethtool.h>.
_SIOCGIFFLAGS, _SIOCGIFMTU, _SIOCETHTOOL, _IFF_UP = 0x8913, 0x8921, 0x8946, 1
_GDRVINFO, _GSTRINGS, _GSSET_INFO, _GFEATURES, _GET_TS_INFO = 0x3, 0x1B, 0x37, 0x3A, 0x41
_DRIVER_INFO: Final = struct.Struct("=I32s32s32s32s64x")
_SS_FEATURES: Final = 4
_STRING_SIZE: Final = 32
_TS_INFO: Final = struct.Struct("=IIiI3II3I")
_RX_HARDWARE, _RX_SOFTWARE, _RAW_HARDWARE = 1 << 2, 1 << 3, 1 << 6

# <linux/netlink.h>, <linux/rtnetlink.h>.
_RTM_GETQDISC, _NLM_REQUEST_DUMP, _NLMSG_ERROR, _NLMSG_DONE = 38, 0x301, 2, 3
_HEADER, _TCMSG, _ATTRIBUTE = struct.Struct("=IHHII"), struct.Struct("=BBHiIII"), struct.Struct("=HH")
_TCA_KIND: Final = 1
_REPLY_LIMIT: Final = 1 << 16
_SECONDS: Final = 2.0

_HONOUR_TIMES: Final = frozenset({"fq", "etf"})
_UNKNOWN: Final = "unknown"


@dataclass(frozen=True)
class Interface:
    """One network interface.

    Attributes:
        name: what it is called.
        driver: who drives it; empty for one without a card.
        mtu: bytes of the largest packet.
        segmentation: where datagrams that were sent as one are cut up.
        coalescing: whether datagrams are received as one.
        time_stamps: who can stamp received packets.
        queueing: its queueing disciplines, and whether they honour transmit times.
    """

    name: str
    driver: str
    mtu: str
    segmentation: str
    coalescing: str
    time_stamps: str
    queueing: str


def read_interfaces() -> tuple[Interface, ...]:
    """The interfaces that are up, the loopback interface among them."""
    disciplines = _disciplines()
    found = []
    # Not from /sys, which may be mounted for another network namespace than that of this process.
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for index, name in _names():
            if not _number(sock, name, _SIOCGIFFLAGS, "H") & _IFF_UP:
                continue
            features, (driver, is_card) = _features(sock, name), _driver(sock, name)
            found.append(
                Interface(
                    name=name,
                    driver=driver,
                    mtu=str(_number(sock, name, _SIOCGIFMTU, "I") or _UNKNOWN),
                    segmentation=_segmentation(features, is_card),
                    coalescing=_coalescing(features),
                    time_stamps=_time_stamps(sock, name),
                    queueing=_queueing(disciplines, index),
                )
            )
    return tuple(found)


def _names() -> list[tuple[int, str]]:
    try:
        return socket.if_nameindex()
    except OSError:
        return []


def _number(sock: socket.socket, name: str, request: int, form: str) -> int:
    """What an ioctl tells in a number of this form, or 0."""
    try:
        answer = fcntl.ioctl(sock, request, struct.pack("16s24x", name.encode()))
    except OSError:
        return 0
    number: int = struct.unpack_from(form, answer, 16)[0]
    return number


# ethtool ----------------------------------------------------------------------------------------------------------


def _ask(sock: socket.socket, name: str, request: bytes, room: int) -> bytes | None:
    """What an interface answers to a request, with so many bytes of room behind it."""
    buffer = ctypes.create_string_buffer(request, len(request) + room)
    asked = struct.pack("16sP16x", name.encode(), ctypes.addressof(buffer))
    try:
        fcntl.ioctl(sock, _SIOCETHTOOL, asked)
    except OSError:
        return None
    return buffer.raw


def _driver(sock: socket.socket, name: str) -> tuple[str, bool]:
    """The driver's name, and whether what it drives is on a bus, which a card is."""
    answer = _ask(sock, name, struct.pack("=I", _GDRVINFO), _DRIVER_INFO.size - 4)
    if answer is None:
        return "", False
    driver, _, _, bus = (text.split(b"\0", 1)[0].decode("ascii", "replace") for text in _DRIVER_INFO.unpack(answer)[1:])
    return driver, bus not in ("", "N/A")


def _features(sock: socket.socket, name: str) -> dict[str, bool] | None:
    """Which features are on, by the names that ethtool -k begins with "tx-" or "rx-"; None where nobody tells."""
    answer = _ask(sock, name, struct.pack("=IIQ", _GSSET_INFO, 0, 1 << _SS_FEATURES), 4)
    if answer is None:
        return None
    (count,) = struct.unpack_from("=I", answer, 16)
    words = (count + 31) // 32
    strings = _ask(sock, name, struct.pack("=III", _GSTRINGS, _SS_FEATURES, count), count * _STRING_SIZE)
    states = _ask(sock, name, struct.pack("=II", _GFEATURES, words), words * 16)
    if strings is None or states is None:
        return None
    features = {}
    for number in range(count):
        at = 12 + number * _STRING_SIZE
        text = strings[at : at + _STRING_SIZE].split(b"\0", 1)[0].decode("ascii", "replace")
        # Of each 32 features four words: available, requested, active, never changed.
        (active,) = struct.unpack_from("=I", states, 8 + number // 32 * 16 + 8)
        features[text] = bool(active >> number % 32 & 1)
    return features


def _segmentation(features: dict[str, bool] | None, is_card: bool) -> str:
    if features is None:
        return _UNKNOWN
    if features.get("tx-udp-segmentation"):
        # What has no card hands them on as they are, to whoever has one or receives them whole.
        return "by the card" if is_card else "left to others"
    return "in software" if features.get("tx-generic-segmentation") else "off"


def _coalescing(features: dict[str, bool] | None) -> str:
    if features is None:
        return _UNKNOWN
    # What cards coalesce themselves (rx-gro-hw) is TCP.
    return "in software" if features.get("rx-gro") else "off"


def _time_stamps(sock: socket.socket, name: str) -> str:
    answer = _ask(sock, name, struct.pack("=I", _GET_TS_INFO), _TS_INFO.size - 4)
    if answer is None:
        return _UNKNOWN
    can = _TS_INFO.unpack(answer)[1]
    if can & _RX_HARDWARE and can & _RAW_HARDWARE:
        return "hardware and software"
    return "software" if can & _RX_SOFTWARE else "none"


# Queueing disciplines ---------------------------------------------------------------------------------------------


def _queueing(disciplines: dict[int, set[str]] | None, index: int) -> str:
    if disciplines is None:
        return _UNKNOWN
    kinds = disciplines.get(index, set())
    if not kinds:
        return "no queue, ignores transmit times"
    verb = "honours" if kinds & _HONOUR_TIMES else "ignores"
    return f"{', '.join(sorted(kinds))}, {verb} transmit times"


def _disciplines() -> dict[int, set[str]] | None:
    """The kinds of the queueing disciplines by interface; None where the kernel does not tell."""
    found: dict[int, set[str]] = {}
    body = _TCMSG.pack(0, 0, 0, 0, 0, 0, 0)
    request = _HEADER.pack(_HEADER.size + len(body), _RTM_GETQDISC, _NLM_REQUEST_DUMP, 1, 0) + body
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as sock:
            sock.settimeout(_SECONDS)
            sock.sendto(request, (0, 0))
            while True:
                for kind, message in _messages(sock.recv(_REPLY_LIMIT)):
                    if kind == _NLMSG_ERROR:
                        return None
                    if kind == _NLMSG_DONE:
                        return found
                    index = _TCMSG.unpack_from(message)[3]
                    found.setdefault(index, set()).add(_kind(message[_TCMSG.size :]))
    except OSError:
        return None


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Each netlink message in a reply: its type and what follows its header."""
    while len(data) >= _HEADER.size:
        length, kind, *_ = _HEADER.unpack_from(data)
        if length < _HEADER.size:
            return
        yield kind, data[_HEADER.size : length]
        data = data[(length + 3) & ~3 :]


def _kind(attributes: bytes) -> str:
    while len(attributes) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(attributes)
        if kind == _TCA_KIND:
            return attributes[_ATTRIBUTE.size : length].rstrip(b"\0").decode("ascii", "replace")
        attributes = attributes[max((length + 3) & ~3, _ATTRIBUTE.size) :]
    return _UNKNOWN
