"""What a stress test does, step by step, and what comes of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from netloop.tools.stress.fleet import Fleet
from netloop.tools.stress.histogram import Histogram
from netloop.tools.stress.machine import Snapshot

__all__ = ["QUANTILES", "RUN", "Line", "Outcome"]

QUANTILES: Final = (0.5, 0.9, 0.99, 0.999)
_KIB: Final = 1024
_MIB: Final = 1024 * 1024
#: What a server may hold in user space for a peer that does not read: the high-water mark of asyncio's transports and
#: two pieces of the largest size, and a quarter of that lost between blocks, of the half mebibyte that the peer sends.
_SLOW_BOUND: Final = (64 + 2 * 128) * _KIB * 5 // 4
#: What a server may need beside that, whatever their number: receive buffers, and what the allocator keeps.
_SLOW_SLACK: Final = 32 * _MIB
#: By how much memory may differ after churn; allocators keep some for themselves.
_CHURN_SLACK: Final = 4 * _MIB
_IDLE_SECONDS: Final = 3.0
_WARM_SECONDS: Final = 3.0
_FILL_SECONDS: Final = 30.0
_FILL_STEP_SECONDS: Final = 0.5


@dataclass(frozen=True)
class Line:
    """One line of the table; ``good`` is None where nothing is to be judged."""

    what: str
    value: str
    good: bool | None = None


@dataclass
class Outcome:
    """What a scenario found: lines to show, latencies by phase, failures by reason."""

    lines: list[Line] = field(default_factory=list)
    latencies: dict[str, Histogram] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)

    def add(self, what: str, value: str, good: bool | None = None) -> None:
        """Add a line."""
        self.lines.append(Line(what, value, good))

    @property
    def good(self) -> bool:
        """Whether nothing failed and nothing was judged bad."""
        return not self.failures and all(line.good is not False for line in self.lines)


def _connect(fleet: Fleet, outcome: Outcome, count: int) -> Snapshot:
    """Open the connections to hold; return how the machine was before."""
    before = fleet.snapshot()
    began = time.monotonic()
    answers = fleet.ask("connect", "connecting", fleet.shares(count, fleet.options.active), target=count)
    seconds = time.monotonic() - began
    held = sum(answer["open"] for answer in answers)
    outcome.add("connections held", f"{held:,} of {count:,}", held == count)
    outcome.add("connect rate", f"{held / seconds:,.0f}/s, in {seconds:.1f} s")
    return before


def _add_memory(fleet: Fleet, outcome: Outcome, before: Snapshot, count: int) -> None:
    after = fleet.snapshot()
    if fleet.servers:
        user = (after.server_memory - before.server_memory) / count
        outcome.add("memory per connection, servers' user space", f"{user / _KIB:.2f} KiB")
    both = "" if fleet.options.address else ", both ends"
    outcome.add(f"memory per connection, kernel objects{both}", f"{(after.slab - before.slab) / count / _KIB:.2f} KiB")
    outcome.add("memory in TCP buffers", f"{(after.socket_buffers - before.socket_buffers) / _MIB:,.1f} MiB")
    used = (before.available - after.available) / _MIB
    outcome.add("memory of everything, clients included", f"{used:,.0f} MiB")


def _add_cpu(fleet: Fleet, outcome: Outcome, phase: str, seconds: float) -> None:
    """Let things go on for a time, and see how much CPU time the servers take."""
    before = fleet.snapshot()
    fleet.watch(seconds, phase)
    after = fleet.snapshot()
    if fleet.servers:
        share = (after.server_cpu - before.server_cpu) / (after.clock - before.clock)
        outcome.add(f"CPU of the servers, {phase}", f"{share:.1%} of a core")


def _add_latencies(fleet: Fleet, outcome: Outcome, phase: str, seconds: float) -> Histogram:
    found = fleet.window()
    outcome.latencies[phase] = found
    points = found.quantiles(list(QUANTILES))
    text = ", ".join(f"p{share * 100:g} {point * 1e3:.2f}" for share, point in zip(QUANTILES, points, strict=False))
    outcome.add(f"round trip in ms, {phase}", text or "nothing was answered", bool(points))
    outcome.add(f"messages, {phase}", f"{found.count:,}, {found.count / seconds:,.0f}/s")
    return found


def _drive(fleet: Fleet, outcome: Outcome, phase: str, seconds: float) -> Histogram:
    """Begin to drive the active connections, let them warm up, and measure."""
    options = fleet.options
    fleet.ask("drive", "beginning to drive", fleet.shares(options.active, options.active), pause=options.pause)
    fleet.watch(min(1.0, seconds / 4), "warming up")
    fleet.window()
    return _measure(fleet, outcome, phase, seconds)


def _measure(fleet: Fleet, outcome: Outcome, phase: str, seconds: float) -> Histogram:
    _add_cpu(fleet, outcome, phase, seconds)
    return _add_latencies(fleet, outcome, phase, seconds)


def _leave(fleet: Fleet, outcome: Outcome, expected: list[dict[str, int]]) -> None:
    """Close everything that is left, and see that nothing stays in the servers."""
    fleet.ask("rest", "waiting for the last answers")
    began = time.monotonic()
    fleet.ask("close", "closing", [1 << 31] * len(fleet.clients))
    outcome.add("closing all that was left", f"{time.monotonic() - began:.2f} s")
    if fleet.servers:
        found = fleet.settle(expected)
        outcome.add("left in the servers afterwards", _difference(expected, found), found == expected)
    outcome.failures = fleet.failures


def _difference(expected: list[dict[str, int]], found: list[dict[str, int]]) -> str:
    texts = []
    for name in expected[0]:
        before, after = sum(one[name] for one in expected), sum(one[name] for one in found)
        if before != after:
            texts.append(f"{name} {before:,} → {after:,}")
    return ", ".join(texts) or "nothing"


def _hold(fleet: Fleet, outcome: Outcome) -> None:
    """Hold connections, idle first, then with some of them driven."""
    options = fleet.options
    rest = fleet.counters()
    before = _connect(fleet, outcome, options.connections)
    fleet.watch(min(1.0, options.seconds), "settling")
    _add_memory(fleet, outcome, before, options.connections)
    _add_cpu(fleet, outcome, "idle", min(_IDLE_SECONDS, options.seconds))
    if options.active:
        _drive(fleet, outcome, f"{options.active:,} active", options.seconds)
    _leave(fleet, outcome, rest)


def _close(fleet: Fleet, outcome: Outcome) -> None:
    """Close many connections at once, while others go on."""
    options = fleet.options
    rest = fleet.counters()
    _connect(fleet, outcome, options.connections)
    _drive(fleet, outcome, "before", options.seconds / 2)
    pending = fleet.begin("close", fleet.shares(options.burst))
    _measure(fleet, outcome, f"while {options.burst:,} close", options.seconds / 2)
    answers = fleet.finish(pending, "closing")
    closed = sum(answer["closed"] for answer in answers)
    slowest = max(answer["seconds"] for answer in answers)
    outcome.add("closed at once", f"{closed:,} in {slowest:.2f} s")
    _leave(fleet, outcome, rest)


def _slow(fleet: Fleet, outcome: Outcome) -> None:
    """Have many connections send and not read, while others go on; at last have them read."""
    options = fleet.options
    rest = fleet.counters()
    _connect(fleet, outcome, options.connections)
    _drive(fleet, outcome, "before", options.seconds / 2)
    before = fleet.snapshot()
    fleet.ask("slow", "opening slow readers", fleet.shares(options.burst), target=options.connections + options.burst)
    _fill(fleet, outcome)
    _measure(fleet, outcome, f"with {options.burst:,} slow readers", options.seconds / 2)
    after = fleet.snapshot()
    if fleet.servers:
        grown = after.server_memory - before.server_memory
        bounded = grown <= options.burst * _SLOW_BOUND + len(fleet.servers) * _SLOW_SLACK
        outcome.add("memory per slow reader, servers' user space", f"{grown / options.burst / _KIB:.1f} KiB", bounded)
    outcome.add("memory in TCP buffers", f"{(after.socket_buffers - before.socket_buffers) / _MIB:,.0f} MiB")
    answers = fleet.ask("read", "reading at last")
    complete = sum(answer["complete"] for answer in answers)
    slowest = max(answer["seconds"] for answer in answers)
    outcome.add("slow readers that got everything", f"{complete:,}, in {slowest:.2f} s", complete == options.burst)
    _leave(fleet, outcome, rest)


def _fill(fleet: Fleet, outcome: Outcome) -> None:
    """Wait until the slow readers' bytes have gone as far as they go, which takes a while with many of them."""
    began, last = time.monotonic(), -1
    while time.monotonic() - began < _FILL_SECONDS:
        fleet.watch(_FILL_STEP_SECONDS, "filling their buffers")
        state = fleet.snapshot()
        held = state.server_memory + state.socket_buffers
        if last >= 0 and abs(held - last) <= max(held // 200, _MIB):
            break
        last = held
    _add_latencies(fleet, outcome, "while their buffers fill", time.monotonic() - began)


def _churn(fleet: Fleet, outcome: Outcome) -> None:
    """Open and close connections for a time, beside those that are held, and compare the two ends of it."""
    options = fleet.options
    rest = fleet.counters()
    _connect(fleet, outcome, options.connections)
    warm = min(_WARM_SECONDS, options.seconds / 2)
    fleet.finish(fleet.begin("churn", seconds=warm, concurrency=options.concurrency), "warming up", warm + 60)
    fleet.window()
    at_rest, before = fleet.resting(), fleet.snapshot()
    pending = fleet.begin("churn", seconds=options.seconds, concurrency=options.concurrency)
    answers = fleet.finish(pending, "connecting, asking, closing", options.seconds + 60)
    found = fleet.settle(at_rest)
    after = fleet.snapshot()
    made = sum(answer["made"] for answer in answers)
    outcome.add("connections made and closed", f"{made:,}, {made / options.seconds:,.0f}/s", made > 0)
    _add_latencies(fleet, outcome, "churn", options.seconds)
    if fleet.servers:
        outcome.add("counters of the servers after it", _difference(at_rest, found), found == at_rest)
        grown = after.server_memory - before.server_memory
        outcome.add("servers' memory after it", f"{grown / _MIB:+.2f} MiB", grown <= _CHURN_SLACK * len(fleet.servers))
    _leave(fleet, outcome, rest)


RUN: Final[dict[str, Callable[[Fleet, Outcome], None]]] = {
    "hold": _hold,
    "close": _close,
    "slow": _slow,
    "churn": _churn,
}
