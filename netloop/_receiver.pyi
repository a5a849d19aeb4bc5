import asyncio

from typing_extensions import Buffer, disjoint_base

from netloop._socket_transport import SocketTransport

@disjoint_base
class ProtocolBuffer:
    def __init__(self, memory: Buffer) -> None: ...

@disjoint_base
class StreamReceiver(SocketTransport):
    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None: ...
