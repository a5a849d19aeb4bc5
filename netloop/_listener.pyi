import asyncio
import socket
from collections.abc import Callable
from typing import Any

from typing_extensions import disjoint_base

from netloop._loop import LoopCore
from netloop._ring import Endpoint

@disjoint_base
class Listener(Endpoint):
    def __init__(
        self,
        loop: LoopCore,
        sock: socket.socket,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        server: asyncio.AbstractServer | None,
        backlog: int,
    ) -> None: ...
    def stop(self) -> None: ...
    def _resume(self) -> None: ...

def specific_address(sock: socket.socket) -> Any: ...
