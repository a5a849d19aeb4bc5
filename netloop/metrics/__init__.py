"""Metrics: what the loops of this process count, for Prometheus and OpenTelemetry.

One call, once per process, before or after loops are made::

    netloop.metrics.prometheus()      # pip install 'netloop[prometheus]'
    netloop.metrics.opentelemetry()   # pip install 'netloop[opentelemetry]'

From then on every loop of the process is exported, in whichever thread it runs: each figure of
``EventLoop.statistics()``, and how long things took.

- **lag**: how late a timer's callback was called, from the moment it was due. What was scheduled for a time that had
  passed already is not counted.
- **turn**: how long a turn of the loop was at work, from the end of its wait to the next one: for so long nothing else
  had its turn. It holds callbacks, calls of protocols, and waiting for the interpreter lock.
- **stall**: how long callbacks have blocked the loop that took longer than ``stall_threshold``; without that, none.

The process is what is told of. The counts of several loops are added up, and a loop that is closed leaves what it has
counted, so nothing goes down or is forgotten when loops come and go; there is no label for the loop. How things stand,
such as the number of connections, is the sum over the open loops; the most there ever was is that of the loop that had
most. Loops that were closed before the call are left out, and a forked child tells of its own loops alone.

Lag and turns are measured from the call on, which costs one or two readings of the clock per turn, and one per timer.
Where nobody calls, nothing is measured.

Submodules: ``catalogue``, the table of what is exported under which name; ``collector``, for Prometheus;
``instruments``, for OpenTelemetry.

It uses ``hosted``, and ``netloop`` for the version and the names of the statistics.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opentelemetry.metrics import Meter
    from prometheus_client import CollectorRegistry

    from netloop.metrics.collector import LoopCollector

__all__ = ["opentelemetry", "prometheus"]


def prometheus(registry: CollectorRegistry | None = None) -> LoopCollector:
    """Export the loops of this process by prometheus-client.

    Calling it again with the same registry changes nothing. Whoever scrapes may do so in any thread.

    In prometheus-client's multiprocess mode, where one worker of a gunicorn server answers for all, collectors such as
    this one are left out, as those of the process and of Python are: have each worker scraped at a port of its own. In
    the registry of a ``MultiProcessCollector`` it would tell of the worker that happens to answer.

    Args:
        registry: where to register; by default ``prometheus_client.REGISTRY``.

    Returns:
        The registered collector, for ``registry.unregister()``.

    Raises:
        ImportError: prometheus-client is not installed.
        TypeError: ``registry`` is no ``CollectorRegistry``.
        ValueError: the registry has metrics of the same names that are not netloop's.
    """
    try:
        from netloop.metrics.collector import register
    except ImportError as error:
        _explain(error, "prometheus_client", "prometheus")
        raise
    return register(registry)


def opentelemetry(meter: Meter | None = None) -> None:
    """Export the loops of this process by OpenTelemetry.

    Its instruments are asynchronous: they are read when a reader collects. There is no asynchronous histogram, so how
    long things took is told as quantiles and the maximum since the last collection, as the conventions for other event
    loops have it, beside count and sum. Calling it again with the same meter changes nothing.

    Args:
        meter: what makes the instruments; by default ``opentelemetry.metrics.get_meter("netloop")``.

    Raises:
        ImportError: opentelemetry-api is not installed.
        TypeError: ``meter`` is no ``opentelemetry.metrics.Meter``.
    """
    try:
        from netloop.metrics.instruments import instrument
    except ImportError as error:
        _explain(error, "opentelemetry", "opentelemetry")
        raise
    instrument(meter)


def _explain(error: ImportError, package: str, extra: str) -> None:
    """If it is the optional package that cannot be imported, raise an error that tells how to get it."""
    if error.name is not None and error.name.partition(".")[0] == package:
        text = f"netloop.metrics.{extra}() needs a package that is not installed: pip install 'netloop[{extra}]'"
        raise ImportError(text, name=error.name) from error
