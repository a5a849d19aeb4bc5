"""What is exported, and under which names.

Prometheus's names say what is counted and end with the unit, or with ``_total`` if it only grows. Those of
OpenTelemetry are words in the singular with dots between them, and have the unit apart, in the notation of UCUM.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

__all__ = ["DURATIONS", "FIGURES", "LOOPS", "QUANTILES", "Duration", "Figure"]

Kind = Literal["count", "gauge", "mark"]


@dataclass(frozen=True)
class Figure:
    """A number that is exported.

    Args:
        statistic: its name in ``EventLoop.statistics()``.
        kind: "count" if it only grows; "mark" if it is the most there ever was, which cannot be added up; or "gauge".
        prometheus: its name there; the client adds ``_total`` to counts.
        opentelemetry: its name there.
        unit: what is counted, for OpenTelemetry.
        description: one sentence.
    """

    statistic: str
    kind: Kind
    prometheus: str
    opentelemetry: str
    unit: str
    description: str


@dataclass(frozen=True)
class Duration:
    """Something that is counted by how long it took; the arguments are those of a figure."""

    histogram: str
    prometheus: str
    opentelemetry: str
    unit: str
    description: str
    bounds: tuple[float, ...] | None = None
    """Those buckets that Prometheus is told of, in seconds; None for all."""


LOOPS: Final = Figure("", "gauge", "netloop_loops", "netloop.loop.count", "{loop}", "Open event loops.")

# fmt: off
FIGURES: Final = (
    Figure("turns", "count", "netloop_turns", "netloop.turn.count", "{turn}", "Passes of the event loop."),
    Figure("enters", "count", "netloop_enters", "netloop.enter.count", "{call}", "Calls of io_uring_enter(2)."),
    Figure("submissions", "count", "netloop_submissions", "netloop.submission.count", "{submission}",
           "Operations handed to the kernel."),
    Figure("completions", "count", "netloop_completions", "netloop.completion.count", "{completion}",
           "Completions taken from the kernel."),
    Figure("stale_completions", "count", "netloop_stale_completions", "netloop.completion.stale", "{completion}",
           "Completions that came for an owner that was gone, and were dropped."),
    Figure("in_flight", "gauge", "netloop_in_flight", "netloop.operation.in_flight", "{operation}",
           "Operations that the kernel holds."),
    Figure("max_completions_per_turn", "mark", "netloop_max_completions_per_turn", "netloop.turn.completions.max",
           "{completion}", "The most completions that a turn had to dispatch."),
    Figure("buffers_total", "gauge", "netloop_buffers", "netloop.buffer.count", "{buffer}", "Receive buffers."),
    Figure("buffers_in_use", "gauge", "netloop_buffers_in_use", "netloop.buffer.in_use", "{buffer}",
           "Receive buffers that hold data which has not been taken."),
    Figure("buffers_high_water", "mark", "netloop_buffers_high_water", "netloop.buffer.high_water", "{buffer}",
           "The most receive buffers of a loop that were ever in use at once."),
    Figure("buffers_exhausted", "count", "netloop_buffers_exhausted", "netloop.buffer.exhausted", "{receive}",
           "Receives that found no buffer and had to wait for one."),
    Figure("fixed_files_total", "gauge", "netloop_fixed_files", "netloop.fixed_file.count", "{file}",
           "Places for connections in the rings' file tables."),
    Figure("fixed_files_in_use", "gauge", "netloop_fixed_files_in_use", "netloop.fixed_file.in_use", "{file}",
           "Places of the rings' file tables that are taken."),
    Figure("restricted", "gauge", "netloop_loops_restricted", "netloop.loop.restricted", "{loop}",
           "Open event loops whose ring may do only what netloop does."),
    Figure("connections", "gauge", "netloop_connections", "netloop.connection.count", "{connection}",
           "Open stream connections and datagram endpoints."),
    Figure("connections_accepted", "count", "netloop_connections_accepted", "netloop.connection.accepted",
           "{connection}", "Connections accepted by servers."),
    Figure("packets_received", "count", "netloop_packets_received", "netloop.packet.received", "{packet}",
           "Datagrams received by packet endpoints."),
    Figure("packets_sent", "count", "netloop_packets_sent", "netloop.packet.sent", "{packet}",
           "Datagrams sent by packet endpoints."),
    Figure("packets_dropped", "count", "netloop_packets_dropped", "netloop.packet.dropped", "{packet}",
           "Datagrams for packet endpoints that found a full receive buffer, and that the kernel has dropped."),
    Figure("segmentation_refused", "count", "netloop_segmentation_refused", "netloop.packet.segmentation_refused",
           "{send}", "Sends by segmentation offload that a route has refused."),
    Figure("watchers", "gauge", "netloop_watchers", "netloop.watcher.count", "{descriptor}",
           "Descriptors watched by add_reader() and add_writer()."),
    Figure("ready", "gauge", "netloop_ready", "netloop.callback.ready", "{callback}", "Callbacks that wait to be run."),
    Figure("timers", "gauge", "netloop_timers", "netloop.timer.count", "{timer}", "Timers that are not due yet."),
    Figure("wakeups", "count", "netloop_wakeups", "netloop.wakeup.count", "{wakeup}",
           "Times another thread or a signal has woken a loop."),
    Figure("pool_buffers", "gauge", "netloop_pool_buffers", "netloop.pool.buffer.count", "{buffer}",
           "Buffers of the loops' pools."),
    Figure("pool_buffers_leased", "gauge", "netloop_pool_buffers_leased", "netloop.pool.buffer.leased", "{buffer}",
           "Buffers of pools of which leases or views are out."),
    Figure("pool_receives_waiting", "gauge", "netloop_pool_receives_waiting", "netloop.pool.receive.waiting",
           "{receive}", "Connections whose receive waits for a buffer of its pool."),
    Figure("pools_dry", "count", "netloop_pool_receives_dry", "netloop.pool.receive.dry", "{receive}",
           "Receives that had to wait because all buffers of their pool were leased."),
    Figure("stalls", "count", "netloop_stalls", "netloop.stall.count", "{stall}",
           "Callbacks that have blocked a loop for longer than its stall_threshold."),
    Figure("saturated_turns", "count", "netloop_saturated_turns", "netloop.turn.saturated", "{turn}",
           "Turns that took longer than stall_threshold with callbacks of which each was short."),
)

# From 10 us to 10 s.
_BOUNDS: Final = (
    *(1e-05, 2e-05, 5e-05, 1e-04, 2e-04, 5e-04, 0.001, 0.002, 0.005),
    *(0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0),
)

DURATIONS: Final = (
    Duration("lag", "netloop_lag", "netloop.lag", "{timer}",
             "How late the callbacks of timers were called.", _BOUNDS),
    Duration("turn", "netloop_turn_duration", "netloop.turn.duration", "{turn}",
             "How long turns of the event loop were at work, without waiting.", _BOUNDS),
    Duration("stall", "netloop_stall_duration", "netloop.stall.duration", "{stall}",
             "How long callbacks have blocked a loop that took longer than its stall_threshold."),
)
# fmt: on

QUANTILES: Final = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
"""What OpenTelemetry is told of durations, by the last word of the name."""
