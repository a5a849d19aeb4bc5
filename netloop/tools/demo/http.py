"""Just enough HTTP/1.1 for the demo's client: requests as bytes, responses out of a stream, and their checks."""

from __future__ import annotations

from typing import Final, NamedTuple

__all__ = ["Exchange", "ProtocolError", "Response", "ResponseReader", "check", "request"]

_LONGEST_HEAD: Final = 16_384


class ProtocolError(Exception):
    """The server sent what is not the protocol that was agreed on."""


class Response(NamedTuple):
    """One response. The names of ``headers`` are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class Exchange(NamedTuple):
    """A request and the response it must get."""

    kind: str
    request: bytes
    status: int
    content_type: str
    body: bytes


def request(method: str, path: str, *, body: bytes | None = None, headers: tuple[str, ...] = ()) -> bytes:
    """The bytes of a request; with a body, its length and type are added to the headers."""
    lines = [f"{method} {path} HTTP/1.1", "Host: demo", *headers]
    if body is not None:
        lines += ["Content-Type: application/octet-stream", f"Content-Length: {len(body)}"]
    return "\r\n".join((*lines, "", "")).encode("ascii") + (body or b"")


def check(exchange: Exchange, response: Response) -> str | None:
    """What is wrong with the response, or None when it is as it must be."""
    what = f"{exchange.kind}: "
    if response.status != exchange.status:
        return f"{what}status {response.status} instead of {exchange.status}"
    content_type = response.headers.get("content-type", "").partition(";")[0]
    if content_type != exchange.content_type:
        return f"{what}Content-Type {content_type!r} instead of {exchange.content_type!r}"
    if "date" not in response.headers or "server" not in response.headers:
        return f"{what}the Date or Server header is missing"
    if response.body != exchange.body:
        return what + _difference(exchange.body, response.body)
    return None


class ResponseReader:
    """Takes a stream of bytes apart into responses."""

    def __init__(self) -> None:
        self._pending = bytearray()
        self._head: tuple[int, dict[str, str]] | None = None
        self._length = 0

    def feed(self, data: bytes) -> None:
        """Take what was received."""
        self._pending += data

    def next(self) -> Response | None:
        """The next complete response, or None when more is needed.

        Raises:
            ProtocolError: this is not a response with a Content-Length.
        """
        if self._head is None and not self._read_head():
            return None
        if self._head is None or len(self._pending) < self._length:
            return None
        status, headers = self._head
        body = bytes(self._pending[: self._length])
        del self._pending[: self._length]
        self._head = None
        return Response(status, headers, body)

    def rest(self) -> bytes:
        """What was received beyond the last response taken, which is another protocol's after an upgrade."""
        rest, self._pending = bytes(self._pending), bytearray()
        return rest

    def _read_head(self) -> bool:
        end = self._pending.find(b"\r\n\r\n")
        if end < 0:
            if len(self._pending) > _LONGEST_HEAD:
                raise ProtocolError(f"no end of the headers within {_LONGEST_HEAD} bytes")
            return False
        first, *lines = self._pending[:end].decode("latin-1").split("\r\n")
        del self._pending[: end + 4]
        version, _, rest = first.partition(" ")
        if version != "HTTP/1.1" or not rest[:3].isdigit():
            raise ProtocolError(f"not the first line of a response: {first[:80]!r}")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        status = int(rest[:3])
        length = headers.get("content-length", "0" if status == 101 else "")
        if not length.isdigit():
            raise ProtocolError(f"a response without a usable Content-Length: {headers}")
        self._head, self._length = (status, headers), int(length)
        return True


def _difference(expected: bytes, received: bytes) -> str:
    if len(expected) != len(received):
        return f"a body of {len(received)} bytes instead of {len(expected)}"
    pairs = enumerate(zip(expected, received, strict=True))
    return f"the body differs from byte {next(index for index, (one, other) in pairs if one != other)} on"
