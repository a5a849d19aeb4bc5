"""OpenTelemetry: asynchronous instruments, which read the loops when a reader collects."""

from __future__ import annotations

import math
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from opentelemetry.metrics import CallbackOptions, Meter, Observation, get_meter

from netloop._version import __version__
from netloop.hosted.histogram import Histogram
from netloop.hosted.totals import HISTOGRAMS, totals
from netloop.metrics.catalogue import DURATIONS, FIGURES, LOOPS, QUANTILES, Duration, Figure

__all__ = ["instrument"]

# The instruments of one collection are asked one after the other, and tell of the same time.
_COLLECTION_SECONDS: Final = 1.0

Callback = Callable[[CallbackOptions], Sequence[Observation]]


class Since:
    """What has been counted since the last collection, for one kind of duration."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._forget()
        os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        """In a forked child the counts begin anew, and whoever had the lock is not there."""
        self._lock = threading.Lock()
        self._cut = -math.inf
        self._before = self._latest = Histogram(HISTOGRAMS[self._name])

    def latest(self) -> Histogram:
        """What was counted between the last collection and the one before."""
        with self._lock:
            now = time.monotonic()
            if now - self._cut >= _COLLECTION_SECONDS:
                counted = totals.read().histograms[self._name]
                self._latest = counted - self._before
                self._before, self._cut = counted, now
            return self._latest


def _observe(figure: Figure) -> Callback:
    if figure is LOOPS:
        return lambda options: [Observation(totals.read().loops)]
    return lambda options: [Observation(totals.read().figures[figure.statistic])]


def _add_figure(meter: Meter, figure: Figure) -> None:
    create = {
        "count": meter.create_observable_counter,
        "gauge": meter.create_observable_up_down_counter,
        "mark": meter.create_observable_gauge,
    }[figure.kind]
    create(figure.opentelemetry, [_observe(figure)], figure.unit, figure.description)


def _add_duration(meter: Meter, duration: Duration) -> None:
    name, kind = duration.opentelemetry, duration.histogram
    since = Since(kind)

    def quantile(share: float) -> Callback:
        def observe(options: CallbackOptions) -> Iterator[Observation]:
            value = since.latest().quantile(share)
            # Nothing is told of a time in which there was none.
            if not math.isnan(value):
                yield Observation(value)

        return lambda options: list(observe(options))

    def count(options: CallbackOptions) -> list[Observation]:
        return [Observation(totals.read().histograms[kind].count)]

    def seconds(options: CallbackOptions) -> list[Observation]:
        return [Observation(totals.read().histograms[kind].seconds)]

    text = duration.description.removesuffix(".")
    meter.create_observable_counter(f"{name}.count", [count], duration.unit, f"{text}: how many there were.")
    meter.create_observable_counter(f"{name}.sum", [seconds], "s", f"{text}: all together.")
    for word, share in QUANTILES.items():
        meter.create_observable_gauge(
            f"{name}.{word}", [quantile(share)], "s", f"{text}: {word} since the last collection."
        )


_lock: Final = threading.Lock()
_instrumented: Final[weakref.WeakSet[Meter]] = weakref.WeakSet()
# As long as no provider is set, every call of get_meter() makes another one, all of which act for the same meter later.
_default: list[Meter] = []


def instrument(meter: Meter | None) -> None:
    """Have a meter ask the loops of this process. See netloop.metrics.opentelemetry()."""
    if meter is not None and not isinstance(meter, Meter):
        raise TypeError(f"meter must be an opentelemetry.metrics.Meter or None, not {meter!r}")
    with _lock:
        if meter is None:
            if not _default:
                _default.append(get_meter("netloop", __version__))
            meter = _default[0]
        if meter in _instrumented:
            return
        _instrumented.add(meter)
        totals.want()
        for figure in (LOOPS, *FIGURES):
            _add_figure(meter, figure)
        for duration in DURATIONS:
            _add_duration(meter, duration)
