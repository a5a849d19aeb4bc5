"""What each of the demo's connections asks for: fixed by its number, so that every loop gets the same traffic."""

from __future__ import annotations

import json
from random import Random
from typing import Final

from netloop.tools.demo.http import Exchange, request
from netloop.tools.demo.websocket import BINARY, TEXT, Frame

__all__ = ["PAGE", "closing_exchange", "http_script", "is_websocket", "page", "websocket_script"]

PAGE: Final = "page.txt"
"""The name of the static file."""

_KINDS: Final = ("json", "json", "echo", "json", "json", "echo", "json", "file") * 3
_BODY_SIZES: Final = (64, 512, 2048, 16_384)
_LARGE_BODY: Final = 100_000
_MESSAGE_SIZES: Final = (5, 120, 125, 126, 1000, 4000)
_LARGE_MESSAGE: Final = 70_000
_PAGE_LINES: Final = 500


def page() -> bytes:
    """The content of the static file, about 32 KiB."""
    random = Random("page")
    return b"".join(b"%06d %s\n" % (line, random.randbytes(28).hex().encode()) for line in range(_PAGE_LINES))


def is_websocket(number: int) -> bool:
    """Whether the connection with this number is a websocket: every fifth is."""
    return number % 5 == 4


def http_script(number: int) -> list[Exchange]:
    """The exchanges that an HTTP connection goes through again and again; no two connections share a body."""
    random = Random(f"http {number}")
    large = random.choice([index for index, kind in enumerate(_KINDS) if kind == "echo"])
    script = []
    for index, kind in enumerate(_KINDS):
        if kind == "json":
            script.append(_json(f"connection-{number}-{index}"))
        elif kind == "echo":
            size = _LARGE_BODY if index == large else random.choice(_BODY_SIZES)
            script.append(_echo(random.randbytes(size)))
        else:
            script.append(Exchange("file", request("GET", f"/files/{PAGE}"), 200, "text/plain", page()))
    return script


def closing_exchange(number: int) -> Exchange:
    """An exchange after which the server must close the connection."""
    return _json(f"last-of-{number}", headers=("Connection: close",))


def websocket_script(number: int) -> list[Frame]:
    """The messages that a websocket sends again and again; each must come back as it was."""
    random = Random(f"websocket {number}")
    frames = []
    for size in (*_MESSAGE_SIZES, *_MESSAGE_SIZES, _LARGE_MESSAGE):
        frames.append(Frame(BINARY, random.randbytes(size)))
        frames.append(Frame(TEXT, random.randbytes(size // 2 + 1).hex().encode("ascii")))
    random.shuffle(frames)
    return frames


def _json(name: str, headers: tuple[str, ...] = ()) -> Exchange:
    body = json.dumps({"hello": name}).encode()
    return Exchange("json", request("GET", f"/hello/{name}", headers=headers), 200, "application/json", body)


def _echo(body: bytes) -> Exchange:
    return Exchange("echo", request("POST", "/echo", body=body), 200, "application/octet-stream", body)
