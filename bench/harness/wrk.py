"""Driving an HTTP server with wrk, a load generator that other people have written. It does not verify bodies."""

import math
import re
import shutil
import subprocess
from pathlib import Path

from harness.errors import BenchError
from harness.processes import Server, pinned, stop
from harness.rows import Row
from harness.settings import Settings

_MARGIN = 30.0
_UNITS = {"us": 1.0, "ms": 1e3, "s": 1e6, "m": 60e6}


def unavailable() -> str | None:
    """Return why wrk cannot be used here, or None."""
    return None if shutil.which("wrk") else "wrk is not installed (Debian: wrk)"


def cpu_time(pid: int) -> int:
    """Return how long the threads of a process have run, in nanoseconds (/proc/PID/task/TID/schedstat)."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        total += int((task / "schedstat").read_text().split()[0])
    return total


def _percentile(report: str, name: str) -> float:
    found = re.search(rf"^\s+{name}%\s+([\d.]+)(us|ms|s|m)$", report, re.MULTILINE)
    if found is None:
        raise BenchError(f"wrk's report has no line for {name}%")
    return float(found[1]) * _UNITS[found[2]]


def parse(report: str) -> tuple[int, float, float]:
    """Read wrk's report: requests, and the latencies p50 and p99 in microseconds.

    Raises:
        BenchError: it reports errors, or it is not what it should be.
    """
    for line in report.splitlines():
        if "Socket errors" in line or "Non-2xx" in line:
            raise BenchError(f"wrk: {line.strip()}")
    found = re.search(r"^\s*(\d+) requests in ", report, re.MULTILINE)
    if found is None or int(found[1]) == 0:
        raise BenchError(f"wrk reports no requests: {report.strip()[-200:]}")
    return int(found[1]), _percentile(report, "50"), _percentile(report, "99")


def _drive(server: Server, count: int, seconds: int, cpu: int | None) -> str:
    command = ["wrk", "-t1", f"-c{count}", f"-d{seconds}s", "--latency", f"http://127.0.0.1:{server.port}/"]
    with pinned(cpu):
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        output, _ = process.communicate(timeout=seconds + _MARGIN)
    except subprocess.TimeoutExpired:
        raise BenchError(f"wrk did not end within {seconds + _MARGIN:.0f} s") from None
    finally:
        stop(process)
    return output.decode(errors="replace")


def run(server: Server, row: Row, settings: Settings) -> dict[str, float]:
    """Drive the server for a whole number of seconds, which is all that wrk can do.

    Raises:
        BenchError: errors under load, or wrk is missing, failed or did not end.
    """
    if (reason := unavailable()) is not None:
        raise BenchError(reason)
    seconds = math.ceil(settings.seconds)
    before = cpu_time(server.pid)
    requests, p50, p99 = parse(_drive(server, row.connections, seconds, settings.load_cpu))
    used = cpu_time(server.pid) - before
    return {
        "messages_per_second": requests / seconds,
        "cpu_us": used / requests / 1e3,
        "per_cpu_second": requests / used * 1e9,
        "p50_us": p50,
        "p99_us": p99,
        "server_busy": used / seconds / 1e9,
    }
