import asyncio
import socket
from asyncio import transports
from collections.abc import Iterable
from contextvars import Context
from typing import Any

from typing_extensions import disjoint_base

from netloop.core.turn import LoopCore
from netloop.transports.receiver import StreamReceiver

# What isinstance() takes a StreamTransport for.
class StreamInterface(transports._FlowControlMixin, asyncio.Transport): ...

@disjoint_base
class FileSend: ...

@disjoint_base
class StreamTransport(StreamReceiver):
    _start_tls_compatible: bool
    _sendfile_compatible: Any

    def write(self, data: bytes | bytearray | memoryview) -> None: ...
    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None: ...
    def write_eof(self) -> None: ...
    def can_write_eof(self) -> bool: ...
    def _begin_sendfile(self) -> None: ...
    def _end_sendfile(self) -> int: ...
    async def _send_part(self, part: bytes, limit: int) -> None: ...
    async def _writable(self, poll: Any) -> None: ...
    async def _drained(self, limit: int) -> None: ...

def make_stream(
    loop: LoopCore,
    sock: socket.socket,
    protocol: asyncio.BaseProtocol,
    waiter: asyncio.Future[None] | None,
    extra: dict[str, Any] | None,
    server: asyncio.AbstractServer | None,
    context: Context | None = None,
) -> asyncio.Transport: ...
