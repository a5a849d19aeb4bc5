import asyncio
import socket
from asyncio import transports
from collections.abc import Iterable
from contextvars import Context
from typing import Any, Self, final

from typing_extensions import Buffer, disjoint_base

from netloop.core.lease_protocol import LeaseTransport
from netloop.core.pool import Lease
from netloop.core.turn import LoopCore
from netloop.transports.base import SocketTransport

# What isinstance() takes a StreamTransport for.
class StreamInterface(transports._FlowControlMixin, LeaseTransport): ...

@disjoint_base
class ProtocolBuffer:
    def __new__(cls, memory: Buffer) -> Self: ...

@final
class StreamTransport(SocketTransport):
    _start_tls_compatible: bool
    _sendfile_compatible: Any

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None: ...
    def write(self, data: bytes | bytearray | memoryview) -> None: ...
    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview | Lease]) -> None: ...
    def write_lease(self, lease: Lease) -> None: ...
    def write_eof(self) -> None: ...
    def can_write_eof(self) -> bool: ...
    def _begin_sendfile(self) -> None: ...
    def _end_sendfile(self) -> int: ...
    def _send_part(self, part: bytes) -> None: ...
    def _check_connected(self) -> None: ...
    def _file_waiter(self, limit: int) -> asyncio.Future[None] | None: ...

def make_stream(
    loop: LoopCore,
    sock: socket.socket,
    protocol: asyncio.BaseProtocol,
    waiter: asyncio.Future[None] | None,
    extra: dict[str, Any] | None,
    server: asyncio.AbstractServer | None,
    context: Context | None = None,
) -> asyncio.Transport: ...
