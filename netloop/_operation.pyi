import asyncio
import socket
from typing import Any

from typing_extensions import disjoint_base

from netloop._loop import LoopCore
from netloop._ring import Endpoint

@disjoint_base
class Operation(Endpoint):
    @property
    def future(self) -> asyncio.Future[Any]: ...
    def on_future_done(self, future: asyncio.Future[Any]) -> None: ...
    def error(self, res: int) -> OSError: ...

@disjoint_base
class Connect(Operation):
    def __init__(self, loop: LoopCore, sock: socket.socket, address: Any) -> None: ...

@disjoint_base
class Poll(Operation):
    def __init__(self, loop: LoopCore, fd: int, writing: bool) -> None: ...

@disjoint_base
class ReadFile(Operation):
    def __init__(self, loop: LoopCore, fd: int, offset: int, length: int) -> None: ...
