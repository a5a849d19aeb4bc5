"""The client's connections: each sends a message when told to, and checks every byte of the answer."""

from __future__ import annotations

import asyncio
import re
import time
from typing import Final, Protocol, cast

__all__ = ["SLOW_PAYLOAD", "Connection", "EchoConnection", "HttpConnection", "Owner", "SlowReader"]

_REQUEST: Final = b"GET / HTTP/1.1\r\nHost: netloop\r\n\r\n"
_BODY: Final = b"Hello, world"
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_STATUS: Final = b"HTTP/1.1 200 "
#: More than a server may take before it stops receiving; all connections share these bytes.
SLOW_PAYLOAD: Final = bytes(range(256)) * 2048


class Owner(Protocol):
    """Whom a connection tells what happens to it."""

    def answered(self, connection: Connection, seconds: float) -> None:
        """The whole answer has come, so long after the message was sent."""

    def failed(self, connection: Connection, reason: str) -> None:
        """The connection is of no more use."""

    def ended(self, connection: Connection) -> None:
        """The connection that we have closed is gone."""


class Connection(asyncio.Protocol):
    """A connection and what it waits for.

    Args:
        owner: whom to tell.
        number: makes its messages differ from those of others.
    """

    __slots__ = ("_owner", "_received", "_sent_at", "closing", "number", "transport", "waiting")

    def __init__(self, owner: Owner, number: int) -> None:
        self._owner = owner
        self._received = b""
        self._sent_at = 0.0
        self.number = number
        self.waiting = False
        self.closing = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast(asyncio.Transport, transport)

    def send(self) -> None:
        """Send a message; the owner hears of the answer."""
        self.waiting = True
        self._received = b""
        self._sent_at = time.perf_counter()
        self.transport.write(self.message())

    def close(self) -> None:
        """Close in order; the owner hears of the end."""
        self.closing = True
        self.transport.close()

    def message(self) -> bytes:
        """What to send."""
        raise NotImplementedError

    def verdict(self, received: bytes) -> bool | str:
        """Whether the answer is complete, or what is wrong with it."""
        raise NotImplementedError

    def data_received(self, data: bytes) -> None:
        """Check."""
        if not self.waiting:
            self._fail("bytes came that nobody asked for")
            return
        self._received += data
        verdict = self.verdict(self._received)
        if isinstance(verdict, str):
            self._fail(verdict)
        elif verdict:
            self.waiting = False
            self._received = b""
            self._owner.answered(self, time.perf_counter() - self._sent_at)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the owner."""
        if self.closing:
            self._owner.ended(self)
        else:
            self.closing = True
            self._owner.failed(self, f"lost: {exc}" if exc else "the server closed the connection")

    def _fail(self, reason: str) -> None:
        if not self.closing:
            self.closing = True
            self.transport.abort()
            self._owner.failed(self, reason)


class EchoConnection(Connection):
    """To a server that sends back what it gets."""

    __slots__ = ()

    def message(self) -> bytes:
        """64 bytes that no other connection sends."""
        return b"%032d" % self.number * 2

    def verdict(self, received: bytes) -> bool | str:
        """Compare with what was sent."""
        message = self.message()
        if not message.startswith(received):
            return "an answer is not what was sent"
        return len(received) == len(message)


class HttpConnection(Connection):
    """To an HTTP server whose page / is “Hello, world”, or anything else of a given Content-Length."""

    __slots__ = ()

    def message(self) -> bytes:
        """A request."""
        return _REQUEST

    def verdict(self, received: bytes) -> bool | str:
        """Check the status and the length, and the body if it should be ours."""
        head, found, body = received.partition(b"\r\n\r\n")
        if not found:
            return False
        length = _LENGTH.search(head + b"\r\n")
        if not head.startswith(_STATUS) or length is None:
            return f"not an answer of status 200 with a Content-Length: {head[:60].decode(errors='replace')}"
        if len(body) > int(length[1]) or (int(length[1]) == len(_BODY) and not _BODY.startswith(body)):
            return "the answer has another body"
        return len(body) == int(length[1])


class SlowReader(Connection):
    """Sends much and reads nothing of its echo until it is told to."""

    __slots__ = ("_position",)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send it all."""
        super().connection_made(transport)
        self._position = 0
        self.waiting = True
        self._sent_at = time.perf_counter()
        self.transport.pause_reading()
        self.transport.write(SLOW_PAYLOAD)

    def read(self) -> None:
        """Begin to read."""
        self.transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        """Compare with what was sent."""
        end = self._position + len(data)
        if SLOW_PAYLOAD[self._position : end] != data:
            self._fail("an answer is not what was sent")
            return
        self._position = end
        if end == len(SLOW_PAYLOAD):
            self.waiting = False
            self._owner.answered(self, time.perf_counter() - self._sent_at)
