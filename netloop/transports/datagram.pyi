import asyncio
import socket
from typing import Any, final

from netloop.core.turn import LoopCore
from netloop.transports.datagram_base import DatagramBase

@final
class DatagramTransport(DatagramBase): ...

def make_datagram(
    loop: LoopCore,
    sock: socket.socket,
    protocol: asyncio.BaseProtocol,
    address: Any,
    waiter: asyncio.Future[None] | None,
    extra: dict[str, Any] | None,
) -> asyncio.DatagramTransport: ...
