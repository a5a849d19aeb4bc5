"""Rows of the benchmark: which server program, how many connections, how large messages."""

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase

from harness.errors import BenchError

#: Server programs by the name rows use; each is a file in ``servers/``.
PROGRAMS = {
    "protocol": "echo_protocol.py",
    "buffered": "echo_buffered.py",
    "streams": "echo_streams.py",
    "sockets": "echo_sockets.py",
    "aiohttp": "aiohttp_hello.py",
}

KIB = 1024


@dataclass(frozen=True)
class Row:
    """One row: ``size`` is the message size in bytes (0 for HTTP), ``depth`` the messages under way per connection."""

    program: str
    connections: int
    size: int
    depth: int = 1

    @property
    def http(self) -> bool:
        """Whether the load is HTTP requests instead of echo messages."""
        return self.program == "aiohttp"

    @property
    def name(self) -> str:
        """The row as written on the command line."""
        if self.http:
            return f"{self.program}:{self.connections}"
        size = f"{self.size // KIB}k" if self.size % KIB == 0 else str(self.size)
        depth = f"@{self.depth}" if self.depth > 1 else ""
        return f"{self.program}:{self.connections}x{size}{depth}"

    @property
    def label(self) -> str:
        """The row as people read it."""
        if self.http:
            return f"aiohttp hello, {self.connections}"
        size = f"{self.size // KIB} KiB" if self.size % KIB == 0 else f"{self.size} B"
        depth = f", {self.depth} deep" if self.depth > 1 else ""
        program = "" if self.program == "protocol" else f"{self.program} "
        return f"{program}{self.connections} x {size}{depth}"


FULL = (
    *(Row("protocol", count, size) for count in (1, 10, 100, 1000) for size in (64, KIB, 16 * KIB, 128 * KIB)),
    Row("aiohttp", 100, 0),
)

QUICK = (
    Row("protocol", 1, 64),
    Row("protocol", 10, 64),
    Row("protocol", 100, 64),
    Row("protocol", 1000, 64),
    Row("protocol", 100, KIB),
    Row("protocol", 100, 16 * KIB),
    Row("protocol", 10, 128 * KIB),
    Row("aiohttp", 100, 0),
)

_ECHO = re.compile(r"(protocol|buffered|streams|sockets):(\d+)x(\d+)(k?)(?:@(\d+))?")
_HTTP = re.compile(r"(aiohttp):(\d+)")


def parse(text: str) -> Row:
    """Read a row such as ``protocol:100x1k``, ``streams:10x64@4`` or ``aiohttp:100``.

    Raises:
        BenchError: the text is not a row, or its numbers are out of range.
    """
    if match := _HTTP.fullmatch(text):
        row = Row(match[1], int(match[2]), 0)
    elif match := _ECHO.fullmatch(text):
        size = int(match[3]) * (KIB if match[4] else 1)
        row = Row(match[1], int(match[2]), size, int(match[5] or 1))
    else:
        raise BenchError(f"“{text}” is not a row; write for example protocol:100x1k, streams:10x64@4, aiohttp:100")
    if not 1 <= row.connections <= 10_000 or not 1 <= row.depth <= 64 or not (row.http or 1 <= row.size <= 16 * KIB**2):
        raise BenchError(f"row “{text}”: 1 to 10000 connections, 1 byte to 16 MiB, 1 to 64 messages deep")
    return row


def select(texts: list[str] | None, default: tuple[Row, ...]) -> list[Row]:
    """Return the rows asked for: exact rows, or patterns such as ``protocol:*x64`` over the full list.

    Raises:
        BenchError: a text is neither a row nor a pattern that fits one.
    """
    if not texts:
        return list(default)
    chosen: list[Row] = []
    for text in texts:
        fitting = [row for row in FULL if fnmatchcase(row.name, text)]
        if not fitting and any(character in text for character in "*?["):
            raise BenchError(f"no row fits “{text}”; the rows are {', '.join(row.name for row in FULL)}")
        chosen += fitting or [parse(text)]
    return list(dict.fromkeys(chosen))
