"""Prometheus: a collector that reads the loops when somebody scrapes."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from typing import Final

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from netloop.hosted.histogram import Histogram
from netloop.hosted.totals import Reading, totals
from netloop.metrics.catalogue import DURATIONS, FIGURES, LOOPS, Duration, Figure

__all__ = ["LoopCollector", "register"]


class LoopCollector:
    """The event loops of this process, for a registry of prometheus-client."""

    def describe(self) -> Iterator[Metric]:
        """What there is, without values: a registry asks for it to find names that are taken."""
        return self._families(Reading())

    def collect(self) -> Iterator[Metric]:
        """What there is at this moment; any thread."""
        return self._families(totals.read())

    def _families(self, reading: Reading) -> Iterator[Metric]:
        yield _family(LOOPS, reading.loops)
        for figure in FIGURES:
            yield _family(figure, reading.figures[figure.statistic])
        for duration in DURATIONS:
            yield _histogram(duration, reading.histograms[duration.histogram])


def _family(figure: Figure, value: int) -> Metric:
    family = CounterMetricFamily if figure.kind == "count" else GaugeMetricFamily
    return family(figure.prometheus, figure.description, value=value)


def _histogram(duration: Duration, counted: Histogram) -> Metric:
    bounds = duration.bounds or counted.bounds
    buckets = [(str(bound), float(counted.at_most(bound))) for bound in bounds]
    buckets.append(("+Inf", float(counted.count)))
    return HistogramMetricFamily(
        duration.prometheus, duration.description, buckets=buckets, sum_value=counted.seconds, unit="seconds"
    )


_lock: Final = threading.Lock()
_registered: Final[weakref.WeakKeyDictionary[CollectorRegistry, LoopCollector]] = weakref.WeakKeyDictionary()


def register(registry: CollectorRegistry | None) -> LoopCollector:
    """Have a registry ask the loops of this process. See netloop.metrics.prometheus()."""
    if registry is None:
        registry = REGISTRY
    if not isinstance(registry, CollectorRegistry):
        raise TypeError(f"registry must be a prometheus_client.CollectorRegistry or None, not {registry!r}")
    with _lock:
        known = _registered.get(registry)
        collector = known or LoopCollector()
        try:
            registry.register(collector)
        except ValueError:
            # Its own names are taken: it is registered already. If it has been unregistered, it is registered again.
            if known is None:
                raise
        _registered[registry] = collector
    totals.want()
    return collector
