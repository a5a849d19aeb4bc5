from asyncio import sslproto
from typing import Any, NoReturn

from typing_extensions import disjoint_base

from netloop.core.lease_protocol import TLS_TEXT as TLS_TEXT
from netloop.transports.base import ByteTaker

@disjoint_base
class TLSRecords(ByteTaker):
    _state: Any
    _extra: Any
    _transport: Any
    _incoming: Any
    _outgoing: Any
    _app_protocol: Any
    _app_protocol_get_buffer: Any
    _app_protocol_buffer_updated: Any
    _app_protocol_is_buffer: bool
    _app_reading_paused: bool
    _app_writing_paused: bool
    _ssl_reading_paused: bool
    _ssl_writing_paused: bool
    _write_backlog: Any
    _write_buffer_size: int
    _ssl_buffer: Any
    _ssl_buffer_view: Any
    _sslobj: Any

    def get_buffer(self, n: int) -> memoryview: ...
    def buffer_updated(self, nbytes: int) -> None: ...
    def _do_read(self) -> None: ...
    def _process_outgoing(self) -> None: ...
    def _set_read_buffer_limits(self, high: float | None = None, low: float | None = None) -> None: ...
    def _set_write_buffer_limits(self, high: float | None = None, low: float | None = None) -> None: ...

class SSLTransport(sslproto._SSLProtocolTransport):
    def write_lease(self, lease: object) -> NoReturn: ...
