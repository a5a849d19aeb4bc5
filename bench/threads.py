"""Echo by one thread with a loop, and by several with a loop each: ``python bench/threads.py``.

The server runs on the interpreter that runs this. Each of its threads has a load generator of its own, and they all
measure the same window. Threads and generators share the processors that there are, so where these are few the number
of messages says less than the processor time of one: if that stays as it was, the threads do not wait for each other.
"""

import argparse
import statistics
import subprocess
import sys
from pathlib import Path

from harness.c_build import build
from harness.contenders import SERVERS
from harness.errors import BenchError
from harness.gated import MARGIN, GatedLoads
from harness.processes import read_line, stop

from netloop.tools.cpu_time import cpu_seconds


def _window(loads: GatedLoads, server: int, seconds: float) -> tuple[float, float]:
    """Measure one window: messages in a second, and microseconds of the server's for each."""
    loads.wait_until_ready()
    before = cpu_seconds(server)
    reports = loads.measure(seconds)
    after = cpu_seconds(server)
    if before is None or after is None:
        raise BenchError("this kernel does not tell the CPU time of threads")
    messages = sum(report["messages"] for report in reports)
    rate: float = sum(report["messages"] / report["seconds"] for report in reports)
    return rate, (after - before) / messages * 1e6


def measure(programs: Path, options: argparse.Namespace, threads: int) -> tuple[float, float, str]:
    """One server with so many threads: its messages in a second, microseconds for each, and what lock there is.

    Raises:
        BenchError: the server or a generator failed.
    """
    program = [sys.executable, str(SERVERS / "echo_threads.py"), "--loop", options.loop]
    program += ["--threads", str(threads), "--work", str(options.work)]
    server = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
    try:
        assert server.stdout is not None
        *ports, lock = read_line(server.stdout, MARGIN, "waiting for the server").split()
        load = [str(programs / "load"), "--size", str(options.size), "--connections", str(options.connections)]
        load += ["--seconds", str(options.seconds), "--warmup", "0.3"]
        with GatedLoads([[*load, "--port", port] for port in ports], [None] * len(ports)) as loads:
            return *_window(loads, server.pid, options.seconds), lock
    finally:
        stop(server)


def main() -> int:
    """Measure what the command line says, the numbers of threads in turn, and print the medians."""
    parser = argparse.ArgumentParser(description="Compares echo by several threads with echo by one.")
    parser.add_argument("--loop", default="netloop")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="how many; the first is compared with")
    parser.add_argument("--connections", type=int, default=50, help="of each thread")
    parser.add_argument("--size", type=int, default=64, help="of a message, bytes")
    parser.add_argument(
        "--work",
        type=int,
        default=0,
        help="rounds of an empty loop in Python for each message, so that the load's part of the processors is small",
    )
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    programs = build()
    found: dict[int, list[tuple[float, float, str]]] = {threads: [] for threads in options.threads}
    for _ in range(options.repeats):
        for threads, windows in found.items():
            windows.append(measure(programs, options, threads))
    base = statistics.median(window[0] for window in found[options.threads[0]])
    for threads, windows in found.items():
        rate = statistics.median(window[0] for window in windows)
        cpu = sorted(window[1] for window in windows)
        print(
            f"{options.loop}, {threads} thread{'s' * (threads > 1)} ({windows[0][2]}): {rate:,.0f} messages/s "
            f"({rate / base:.2f} of the first), {statistics.median(cpu):.2f} µs each ({cpu[0]:.2f} to {cpu[-1]:.2f})"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
