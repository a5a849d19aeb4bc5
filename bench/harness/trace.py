"""System calls per message, counted by strace in a short run of its own, because tracing slows everything it counts."""

import contextlib
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from harness.contenders import Contender
from harness.errors import BenchError
from harness.load import gated, prime, window_of
from harness.processes import Server, pinned, read_line, stop
from harness.rows import Row
from harness.settings import Settings

ATTACH_TIMEOUT = 10.0


@dataclass(frozen=True)
class Trace:
    """System calls per message in all and by name, or the reason why they were not counted."""

    per_message: float | None
    by_name: dict[str, float] = field(default_factory=dict)
    reason: str | None = None


def unavailable() -> str | None:
    """Return why nothing can be traced here, or None."""
    return None if shutil.which("strace") else "strace is not installed"


def parse_summary(text: str) -> dict[str, int]:
    """Read the table ``strace -c`` writes: calls by name."""
    calls: dict[str, int] = {}
    for line in text.splitlines():
        fields = line.split()
        # % time, seconds, usecs/call, calls, [errors,] syscall
        if len(fields) >= 5 and fields[0].replace(".", "").isdigit() and fields[-1] != "total":
            calls[fields[-1]] = int(fields[3])
    return calls


@contextlib.contextmanager
def _attached(pid: int, output: Path, cpu: int | None) -> Iterator[None]:
    """Trace a process within the block; the summary is complete when the block has ended."""
    command = ["strace", "-f", "-c", "-o", str(output), "-p", str(pid)]
    with pinned(cpu):
        process = subprocess.Popen(command, bufsize=0, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        assert process.stderr is not None
        line = read_line(process.stderr, ATTACH_TIMEOUT, "waiting for strace to attach")
        if "attached" not in line:
            raise BenchError(f"strace cannot attach: {line}")
        yield
    finally:
        # On SIGINT strace detaches and writes its summary (strace(1)).
        stop(process, signal.SIGINT)


def trace(contender: Contender, row: Row, settings: Settings) -> Trace:
    """Count the system calls of a server between two quiet moments, with all its connections already made."""
    if (reason := unavailable()) is not None:
        return Trace(None, reason=reason)
    try:
        with (
            tempfile.TemporaryDirectory(prefix="netloop-bench-") as scratch,
            Server(contender.command(row, settings), contender.surroundings(settings), settings.server_cpu) as server,
        ):
            prime(server, row, settings)
            summary = Path(scratch) / "summary"
            messages = _drive(server, row, settings, summary)
            calls = parse_summary(summary.read_text())
    except (BenchError, OSError) as error:
        return Trace(None, reason=str(error))
    by_name = {name: count / messages for name, count in sorted(calls.items(), key=lambda item: -item[1])}
    return Trace(sum(by_name.values()), by_name)


def _drive(server: Server, row: Row, settings: Settings, summary: Path) -> float:
    seconds = settings.trace_seconds
    with gated(server, row, settings, seconds) as load:
        load.wait_until_ready(settings.warmup)
        with _attached(server.pid, summary, settings.server_cpu):
            (report,) = load.measure(seconds)
            return window_of(report).messages
