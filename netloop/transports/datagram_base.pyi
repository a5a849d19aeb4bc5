from asyncio import DatagramTransport, transports
from typing import Any

from typing_extensions import disjoint_base

from netloop.transports.base import SocketTransport

# What isinstance() takes a datagram transport for.
class DatagramInterface(transports._FlowControlMixin, DatagramTransport): ...

@disjoint_base
class DatagramBase(SocketTransport):
    def sendto(self, data: bytes | bytearray | memoryview, addr: Any = None) -> None: ...
    def _tell_error(self, exc: OSError) -> None: ...
    def _end_pause(self) -> None: ...
