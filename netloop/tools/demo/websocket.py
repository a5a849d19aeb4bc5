"""Just enough of the websocket protocol (RFC 6455) for the demo's client: its handshake and its frames."""

from __future__ import annotations

import base64
import hashlib
from typing import Final, NamedTuple

from netloop.tools.demo.http import ProtocolError, Response, request

__all__ = ["BINARY", "CLOSE", "TEXT", "Frame", "FrameReader", "check_handshake", "client_frame", "handshake"]

TEXT: Final = 1
BINARY: Final = 2
CLOSE: Final = 8

# The constant that RFC 6455, section 1.3, has both sides append to the key.
_ACCEPT_SUFFIX: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_FINAL: Final = 0x80
_MASKED: Final = 0x80


class Frame(NamedTuple):
    """One unfragmented message."""

    opcode: int
    payload: bytes


def handshake(path: str, key: bytes) -> bytes:
    """The request that asks for a websocket; ``key`` is 16 bytes."""
    encoded = base64.b64encode(key).decode("ascii")
    upgrade = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13")
    return request("GET", path, headers=(*upgrade, f"Sec-WebSocket-Key: {encoded}"))


def check_handshake(key: bytes, response: Response) -> str | None:
    """What is wrong with the answer to the handshake, or None."""
    digest = hashlib.sha1(base64.b64encode(key) + _ACCEPT_SUFFIX, usedforsecurity=False).digest()
    accept = base64.b64encode(digest).decode("ascii")
    if response.status != 101:
        return f"websocket: status {response.status} instead of 101"
    if response.headers.get("upgrade", "").lower() != "websocket":
        return "websocket: no Upgrade: websocket in the answer"
    if response.headers.get("sec-websocket-accept") != accept:
        return "websocket: the answer's key does not belong to the request"
    return None


def client_frame(frame: Frame, mask: bytes) -> bytes:
    """The bytes of a frame as a client sends it, masked with the four bytes of ``mask``."""
    length = len(frame.payload)
    if length < 126:
        size = bytes((_MASKED | length,))
    elif length < 1 << 16:
        size = bytes((_MASKED | 126,)) + length.to_bytes(2, "big")
    else:
        size = bytes((_MASKED | 127,)) + length.to_bytes(8, "big")
    stretched = (mask * (length // 4 + 1))[:length]
    masked = int.from_bytes(frame.payload, "big") ^ int.from_bytes(stretched, "big")
    return bytes((_FINAL | frame.opcode,)) + size + mask + masked.to_bytes(length, "big")


class FrameReader:
    """Takes a server's stream of bytes apart into frames."""

    def __init__(self) -> None:
        self._pending = bytearray()

    def feed(self, data: bytes) -> None:
        """Take what was received."""
        self._pending += data

    def next(self) -> Frame | None:
        """The next complete frame, or None when more is needed.

        Raises:
            ProtocolError: the frame is masked or fragmented, which the demo's server has no reason to do.
        """
        if len(self._pending) < 2:
            return None
        first, second = self._pending[0], self._pending[1]
        if not first & _FINAL or second & _MASKED:
            raise ProtocolError(f"a masked or fragmented frame from the server: {bytes(self._pending[:2]).hex()}")
        start = {126: 4, 127: 10}.get(second, 2)
        if len(self._pending) < start:
            return None
        length = second if start == 2 else int.from_bytes(self._pending[2:start], "big")
        if len(self._pending) < start + length:
            return None
        payload = bytes(self._pending[start : start + length])
        del self._pending[: start + length]
        return Frame(first & 0x0F, payload)
