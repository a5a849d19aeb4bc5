"""What netloop is to reach, row by row, and how far it is from there."""

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from harness.figures import FIGURES
from harness.rows import Row
from harness.summary import Spread, Summary

SUBJECT = "netloop"
BASELINE = "uvloop"
#: netloop in the rows by leases, but without them.
COPIES = "netloop-copies"
#: No row is to be below this share of the best peer's work per CPU second.
BEST_PEER_SHARE = 0.95
#: Reached by settings of the C library or by no Python at all, so no peers of a loop.
NO_PEERS = (
    SUBJECT,
    *("netloop-spin", "netloop-stalls", "netloop-metrics", "netloop-again", "netloop-io1", "netloop-io2", COPIES),
    *("c-uring", "c-epoll", "c-packets"),
)


@dataclass(frozen=True)
class Target:
    """A bound for a figure in the rows that fit a pattern: of its ratio to another's, or of the figure itself.

    ``against`` is the contender whose figure the ratio refers to; None means the figure itself.
    """

    rows: str
    figure: str
    bound: float
    at_most: bool = True
    against: str | None = BASELINE

    def covers(self, row: Row) -> bool:
        """Whether one of the patterns fits the row's name."""
        return any(fnmatchcase(row.name, pattern) for pattern in self.rows.split())


def _efficiency(rows: str, bound: float, against: str = BASELINE) -> Target:
    return Target(rows, "per_cpu_second", bound, at_most=False, against=against)


TARGETS = (
    Target("protocol:10x64 protocol:100*x64 protocol:10x1k protocol:100x1k protocol:1000x1k", "cpu_us", 0.69),
    Target("protocol:1x64", "cpu_us", 0.90),
    Target("protocol:10x16k protocol:1000x16k protocol:10000x16k", "cpu_us", 0.80),
    Target("protocol:100x16k", "cpu_us", 0.90),
    Target("protocol:10*x128k", "cpu_us", 0.90),
    Target("buffered:10* streams:10* sock:10*", "cpu_us", 0.80),
    Target("protocol:1x64", "p50_us", 0.95),
    Target("protocol:1x1* buffered:1x* streams:1x* sock:1x*", "p50_us", 1.0),
    _efficiency("churn:* broadcast:*", 1.5),
    _efficiency("aiohttp:* json:* wrk:* fastapi:*", 1.15),
    _efficiency("static:*x1m static:*x100m", 2.0),
    _efficiency("websocket:* wsbroadcast:* tls:*", 1.2),
    _efficiency("udp:*", 1.5),
    _efficiency("packet_send:1x1200", 10.0),
    _efficiency("packet_receive:1x1200", 5.0),
    _efficiency("packet_receive:100x64", 1.8),
    _efficiency("packet_send:1x1200 packet_receive:1x1200", 0.6, "c-packets"),
    _efficiency("call_soon call_soon_threadsafe call_later", 1.3),
    Target("http3:*", "cpu_us", 0.75),
    # What the same loop does by data_received, and what can be done at all.
    Target("upload_leases:*", "cpu_us", 0.80, against=COPIES),
    Target("relay_leases:*", "cpu_us", 0.75, against=COPIES),
    Target("leases:*", "cpu_us", 1.0, against=COPIES),
    Target("relay_leases:*", "cpu_us", 1.1, against="c-uring"),
    Target("ingest:*", "per_cpu_second", 1.15, at_most=False, against=COPIES),
    # On uvloop both are by BufferedProtocol.
    Target("upload_buffered:* upload_leases:*", "cpu_us", 0.95),
    Target("idle:*", "connection_kib", 0.5),
    # For one connection the call that waits for a message, and hardly more; for ten, one for all of them in turn.
    Target("protocol:1x64", "calls", 1.05, against=None),
    Target("protocol:10x64", "calls", 0.11, against=None),
    Target("protocol:100*x64 protocol:100*x1k", "calls", 0.05, against=None),
    # However many come at once, nobody is to wait longer.
    Target("herd*:2000", "last_ms", 1.0),
    Target("herd*:2000 saturate:*", "p99_us", 1.0),
)


@dataclass(frozen=True)
class Verdict:
    """A row's figure against a bound. ``against`` is whom the ratio refers to, or None for the figure itself."""

    row: str
    figure: str
    against: str | None
    bound: float
    at_most: bool
    measured: Spread

    @property
    def met(self) -> bool:
        """Whether the median is on the right side of the bound."""
        return self.measured.median <= self.bound if self.at_most else self.measured.median >= self.bound

    @property
    def missed_by(self) -> float:
        """By which share of the bound the median is on the wrong side; 0 when the target is met."""
        if self.met:
            return 0.0
        return abs(self.measured.median / self.bound - 1.0)

    @property
    def open(self) -> bool:
        """Whether the bound lies between the quartiles, so that another run may decide otherwise."""
        return self.measured.low <= self.bound <= self.measured.high


def _measured(target: Target, row: Row, summary: Summary, calls: dict[tuple[str, str], float]) -> Spread | None:
    if target.against is not None:
        return summary.ratio(row.name, SUBJECT, target.against, target.figure)
    value = calls.get((row.name, SUBJECT))
    return None if value is None else Spread(value, value, value, 1)


def judge(rows: Iterable[Row], summary: Summary, calls: dict[tuple[str, str], float]) -> list[Verdict]:
    """Compare each row with the targets that cover it; ``calls`` are system calls per message by row and contender."""
    verdicts = []
    for row in rows:
        for target in TARGETS:
            if target.covers(row) and (found := _measured(target, row, summary, calls)) is not None:
                verdicts.append(Verdict(row.name, target.figure, target.against, target.bound, target.at_most, found))
    return verdicts


def best_peer(row: Row, summary: Summary) -> Verdict | None:
    """Compare netloop with the loop that does most for a CPU second in a row; with what the row is compared by, if that
    is something else, such as the memory of idle connections.
    """
    figure = "per_cpu_second" if row.program.figure == "cpu_us" else row.program.figure
    at_most = not FIGURES[figure].more_is_better
    peers = {}
    for name in summary.contenders(row.name):
        if name not in NO_PEERS and (found := summary.figure(row.name, name, figure)) is not None:
            peers[name] = found.median
    if not peers:
        return None
    best = (min if at_most else max)(peers, key=lambda name: peers[name])
    measured = summary.ratio(row.name, SUBJECT, best, figure)
    if measured is None:
        return None
    return Verdict(row.name, figure, best, 1 / BEST_PEER_SHARE if at_most else BEST_PEER_SHARE, at_most, measured)
