"""An HTTP/3 client: aioquic over packet endpoints. It fetches a file, and tells its size, checksum and speed.

Run it with ``python examples/http3_client.py https://localhost:4433/ --ca certificate.pem``; see ``http3_server.py``.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import sys
import time
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import SplitResult, urlsplit

import quic_packets
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, H3Event, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, QuicEvent, StreamReset

import netloop

#: What may be under way at once.
WINDOW = 8 << 20


class HttpClient(quic_packets.PacketConnection):
    """A connection to a server, for one request."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self._http = H3Connection(self._quic)
        self._output: BinaryIO | None = None
        self._status = 0
        self._checksum = hashlib.sha256()
        self._size = 0
        self._finished: asyncio.Future[None] | None = None

    async def fetch(self, url: SplitResult, output: BinaryIO | None) -> tuple[int, int, str]:
        """Fetch a URL into a file, if there is one; return the status, and size and SHA-256 of the body.

        Raises:
            ConnectionError: the connection ended before the response was complete.
        """
        self._finished = asyncio.get_running_loop().create_future()
        self._output = output
        target = (url.path or "/") + (f"?{url.query}" if url.query else "")
        pseudo = ((":method", "GET"), (":scheme", url.scheme), (":authority", url.netloc), (":path", target))
        stream = self._quic.get_next_available_stream_id()
        headers = [(name.encode(), value.encode()) for name, value in pseudo]
        self._http.send_headers(stream, headers, end_stream=True)
        self.transmit()
        await self._finished
        return self._status, self._size, self._checksum.hexdigest()

    def quic_event_received(self, event: QuicEvent) -> None:
        """Take what QUIC has to tell."""
        if isinstance(event, ConnectionTerminated):
            self._end(ConnectionError(event.reason_phrase or "the connection has ended"))
        elif isinstance(event, StreamReset):
            self._end(ConnectionError("the server has given up the response"))
        for http_event in self._http.handle_event(event):
            self._take(http_event)

    def _take(self, event: H3Event) -> None:
        if isinstance(event, HeadersReceived):
            self._status = int(dict(event.headers)[b":status"])
        elif isinstance(event, DataReceived):
            self._size += len(event.data)
            self._checksum.update(event.data)
            if self._output is not None:
                self._output.write(event.data)
        if isinstance(event, (HeadersReceived, DataReceived)) and event.stream_ended:
            self._end(None)

    def _end(self, error: Exception | None) -> None:
        if self._finished is None or self._finished.done():
            return
        if error is None:
            self._finished.set_result(None)
        else:
            self._finished.set_exception(error)


async def main(options: argparse.Namespace) -> int:
    """Fetch, and return the exit status."""
    url = urlsplit(options.url)
    configuration = QuicConfiguration(
        alpn_protocols=H3_ALPN,
        max_data=WINDOW,
        max_stream_data=WINDOW,
        max_datagram_size=options.datagram_size,
        server_name=url.hostname,
    )
    if options.ca is not None:
        configuration.load_verify_locations(str(options.ca))
    host = options.connect_to or url.hostname or ""
    began = time.monotonic()
    async with quic_packets.connect(host, url.port or 443, configuration, HttpClient) as client:
        with open(options.output, "wb") if options.output else open("/dev/null", "wb") as output:
            status, size, checksum = await client.fetch(url, output)
    seconds = time.monotonic() - began
    print(f"status {status}, {size} bytes, {size / seconds / 1e6:.1f} MB/s, SHA-256 {checksum}", flush=True)
    return 0 if status == 200 else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="An HTTP/3 client.")
    parser.add_argument("url", help="https://HOST:PORT/PATH")
    parser.add_argument("--ca", type=Path, help="certificates to trust, in PEM; without it those of the system")
    parser.add_argument("--output", type=Path, help="file for the body")
    parser.add_argument("--connect-to", help="address of the server, if not the URL's host")
    parser.add_argument("--datagram-size", type=int, default=1200, help="payload of the largest datagram sent")
    parser.add_argument("--loop", choices=("netloop", "asyncio"), default="netloop", help="event loop to run on")
    options = parser.parse_args()
    run = netloop.run if options.loop == "netloop" else asyncio.run
    sys.exit(run(main(options)))
