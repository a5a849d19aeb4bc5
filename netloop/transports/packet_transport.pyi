import asyncio
import socket
from collections.abc import Sequence
from typing import Any, final

from netloop.core.pool import BufferPool
from netloop.core.turn import LoopCore
from netloop.transports.datagram_base import DatagramBase

@final
class PacketTransport(DatagramBase):
    def __init__(self, *args: Any, **kwargs: Any) -> None: ...
    def send_packets(
        self,
        payloads: Sequence[bytes | bytearray | memoryview] | bytes | bytearray | memoryview,
        addr: Any = None,
        *,
        source: str | tuple[str, int | str | None] | None = None,
        ecn: int | None = None,
        segment_size: int | None = None,
        at: int | None = None,
    ) -> None: ...
    def set_write_buffer_limits(
        self, high: int | None = None, low: int | None = None, packets: int | None = None
    ) -> None: ...
    def join(self, group: str, interface: int | str | None = None) -> None: ...
    def leave(self, group: str, interface: int | str | None = None) -> None: ...
    def mtu(self, addr: Any = None) -> int: ...

def make_packets(
    loop: LoopCore,
    sock: socket.socket,
    protocol: asyncio.BaseProtocol,
    address: Any,
    waiter: asyncio.Future[None] | None,
    extra: dict[str, Any] | None,
    control_room: int,
    pool: BufferPool | None,
) -> PacketTransport: ...
