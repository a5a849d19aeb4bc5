"""An HTTP/3 server: aioquic over packet endpoints. It serves the files of a directory, and greets at ``/``.

It needs a certificate, for example that of ``openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes
-subj /CN=localhost -addext subjectAltName=DNS:localhost -keyout key.pem -out certificate.pem``. Run it with
``python examples/http3_server.py certificate.pem key.pem --directory .`` and fetch a file with
``python examples/http3_client.py https://localhost:4433/README.md --ca certificate.pem``. ``pip install aioquic``.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import quic_packets
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ProtocolNegotiated, QuicEvent

import netloop

GREETING = b"Hello over HTTP/3\n"


class HttpServer(quic_packets.PacketConnection):
    """A client's connection."""

    directory: Path | None = None

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self._http: H3Connection | None = None

    def quic_event_received(self, event: QuicEvent) -> None:
        """Take what QUIC has to tell."""
        if isinstance(event, ProtocolNegotiated):
            self._http = H3Connection(self._quic)
        if self._http is not None:
            for http_event in self._http.handle_event(event):
                if isinstance(http_event, HeadersReceived):
                    self._answer(self._http, http_event)

    def _answer(self, http: H3Connection, request: HeadersReceived) -> None:
        headers = dict(request.headers)
        target = headers.get(b":path", b"").decode("ascii", "replace")
        status, body = self._content(headers.get(b":method", b""), target)
        length = str(len(body)).encode()
        http.send_headers(request.stream_id, [(b":status", str(status).encode()), (b"content-length", length)])
        # aioquic keeps what flow control and congestion do not let go yet.
        http.send_data(request.stream_id, b"" if headers.get(b":method") == b"HEAD" else body, end_stream=True)

    def _content(self, method: bytes, target: str) -> tuple[int, bytes]:
        """Return status and body."""
        if method not in (b"GET", b"HEAD"):
            return 405, b"only GET and HEAD are allowed\n"
        path = unquote(urlsplit(target).path)
        if path == "/":
            return 200, GREETING
        if self.directory is not None and "\0" not in path:
            root = self.directory.resolve()
            file = (root / path.lstrip("/")).resolve()
            if file.is_relative_to(root) and file.is_file():
                return 200, file.read_bytes()
        return 404, b"not found\n"


async def main(options: argparse.Namespace) -> None:
    """Serve until interrupted."""
    configuration = QuicConfiguration(is_client=False, alpn_protocols=H3_ALPN, max_datagram_size=options.datagram_size)
    configuration.load_cert_chain(options.certificate, options.key)
    HttpServer.directory = options.directory
    server, address = await quic_packets.serve(options.host, options.port, configuration, HttpServer)
    try:
        print(f"listening on {address}", flush=True)
        await asyncio.get_running_loop().create_future()
    finally:
        server.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="An HTTP/3 server.")
    parser.add_argument("certificate", type=Path, help="certificate chain in PEM")
    parser.add_argument("key", type=Path, help="its private key in PEM")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=4433)
    parser.add_argument("--directory", type=Path, help="files to serve")
    parser.add_argument("--datagram-size", type=int, default=1200, help="payload of the largest datagram sent")
    parser.add_argument("--loop", choices=("netloop", "asyncio"), default="netloop", help="event loop to run on")
    options = parser.parse_args()
    run = netloop.run if options.loop == "netloop" else asyncio.run
    with contextlib.suppress(KeyboardInterrupt):
        run(main(options))
