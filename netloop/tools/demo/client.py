"""The demo's client: protocols that go through a script, one exchange after the other, and check every response."""

from __future__ import annotations

import asyncio
import functools
import os
import time
from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final, cast

from netloop.tools.demo.http import Exchange, ProtocolError, ResponseReader, check
from netloop.tools.demo.script import closing_exchange, http_script, is_websocket, websocket_script
from netloop.tools.demo.websocket import CLOSE, Frame, FrameReader, check_handshake, client_frame, handshake

__all__ = ["EXCHANGES_PER_CONNECTION", "Connection", "HttpConnection", "Traffic", "WebsocketConnection", "keep_busy"]

EXCHANGES_PER_CONNECTION: Final = 200
"""After so many exchanges a connection is closed in an orderly way and opened anew."""

_MOST_ERRORS: Final = 50
_LONGEST_WAIT: Final = 10.0
_NORMAL_CLOSURE: Final = (1000).to_bytes(2, "big")


@functools.cache
def _http(number: int) -> Sequence[Exchange]:
    return http_script(number)


@functools.cache
def _frames(number: int) -> Sequence[tuple[Frame, bytes]]:
    # Masked once: the client is there to load the server, not itself.
    mask = number.to_bytes(2, "big") + b"\xa5\x3c"
    return [(frame, client_frame(frame, mask)) for frame in websocket_script(number)]


class Traffic:
    """What all connections share: whether to go on, and what came of it.

    Args:
        limit: the number of exchanges after which to stop; None goes on until :meth:`stop`.
    """

    def __init__(self, limit: int | None = None) -> None:
        self.recording = limit is not None
        self.kinds: Counter[str] = Counter()
        self.latencies: array[float] = array("d")
        self.errors: list[str] = []
        self.error_count = 0
        self.open: set[Connection] = set()
        self._limit = limit
        self._stopped = False

    @property
    def wanted(self) -> bool:
        """Whether another exchange should begin."""
        return not self._stopped and self._limit != 0 and self.error_count < _MOST_ERRORS

    def begin(self) -> bool:
        """Count one exchange against the limit; False when no more should begin."""
        if not self.wanted:
            return False
        if self._limit is not None:
            self._limit -= 1
        return True

    def done(self, kind: str, seconds: float) -> None:
        """An exchange came out right."""
        if self.recording:
            self.kinds[kind] += 1
            self.latencies.append(seconds)

    def fail(self, message: str) -> None:
        """Something came out wrong; the first few messages are kept, all are counted."""
        self.error_count += 1
        if len(self.errors) < _MOST_ERRORS:
            self.errors.append(message)

    def stop(self) -> None:
        """Begin no more exchanges; those under way are finished."""
        self._stopped = True

    def fail_stalled(self) -> None:
        """Give up the connections that have waited too long for the server."""
        now = time.perf_counter()
        for connection in list(self.open):
            if now - connection.waiting_since > _LONGEST_WAIT:
                connection.fail(f"nothing came for {_LONGEST_WAIT:g} s")


class Connection(asyncio.Protocol):
    """One connection: sends, waits for the answer, checks it, and so on.

    Args:
        number: the connection's number, which fixes its script.
        traffic: what it shares with the others.
        exchanges: how many before it closes.
        ended: called once when the connection is closed.
    """

    def __init__(self, number: int, traffic: Traffic, exchanges: int, ended: Callable[[], None]) -> None:
        self.waiting_since = time.perf_counter()
        self._number = number
        self._traffic = traffic
        self._left = exchanges
        self._ended = ended
        self._waiting_for = "the connection"
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not an isinstance check: uvloop's transports only behave like asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        self._traffic.open.add(self)
        self.begin()

    def data_received(self, data: bytes) -> None:
        try:
            self.receive(data)
        except ProtocolError as error:
            self.fail(str(error))

    def connection_lost(self, error: Exception | None) -> None:
        self._traffic.open.discard(self)
        if self._waiting_for:
            self._traffic.fail(f"connection {self._number} was closed while waiting for {self._waiting_for}: {error}")
        self._ended()

    def begin(self) -> None:
        """The connection is open."""
        raise NotImplementedError

    def receive(self, data: bytes) -> None:
        """Data came."""
        raise NotImplementedError

    def send(self, data: bytes, waiting_for: str) -> None:
        """Send, and expect an answer."""
        assert self._transport is not None
        self._waiting_for = waiting_for
        self.waiting_since = time.perf_counter()
        self._transport.write(data)

    def answered(self, kind: str) -> None:
        """The answer was right."""
        self._traffic.done(kind, time.perf_counter() - self.waiting_since)

    def expect_end(self) -> None:
        """From now on the server may, and must, close the connection."""
        self._waiting_for = ""
        self.waiting_since = time.perf_counter()

    def close(self) -> None:
        """Close from this side."""
        assert self._transport is not None
        self.expect_end()
        self._transport.close()

    def fail(self, message: str) -> None:
        """Something came out wrong: report it and give the connection up."""
        assert self._transport is not None
        self._traffic.fail(f"connection {self._number}: {message}")
        self._waiting_for = ""
        self._transport.abort()


class HttpConnection(Connection):
    """A keep-alive connection; its last exchange asks the server to close it."""

    def __init__(self, number: int, traffic: Traffic, exchanges: int, ended: Callable[[], None]) -> None:
        super().__init__(number, traffic, exchanges, ended)
        self._script: Sequence[Exchange] = _http(number)
        self._reader = ResponseReader()
        self._exchange: Exchange | None = None

    def begin(self) -> None:
        if not self._traffic.begin():
            self.close()
            return
        if self._left:
            self._exchange = self._script[self._left % len(self._script)]
        else:
            self._exchange = closing_exchange(self._number)
        self.send(self._exchange.request, self._exchange.kind)

    def receive(self, data: bytes) -> None:
        self._reader.feed(data)
        response = self._reader.next()
        if response is None and self._exchange is not None:
            return
        if self._exchange is None or response is None:
            self.fail("data that nobody asked for")
            return
        exchange, self._exchange = self._exchange, None
        problem = check(exchange, response)
        if problem or self._reader.rest():
            self.fail(problem or "more data than the response has")
            return
        self.answered(exchange.kind)
        if self._left:
            self._left -= 1
            self.begin()
        else:
            self.expect_end()


class WebsocketConnection(Connection):
    """A websocket; it ends with the closing handshake."""

    def __init__(self, number: int, traffic: Traffic, exchanges: int, ended: Callable[[], None]) -> None:
        super().__init__(number, traffic, exchanges, ended)
        self._script: Sequence[tuple[Frame, bytes]] = _frames(number)
        self._key = os.urandom(16)
        self._handshake: ResponseReader | None = ResponseReader()
        self._frames = FrameReader()
        self._expected: Frame | None = None

    def begin(self) -> None:
        self.send(handshake("/websocket", self._key), "the websocket handshake")

    def receive(self, data: bytes) -> None:
        if self._handshake is not None:
            self._handshake.feed(data)
            response = self._handshake.next()
            if response is None:
                return
            problem = check_handshake(self._key, response)
            data, self._handshake = self._handshake.rest(), None
            if problem or data:
                self.fail(problem or "websocket: a frame that nobody asked for")
                return
            self._next()
            return
        self._frames.feed(data)
        frame = self._frames.next()
        if frame is None:
            return
        if frame != self._expected:
            came = f"opcode {frame.opcode} with {len(frame.payload)} bytes"
            self.fail(f"websocket: not the message that was sent, but {came}")
        elif frame.opcode == CLOSE:
            self.expect_end()
        else:
            self.answered("websocket")
            self._left -= 1
            self._next()

    def _next(self) -> None:
        if self._left and self._traffic.begin():
            self._expected, data = self._script[self._left % len(self._script)]
            self.send(data, "a websocket message")
        else:
            self._expected = Frame(CLOSE, _NORMAL_CLOSURE)
            self.send(client_frame(self._expected, os.urandom(4)), "the websocket's closing handshake")


async def keep_busy(number: int, traffic: Traffic, port: int) -> None:
    """Keep one connection going through its script, opening it anew when it has ended, until the traffic stops."""
    kind = WebsocketConnection if is_websocket(number) else HttpConnection
    while traffic.wanted:
        await connect_once(kind, number, traffic, port, EXCHANGES_PER_CONNECTION)


async def connect_once(
    kind: type[HttpConnection | WebsocketConnection], number: int, traffic: Traffic, port: int, exchanges: int
) -> None:
    """Open one connection and wait until it has ended; a refusal counts as an error."""
    loop = asyncio.get_running_loop()
    ended = loop.create_future()
    try:
        await loop.create_connection(
            lambda: kind(number, traffic, exchanges, lambda: ended.set_result(None)), "127.0.0.1", port
        )
    except OSError as error:
        traffic.fail(f"connection {number} could not be opened: {error}")
        await asyncio.sleep(0.05)
        return
    await ended
