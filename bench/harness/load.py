"""Driving a server with the C load generator, and what it reports."""

import subprocess
from dataclasses import dataclass

from harness.errors import BenchError
from harness.exchange import load_arguments
from harness.gated import MARGIN, GatedLoads, Report, read_report
from harness.processes import Server, pinned, stop
from harness.rows import Row
from harness.settings import Settings

#: Replies as large as these are counted by their bytes, since a window ends in the middle of many of them.
COUNTED_BY_BYTES = 64 * 1024
#: A window must see several of the largest messages.
LARGE, LARGE_SECONDS = 16 * 1024 * 1024, 2.0
#: The last is that of connections that existed before a herd, and reported where there are some.
LATENCIES = ("p50_us", "p99_us", "p999_us", "resident_p99_us")


@dataclass(frozen=True)
class Window:
    """What the load generator saw in its measured window: ``latencies`` by figure (none when none was measured, as of
    packets that go one way) and their distribution, in microseconds; CPU times in nanoseconds. ``server_cpu`` is that
    of all of the server's threads, ``loop_cpu`` that of its main thread alone, and ``kernel_share`` which part of the
    latter it was in the kernel; None where the window was too short to tell.
    """

    seconds: float
    messages: float
    latencies: dict[str, float]
    distribution: list[list[float]]
    server_cpu: int
    load_cpu: int
    loop_cpu: int
    kernel_share: float | None


def command(settings: Settings, server: Server, row: Row, seconds: float, warmup: float, count: int) -> list[str]:
    """Return the load generator's command line for that many connections."""
    load = [str(settings.programs / row.program.load), "--port", str(server.port), "--server-pid", str(server.pid)]
    load += ["--connections", str(count), "--depth", str(row.depth)]
    load += ["--seconds", f"{seconds:g}", "--warmup", f"{warmup:g}"]
    return [*load, *row.program.flags, *load_arguments(settings.scratch, row)]


def cpu_of(row: Row, settings: Settings) -> int | None:
    """Return the CPU of the load generator."""
    return settings.server_cpu if row.program.shares_cpu else settings.load_cpu


def parse(line: str) -> Window:
    """Read the load generator's JSON.

    Raises:
        BenchError: it is not what it should be, it reports errors, or nothing came back at all.
    """
    return window_of(read_report(line))


def window_of(report: Report) -> Window:
    """Return what a report says of the window.

    Raises:
        BenchError: nothing came back at all, or no CPU time was seen.
    """
    messages = report["messages"]
    if report["reply_size"] >= COUNTED_BY_BYTES:
        messages = report["bytes_received"] / report["reply_size"]
    elif report["size"] >= COUNTED_BY_BYTES and report["messages"] == 0:
        raise BenchError("no message was complete within the measured window; make it longer with --seconds")
    server_cpu = report["server_cpu_ns"] or 0
    if messages == 0 or server_cpu == 0:
        raise BenchError("no message came back, or no CPU time was seen, within the measured window")
    return Window(
        seconds=report["seconds"],
        messages=messages,
        latencies={name: report[name] for name in LATENCIES if name in report} if report["max_us"] else {},
        distribution=report["distribution_us"] if report["max_us"] else [],
        server_cpu=server_cpu,
        load_cpu=report["load_cpu_ns"],
        loop_cpu=report["loop_cpu_ns"],
        kernel_share=_share(report["loop_kernel_ticks"], report["loop_user_ticks"]),
    )


def _share(part: int, rest: int) -> float | None:
    return part / (part + rest) if part + rest else None


def _run(arguments: list[str], cpu: int | None, limit: float) -> str:
    with pinned(cpu):
        process = subprocess.Popen(
            arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
        )
    try:
        output, said = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        raise BenchError(f"the load generator did not end within {limit:.0f} s") from None
    finally:
        stop(process)
    if not output.strip():
        raise BenchError(f"the load generator failed: {said.decode(errors='replace').strip() or process.returncode}")
    return output.decode()


def prime(server: Server, row: Row, settings: Settings) -> None:
    """Open a connection, exchange one message and close it, so that first-time costs lie before the measured window.

    For asyncio this matters most: until it has freed a whole receive buffer, glibc maps and unmaps each one, and the
    first that it frees whole is that of the empty receive at the end of a connection. So it must be us who closes.

    Raises:
        BenchError: the server does not answer, or not as it should.
    """
    read_report(_run(command(settings, server, row, 0.0, 0.0, 1), cpu_of(row, settings), MARGIN))


def run(server: Server, row: Row, settings: Settings) -> Window:
    """Drive the server for one measured window.

    Raises:
        BenchError: errors under load, or the load generator failed or did not end.
    """
    seconds = max(settings.seconds, row.program.seconds, LARGE_SECONDS if row.size >= LARGE else 0.0)
    arguments = command(settings, server, row, seconds, settings.warmup, row.connections)
    return parse(_run(arguments, cpu_of(row, settings), seconds + settings.warmup + MARGIN))


def gated(server: Server, row: Row, settings: Settings, seconds: float) -> GatedLoads:
    """Start a load generator that is connected and warm, and then waits; for measuring from outside in between."""
    arguments = command(settings, server, row, seconds, settings.warmup, row.connections)
    return GatedLoads([arguments], [cpu_of(row, settings)])
