"""asyncio's TLS over netloop's transports."""

from __future__ import annotations

from asyncio import sslproto
from typing import Any

from netloop.core.lease_protocol import TLS_TEXT, LeaseProtocol
from netloop.transports.tls import SSLTransport, TLSRecords

__all__ = ["TLSProtocol", "refuse_leases"]


def refuse_leases(protocol: Any) -> None:
    """Raises TypeError for a protocol that TLS cannot serve."""
    if isinstance(protocol, LeaseProtocol):
        raise TypeError(TLS_TEXT)


class TLSProtocol(TLSRecords, sslproto.SSLProtocol):
    """The protocol between a connection and the application's own, which speaks TLS.

    asyncio only schedules the application's connection_lost(). A writer that comes before it in the ready queue, and
    waits only when it is paused, would go on writing for ever, because nothing it writes is refused. So it is paused.
    """

    # What typeshed does not know of asyncio's class.
    _app_state: Any
    _app_transport_created: bool

    # The size of a buffer that asyncio makes with each connection, bytes. It is made when it is needed.
    max_size = 0

    def _set_app_protocol(self, app_protocol: Any) -> None:
        refuse_leases(app_protocol)
        super()._set_app_protocol(app_protocol)

    def _get_app_transport(self) -> Any:
        if not self._app_transport_created:
            self._app_transport = SSLTransport(self._loop, self)
            self._app_transport_created = True
        return super()._get_app_transport()  # type: ignore[misc]

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
