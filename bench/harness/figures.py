"""The figures of a measurement: what they are called and which way is better."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One figure: its name in tables, and whether a larger one is better."""

    caption: str
    more_is_better: bool = False


FIGURES = {
    "messages_per_second": Figure("messages/s", more_is_better=True),
    "cpu_us": Figure("CPU µs/message"),
    "loop_cpu_us": Figure("loop thread CPU µs/message"),
    "kernel_share": Figure("its kernel share"),
    "per_cpu_second": Figure("messages per CPU second", more_is_better=True),
    "p50_us": Figure("p50 µs"),
    "p99_us": Figure("p99 µs"),
    "p999_us": Figure("p99.9 µs"),
    "last_ms": Figure("last served ms"),
    "resident_p99_us": Figure("residents' p99 µs"),
    "calls": Figure("system calls/message"),
    "pss_mib": Figure("PSS MiB"),
    "peak_rss_mib": Figure("peak RSS MiB"),
    "connection_kib": Figure("KiB/connection"),
    "server_busy": Figure("server busy"),
    "load_busy": Figure("load busy"),
}
