import asyncio
import socket
from asyncio import transports
from typing import Any

from typing_extensions import disjoint_base

from netloop.core.turn import LoopCore
from netloop.transports.socket_transport import SocketTransport

# What isinstance() takes a DatagramTransport for.
class DatagramInterface(transports._FlowControlMixin, asyncio.DatagramTransport): ...

@disjoint_base
class DatagramTransport(SocketTransport):
    def sendto(self, data: bytes | bytearray | memoryview, addr: Any = None) -> None: ...
    def _tell_error(self, exc: OSError) -> None: ...
    def _tell_errors(self) -> None: ...
    def _end_pause(self) -> None: ...

def make_datagram(
    loop: LoopCore,
    sock: socket.socket,
    protocol: asyncio.BaseProtocol,
    address: Any,
    waiter: asyncio.Future[None] | None,
    extra: dict[str, Any] | None,
) -> asyncio.DatagramTransport: ...
