import asyncio

from typing_extensions import disjoint_base

from netloop._socket_transport import SocketTransport

@disjoint_base
class StreamReceiver(SocketTransport):
    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None: ...
