"""One measurement: a fresh process, one window, a handful of figures."""

import dataclasses
from dataclasses import dataclass, field

from harness import http3, load, micro, wrk
from harness.contenders import Contender
from harness.errors import BenchError
from harness.load import Window, gated
from harness.processes import Server
from harness.rows import Row
from harness.settings import Settings


@dataclass(frozen=True)
class Sample:
    """What one measurement gave: figures by name (see ``figures.py``), and the latencies' distribution if any.

    ``cpu_us`` is the server's CPU time per message, of all its threads, and ``loop_cpu_us`` that of the thread that
    runs the loop, of which ``kernel_share`` was in the kernel. ``server_busy`` and ``load_busy`` are the shares of the
    window (0 to 1) in which the two processes ran. ``peak_rss_mib`` is the server's peak resident set, ``pss_mib`` its
    proportional set after the window, or with idle connections open. ``last_ms`` is when the last of a herd was served,
    and ``resident_p99_us`` how long those had to wait that had been connected before.
    """

    contender: str
    row: str
    repeat: int
    figures: dict[str, float]
    distribution: list[list[float]] = field(default_factory=list)


def measure(contender: Contender, row: Row, repeat: int, settings: Settings) -> Sample:
    """Measure a contender in a row once.

    Raises:
        BenchError: the server or the load failed, or a reply was wrong.
    """
    if row.program.driver == "micro":
        return Sample(contender.name, row.name, repeat, _rounded(micro.measure(contender, row, settings)))
    with Server(contender.command(row, settings), contender.surroundings(settings), settings.server_cpu) as server:
        try:
            figures, distribution = _drive(server, row, settings)
        except BenchError as error:
            raise BenchError("; ".join(filter(None, (str(error), server.complaint())))) from None
        if (complaint := server.complaint()) is not None:
            raise BenchError(complaint)
        figures["peak_rss_mib"] = server.peak_memory()
    return Sample(contender.name, row.name, repeat, _rounded(figures), distribution)


def _rounded(figures: dict[str, float]) -> dict[str, float]:
    """Keep six digits, which is more than any measurement gives, and leaves results that people can read."""
    return {name: float(f"{value:.6g}") for name, value in figures.items()}


def _drive(server: Server, row: Row, settings: Settings) -> tuple[dict[str, float], list[list[float]]]:
    if row.program.driver == "wrk":
        return {**wrk.run(server, row, settings), "pss_mib": server.memory()}, []
    if row.program.driver == "http3":
        return {**http3.run(server, row, settings), "pss_mib": server.memory()}, []
    load.prime(server, row, settings)
    if row.program.driver == "idle":
        return _hold(server, row, settings), []
    window = load.run(server, row, settings)
    figures = {**_figures(window), "pss_mib": server.memory()}
    if row.program.driver == "herd":
        figures["last_ms"] = window.seconds * 1e3
    return figures, window.distribution


def _hold(server: Server, row: Row, settings: Settings) -> dict[str, float]:
    """Open connections that have exchanged one message each, and see what they take in the server's user space."""
    before = server.memory()
    # Without traffic for a warm-up: that would be a burst on all connections, and its memory not that of idle ones.
    with gated(server, row, dataclasses.replace(settings, warmup=0.0), settings.seconds) as held:
        held.wait_until_ready()
        after = server.memory()
    return {"pss_mib": after, "connection_kib": max(0.0, after - before) * 1024 / row.connections}


def _figures(window: Window) -> dict[str, float]:
    share = {} if window.kernel_share is None else {"kernel_share": window.kernel_share}
    return {
        "messages_per_second": window.messages / window.seconds,
        "cpu_us": window.server_cpu / window.messages / 1e3,
        "loop_cpu_us": window.loop_cpu / window.messages / 1e3,
        **share,
        "per_cpu_second": window.messages / window.server_cpu * 1e9,
        **window.latencies,
        "server_busy": window.server_cpu / window.seconds / 1e9,
        "load_busy": window.load_cpu / window.seconds / 1e9,
    }
