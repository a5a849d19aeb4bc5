import asyncio
import socket
from collections.abc import Callable
from contextvars import Context
from typing import Any

from typing_extensions import disjoint_base

from netloop.core.ring import Endpoint
from netloop.core.turn import LoopCore

@disjoint_base
class Listener(Endpoint):
    def __init__(
        self,
        loop: LoopCore,
        sock: socket.socket,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        server: asyncio.AbstractServer | None,
        context: Context | None = None,
    ) -> None: ...
    def stop(self) -> None: ...

def specific_address(sock: socket.socket) -> Any: ...
