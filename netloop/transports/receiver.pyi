import asyncio
from typing import Self

from typing_extensions import Buffer, disjoint_base

from netloop.transports.socket_transport import SocketTransport

@disjoint_base
class ProtocolBuffer:
    def __new__(cls, memory: Buffer) -> Self: ...

@disjoint_base
class StreamReceiver(SocketTransport):
    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None: ...
