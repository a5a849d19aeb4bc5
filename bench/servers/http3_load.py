"""The load for HTTP/3: aioquic's own client on asyncio's loop, the same whoever serves. It fetches one body.

What came must be the bytes of the file ``--content``. The program prints one line of JSON: how long it took, from the
request to the last byte.
"""

import argparse
import asyncio
import json
import ssl
import time
from pathlib import Path
from typing import Any, cast

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, QuicEvent
from serving import HOST, die_with_parent

_WINDOW = 16 << 20
_LIMIT_SECONDS = 300.0


class Client(QuicConnectionProtocol):
    """Fetches a body, and compares it."""

    expected = memoryview(b"")

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self._http = H3Connection(self._quic)
        self._received = 0
        self._complete: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def fetch(self) -> float:
        """Return after how many seconds the last byte had come."""
        began = time.perf_counter()
        stream = self._quic.get_next_available_stream_id()
        names = (":method", "GET"), (":scheme", "https"), (":authority", "localhost"), (":path", "/")
        self._http.send_headers(stream, [(name.encode(), value.encode()) for name, value in names], end_stream=True)
        self.transmit()
        await self._complete
        return time.perf_counter() - began

    def quic_event_received(self, event: QuicEvent) -> None:
        """Take data."""
        if isinstance(event, ConnectionTerminated):
            self._end("the connection has ended early")
        for one in self._http.handle_event(event):
            if isinstance(one, DataReceived):
                self._take(one)

    def _take(self, event: DataReceived) -> None:
        end = self._received + len(event.data)
        if self.expected[self._received : end] != event.data:
            self._end("a byte is not what it should be")
        self._received = end
        if event.stream_ended:
            self._end(None if end == len(self.expected) else f"{end} bytes, not {len(self.expected)}")

    def _end(self, error: str | None) -> None:
        if self._complete.done():
            return
        if error is None:
            self._complete.set_result(None)
        else:
            self._complete.set_exception(ConnectionError(error))


async def main(port: int, content: Path) -> float:
    """Connect and fetch."""
    Client.expected = memoryview(content.read_bytes())
    configuration = QuicConfiguration(
        alpn_protocols=H3_ALPN, verify_mode=ssl.CERT_NONE, max_data=_WINDOW, max_stream_data=_WINDOW
    )
    async with asyncio.timeout(_LIMIT_SECONDS):
        async with connect(HOST, port, configuration=configuration, create_protocol=Client) as client:
            return await cast(Client, client).fetch()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Fetches a body by HTTP/3, and prints how long it took.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--content", type=Path, required=True)
    options = parser.parse_args()
    die_with_parent()
    print(json.dumps({"seconds": asyncio.run(main(options.port, options.content))}))
