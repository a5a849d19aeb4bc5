"""Starting, pinning and ending the processes under measurement. Every wait has a limit; every process is reaped."""

import contextlib
import importlib.util
import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from harness.errors import BenchError

START_TIMEOUT = 20.0
STOP_TIMEOUT = 3.0

#: Settings of the caller's shell that would silently change what is measured.
_REMOVED = (
    *("NETLOOP_FALLBACK", "NETLOOP_IO_CPUS", "NETLOOP_STALL_THRESHOLD"),
    *("PYTHONASYNCIODEBUG", "PYTHONDEVMODE", "PYTHONMALLOC", "PYTHONTRACEMALLOC"),
)


def server_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Return the environment a server gets: the caller's without debug and fallback settings, and ``extra``."""
    kept = {key: value for key, value in os.environ.items() if key not in _REMOVED and not key.startswith("MALLOC_")}
    # The servers import the netloop that runs here, also where it was found through the current directory only.
    found = importlib.util.find_spec("netloop")
    roots = [str(Path(place).parent) for place in (found.submodule_search_locations if found else None) or ()]
    kept["PYTHONPATH"] = os.pathsep.join(filter(None, (*roots, kept.get("PYTHONPATH"))))
    return {**kept, **extra}


@contextlib.contextmanager
def pinned(cpu: int | None) -> Iterator[None]:
    """Run this thread on one CPU for a moment; a process started meanwhile inherits it (sched_setaffinity(2))."""
    if cpu is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def read_line(stream: IO[bytes], timeout: float, what: str) -> str:
    """Read one line from an unbuffered pipe.

    Raises:
        BenchError: no line came within ``timeout`` seconds, or the stream ended before it.
    """
    deadline = time.monotonic() + timeout
    line = bytearray()
    while not line.endswith(b"\n"):
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([stream], [], [], left)[0]:
            raise BenchError(f"{what}: nothing within {timeout:.0f} s")
        # Byte by byte, so that nothing of the next line is taken; these lines are short.
        byte = os.read(stream.fileno(), 1)
        if not byte:
            raise BenchError(f"{what}: the output ended")
        line += byte
    return line.decode(errors="replace").strip()


def stop(process: subprocess.Popen[bytes], first: signal.Signals = signal.SIGTERM) -> int:
    """End a process we started, politely, then by force, and return its exit status."""
    if process.poll() is None:
        process.send_signal(first)
        try:
            process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            with contextlib.suppress(BrokenPipeError):
                stream.close()
    return process.returncode


class Server:
    """A server process, from its start until the end of the ``with`` block.

    Raises:
        BenchError: it did not come up within 20 seconds; what it said last is in the message.
    """

    def __init__(self, command: list[str], environment: Mapping[str, str], cpu: int | None) -> None:
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed when the server is left
        with pinned(cpu):
            self._process = subprocess.Popen(
                command,
                bufsize=0,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=self._said,
                env=server_environment(environment),
            )
        self.pid = self._process.pid
        self.port = 0

    def __enter__(self) -> Self:
        try:
            assert self._process.stdout is not None
            self.port = int(read_line(self._process.stdout, START_TIMEOUT, "waiting for the server's port"))
        except (BenchError, ValueError) as error:
            stop(self._process)
            raise BenchError(f"the server did not start ({error}){self._last_words()}") from None
        except BaseException:
            stop(self._process)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        stop(self._process)
        self._said.close()

    def complaint(self) -> str | None:
        """Return what is wrong with the server: that it ended, or what it wrote to standard error."""
        status = self._process.poll()
        if status is not None:
            how = f"signal {-status}" if status < 0 else f"status {status}"
            return f"the server ended with {how}{self._last_words()}"
        words = self._last_words()
        return f"the server complained{words}" if words else None

    def peak_memory(self) -> float:
        """Return the largest resident set the process has had, in MiB (VmHWM of proc_pid_status(5))."""
        return _kib_of(f"/proc/{self.pid}/status", "VmHWM:") / 1024

    def memory(self) -> float:
        """Return the process's share of memory now, in MiB (Pss of proc_pid_smaps_rollup(5)). User space only."""
        return _kib_of(f"/proc/{self.pid}/smaps_rollup", "Pss:") / 1024

    def _last_words(self) -> str:
        self._said.seek(0)
        lines = self._said.read().decode(errors="replace").strip().splitlines()
        return f": {lines[-1][:300]}" if lines else ""


def _kib_of(path: str, name: str) -> int:
    with open(path, encoding="ascii", errors="replace") as lines:
        for line in lines:
            if line.startswith(name):
                return int(line.split()[1])
    raise BenchError(f"{path} has no line {name}")
