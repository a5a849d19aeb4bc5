"""What the loops of this process have counted together, those included that are closed by now.

A loop opens a `Tally` when it is made and closes it when it is closed. So what has been counted never goes down while
loops come and go, and what is kept of those that have gone is one sum. Nothing is summed up, or measured beyond what
every loop counts anyway, until somebody asks for it by `Totals.want`.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Final, Protocol

from netloop.core.turn import histogram_bounds
from netloop.hosted.histogram import Histogram
from netloop.statistics import Statistics

__all__ = ["COUNTS", "HISTOGRAMS", "MARKS", "POOLS", "Reading", "Tally", "Totals", "histograms_of", "totals"]

COUNTS: Final = frozenset(
    {
        *("turns", "enters", "submissions", "completions", "stale_completions", "buffers_exhausted"),
        *("connections_accepted", "wakeups", "pools_dry", "stalls", "saturated_turns"),
        *("packets_received", "packets_sent", "packets_dropped", "segmentation_refused"),
    }
)
"""The figures of a loop's statistics that only grow."""
MARKS: Final = frozenset({"max_completions_per_turn", "buffers_high_water"})
"""Those that tell the most that ever was. What is in neither set tells how a loop stands at the moment."""

_BOUNDS: Final = histogram_bounds()
HISTOGRAMS: Final = {"lag": _BOUNDS, "turn": _BOUNDS, "stall": Statistics.stall_bounds}
"""What is counted by how long it took, with the bounds of the buckets."""
POOLS: Final = {"pool_buffers": "buffers", "pool_buffers_leased": "leased", "pool_receives_waiting": "waiting_receives"}
"""The figures that are summed up of a loop's pools, and what each is called there."""
# What the statistics tell in more than one number: of pools, of rings, and of stalls, the last of these histograms.
_COMPOUND: Final = frozenset({"pools", "rings", "stall_seconds", "stall_histogram"})
_SINGLE: Final = tuple(each.name for each in fields(Statistics) if each.name not in _COMPOUND)
_FIGURES: Final = (*_SINGLE, *POOLS)


class Measured(Protocol):
    """A loop that can be asked how long things took."""

    def _measured(self) -> dict[str, tuple[dict[int, int], int]]: ...


class Counting(Measured, Protocol):
    """A loop, as far as it is needed here."""

    def statistics(self) -> Statistics: ...

    def _measure(self) -> None: ...


@dataclass(frozen=True)
class Reading:
    """What one loop has counted, or several together."""

    loops: int = 0
    figures: Mapping[str, int] = field(default_factory=lambda: dict.fromkeys(_FIGURES, 0))
    histograms: Mapping[str, Histogram] = field(
        default_factory=lambda: {name: Histogram(bounds) for name, bounds in HISTOGRAMS.items()}
    )

    def __add__(self, other: Reading) -> Reading:
        figures = {
            name: max(value, other.figures[name]) if name in MARKS else value + other.figures[name]
            for name, value in self.figures.items()
        }
        histograms = {name: each + other.histograms[name] for name, each in self.histograms.items()}
        return Reading(self.loops + other.loops, figures, histograms)

    def of_the_past(self) -> Reading:
        """What is left of a loop that is closed: it has counted, and does not stand anyhow any more."""
        figures = {name: value if name in COUNTS | MARKS else 0 for name, value in self.figures.items()}
        return Reading(0, figures, self.histograms)


_NOTHING: Final = Reading()


def histograms_of(loop: Measured) -> dict[str, Histogram]:
    """What a loop has counted natively by how long it took; any thread. Empty ones where that was not asked for."""
    return {name: Histogram(HISTOGRAMS[name], *counted) for name, counted in loop._measured().items()}


def _read(loop: Counting) -> Reading:
    statistics = loop.statistics()
    stalls = {number: count for number, count in enumerate(statistics.stall_histogram) if count}
    histograms = histograms_of(loop)
    histograms["stall"] = Histogram(Statistics.stall_bounds, stalls, round(statistics.stall_seconds * 1e9))
    figures = {name: getattr(statistics, name) for name in _SINGLE}
    for figure, name in POOLS.items():
        figures[figure] = sum(getattr(pool, name) for pool in statistics.pools)
    return Reading(1, figures, histograms)


class Tally:
    """What one loop has counted, while it is open."""

    def __init__(self, loop: Counting, owner: Totals) -> None:
        self.loop = weakref.ref(loop)
        self._owner = owner
        # What was read last. It stands for a loop that has been found as garbage and is about to be closed.
        self._seen = _NOTHING

    def read(self) -> Reading:
        """What it has counted until now."""
        loop = self.loop()
        if loop is not None:
            self._seen = _read(loop)
        return self._seen

    def close(self, loop: Counting) -> None:
        """The loop is closed, and counts no more."""
        self._owner.close(self, loop)


class Totals:
    """The tallies of all open loops, and the sum of those that are closed. Any thread may ask.

    A loop may be closed by the collector, at any place of any program, so closing it waits for nobody: what it has
    counted is put into a queue, which is emptied by whoever has the lock, or has it next.
    """

    def __init__(self) -> None:
        self._wanted = False
        self.forget()

    def forget(self) -> None:
        """In a forked child: its loops are those that it makes."""
        self._lock = threading.Lock()
        self._open: dict[Tally, None] = {}
        self._closed: deque[tuple[Tally, Reading]] = deque()
        self._past = _NOTHING

    def open(self, loop: Counting) -> Tally:
        """A new loop."""
        tally = Tally(loop, self)
        wanted = self._wanted
        if wanted:
            # Nobody else knows the loop, so this need not wait for the lock, which this thread may have: what is read
            # under it may collect garbage, and so run any code.
            loop._measure()
        self._open[tally] = None
        if self._wanted and not wanted:
            self._measure([tally])
        return tally

    def close(self, tally: Tally, loop: Counting) -> None:
        """A loop is closed."""
        if not self._wanted:
            self._open.pop(tally, None)
            return
        self._closed.append((tally, _read(loop).of_the_past()))
        if self._lock.acquire(blocking=False):
            try:
                self._settle()
            finally:
                self._lock.release()

    def want(self) -> None:
        """Have all loops measure themselves, those made later too, and keep what those have counted that are closed."""
        if not self._wanted:
            self._wanted = True
            self._measure(list(self._open))

    def read(self) -> Reading:
        """What all loops have counted, since they were made or since the first call of want()."""
        with self._lock:
            self._settle()
            total = self._past
            for tally in list(self._open):
                total += tally.read()
        return total

    def _measure(self, tallies: Iterable[Tally]) -> None:
        with self._lock:
            for tally in tallies:
                loop = tally.loop()
                if loop is not None:
                    loop._measure()

    def _settle(self) -> None:
        while self._closed:
            tally, counted = self._closed.popleft()
            # A loop that a forked child has from its parent has no tally here.
            if tally in self._open:
                del self._open[tally]
                self._past += counted


totals: Final = Totals()
os.register_at_fork(after_in_child=totals.forget)
