"""Rows of the benchmark: which kind, how many connections, how large messages."""

import re
import resource
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from harness.errors import BenchError
from harness.programs import BARE, PROGRAMS, SIZED, Program

KIB = 1024
MIB = 1024 * KIB
SIZES = (64, KIB, 16 * KIB, 128 * KIB)

#: Beside one descriptor per connection a server has some of its own, and so has the load generator.
_OTHER_DESCRIPTORS = 200


@dataclass(frozen=True)
class Row:
    """One row: ``size`` is the message size in bytes (0 where the kind has none), ``depth`` the messages under way."""

    kind: str
    connections: int = 0
    size: int = 0
    depth: int = 1

    @property
    def program(self) -> Program:
        """What is known of its kind."""
        return PROGRAMS[self.kind]

    @property
    def name(self) -> str:
        """The row as written on the command line."""
        if self.program.shape == BARE:
            return self.kind
        size = f"x{_short(self.size, 'm', 'k', '')}" if self.program.shape == SIZED else ""
        depth = f"@{self.depth}" if self.depth > 1 else ""
        return f"{self.kind}:{self.connections}{size}{depth}"

    @property
    def size_label(self) -> str:
        """The message size as people read it."""
        return _short(self.size, " MiB", " KiB", " B")

    @property
    def label(self) -> str:
        """The row as people read it."""
        if self.program.shape == BARE:
            return self.program.title
        size = f" x {self.size_label}" if self.program.shape == SIZED else ""
        depth = f", {self.depth} deep" if self.depth > 1 else ""
        return f"{self.program.title}, {self.connections}{size}{depth}"


def _short(size: int, mib: str, kib: str, byte: str) -> str:
    if size and size % MIB == 0:
        return f"{size // MIB}{mib}"
    return f"{size // KIB}{kib}" if size and size % KIB == 0 else f"{size}{byte}"


_ROW = re.compile(r"(?P<kind>[a-z]\w*)(?::(?P<count>\d+)(?:x(?P<size>\d+)(?P<unit>[km]?))?(?:@(?P<depth>\d+))?)?")


def parse(text: str) -> Row:
    """Read a row such as ``protocol:100x1k``, ``streams:10x64@4``, ``aiohttp:100`` or ``call_soon``.

    Raises:
        BenchError: the text is not a row, or its numbers are out of range.
    """
    match = _ROW.fullmatch(text)
    if match is None or match["kind"] not in PROGRAMS:
        raise BenchError(f"“{text}” is not a row; write for example protocol:100x1k, streams:10x64@4, aiohttp:100")
    shape = PROGRAMS[match["kind"]].shape
    if (match["count"] is None) != (shape == BARE) or (match["size"] is not None) != (shape == SIZED):
        raise BenchError(f"row “{text}”: {match['kind']} takes {shape}")
    size = int(match["size"] or 0) * {"k": KIB, "m": MIB}.get(match["unit"] or "", 1)
    row = Row(match["kind"], int(match["count"] or 0), size, int(match["depth"] or 1))
    if shape != BARE and not (1 <= row.connections <= 19_000 and 1 <= row.depth <= 64):
        raise BenchError(f"row “{text}”: 1 to 19000 connections, 1 to 64 messages deep")
    if shape == SIZED and not 1 <= size <= 128 * MIB:
        raise BenchError(f"row “{text}”: 1 byte to 128 MiB")
    return row


def _rows(text: str) -> tuple[Row, ...]:
    return tuple(parse(word) for word in text.split())


def _echo(kinds: Iterable[str]) -> tuple[Row, ...]:
    counts = (1, 10, 100, 1000, 10_000)
    return tuple(Row(kind, count, size) for kind in kinds for count in counts for size in SIZES)


QUICK = _rows(
    "protocol:1x64 protocol:10x64 protocol:100x64 protocol:1000x64 protocol:100x1k protocol:100x16k protocol:10x128k "
    "streams:100x64 churn:50x64 aiohttp:100 call_soon idle:1000"
)

FULL = (
    *_echo(("protocol", "buffered", "streams", "sock")),
    *_rows("upload:10x256k@4 download:10x256k@4 churn:50x64 broadcast:1000x64 broadcast:1000x1k udp:100x64 udp:100x1k"),
    *_rows("packet_send:1x1200 packet_receive:1x1200 packet_receive:100x64 http3:1x100m"),
    *_rows("upload_buffered:10x16k@4 upload_buffered:10x256k@4 upload_leases:10x16k@4 upload_leases:10x256k@4"),
    *_rows("work:100x64"),
    *_rows("ingest:1x1m@32 leases:100x1k relay_leases:10x128k relay_leases:100x16k"),
    *_rows("herd:2000 herd_deep:2000 herd_long:2000 herd_deep_long:2000 herd_busy:2000 saturate:256 saturate:1000"),
    *_rows("aiohttp:1 aiohttp:100 wrk:100 json:100 static:100x10k static:10x1m static:4x100m tls:100 fastapi:100"),
    *_rows("websocket:100x64 websocket:100x16k wsbroadcast:1000x64"),
    *_rows("call_soon call_soon_threadsafe call_later task_switch subprocess"),
    *_rows("idle:100 idle:1000 idle:10000"),
)

#: The rows of the full profile that every peer is measured in; in the others netloop, uvloop and asyncio are compared.
PEERS = _rows(
    "protocol:1x64 protocol:10x64 protocol:100x64 protocol:1000x64 protocol:100x1k protocol:100x16k protocol:10x128k "
    "protocol:100x128k buffered:100x1k streams:100x64 sock:100x64 churn:50x64 broadcast:1000x64 udp:100x64 aiohttp:100 "
    "static:10x1m tls:100 websocket:100x64 fastapi:100 call_soon call_later task_switch idle:1000"
)

#: The rows that the project's README shows: messages small and large, by protocol and by streams, connections that come
#: and go, what frameworks make of it, and the memory of a connection that does nothing.
OVERVIEW = _rows(
    "protocol:100x64 protocol:100x128k streams:100x64 churn:50x64 aiohttp:100 fastapi:100 websocket:100x64 idle:1000"
)


def too_many(row: Row) -> str | None:
    """Return why this machine's limit of open files does not allow the row, or None.

    A loop with a descriptor per connection needs one for each, and so does the load generator.
    """
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if limit != resource.RLIM_INFINITY and row.connections + _OTHER_DESCRIPTORS > limit:
        return f"{row.connections} connections do not fit under the limit of {limit} open files (ulimit -Hn)"
    return None


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
