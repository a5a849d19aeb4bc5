"""HTTP/3 by aioquic: answers every request with the bytes of the file ``--content``.

On a loop with packet endpoints aioquic runs over one, by the adapter of the examples; on any other it runs as it is.
"""

import argparse
import asyncio
import sys
from pathlib import Path
from typing import Any, cast

from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.asyncio.server import serve
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ProtocolNegotiated, QuicEvent
from serving import HOST, keep, run

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


class Download:
    """What a connection does, whatever carries its packets."""

    content = b""
    _quic: Any
    _http: H3Connection | None = None

    def quic_event_received(self, event: QuicEvent) -> None:
        """Answer requests."""
        if isinstance(event, ProtocolNegotiated):
            self._http = H3Connection(self._quic)
        if self._http is None:
            return
        for http_event in self._http.handle_event(event):
            if isinstance(http_event, HeadersReceived):
                self._http.send_headers(http_event.stream_id, [(b":status", b"200")])
                self._http.send_data(http_event.stream_id, self.content, end_stream=True)


class DatagramDownload(Download, QuicConnectionProtocol):
    """As aioquic has it."""


async def _serve_packets(configuration: QuicConfiguration) -> int:
    sys.path.insert(0, str(EXAMPLES))
    import quic_packets

    class PacketDownload(Download, quic_packets.PacketConnection):
        """Over packet endpoints."""

    server, address = await quic_packets.serve(HOST, 0, configuration, PacketDownload)
    keep(server)
    return cast(int, address[1])


async def start(options: argparse.Namespace) -> int:
    """Bind a port and return it."""
    Download.content = Path(options.content).read_bytes()
    configuration = QuicConfiguration(is_client=False, alpn_protocols=H3_ALPN)
    configuration.load_cert_chain(options.certificate, options.key)
    if hasattr(asyncio.get_running_loop(), "create_packet_endpoint"):
        return await _serve_packets(configuration)
    server = await serve(HOST, 0, configuration=configuration, create_protocol=DatagramDownload)
    keep(server)
    transport = cast(asyncio.DatagramTransport, server._transport)
    return cast(int, transport.get_extra_info("sockname")[1])


if __name__ == "__main__":
    run(start)
