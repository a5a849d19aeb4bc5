"""Who is measured: the event loops by name, and the C servers that mark the limits."""

import importlib.metadata
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from harness.errors import BenchError
from harness.exchange import random_file, server_arguments
from harness.processes import Server, server_environment
from harness.rows import Row
from harness.settings import Settings

SERVERS = Path(__file__).resolve().parent.parent / "servers"
CHECK_TIMEOUT = 30.0

_POOL_MAX = 16 << 20
_BUFFER_MIN, _BUFFER_MAX = 256, 65536
_NOT_INSTALLED = 3
#: Where netloop reads on which CPUs the kernel's threads are to submit what it asks of its rings.
IO_CPUS = "NETLOOP_IO_CPUS"

#: glibc serves blocks of 128 KiB and more by mmap until the first of them is freed whole; asyncio's 256 KiB receive
#: buffer then costs an mmap and a munmap per message. A fixed, larger threshold keeps it on the heap from the start. It
#: also ends glibc's own adjustment of the trim threshold (mallopt(3)), which at its 128 KiB would give the buffer back
#: and fetch it again by two brk calls per message; so that one has to be fixed as well.
_MMAP_SETTING = {"MALLOC_MMAP_THRESHOLD_": "1048576", "MALLOC_TRIM_THRESHOLD_": "4194304"}


@dataclass(frozen=True)
class Contender:
    """One column of the comparison. ``python`` says whether it is an event loop; otherwise it is a C program.

    ``environment`` is what its processes get beside the caller's; ``loop`` the name by which the server programs know
    the loop, where that is not the contender's: the same loop from another ``PYTHONPATH`` is a contender of its own.
    ``io_cpus`` is how many CPUs beside the server's its kernel threads get, for the submissions of as many rings; which
    they are depends on the machine, so their numbers come into the environment when a run begins.
    """

    name: str
    python: bool = True
    environment: dict[str, str] = field(default_factory=dict)
    loop: str = ""
    io_cpus: int = 0

    @property
    def loop_name(self) -> str:
        """What ``--loop`` of a server program has to say."""
        return self.loop or self.name

    def surroundings(self, settings: Settings) -> dict[str, str]:
        """Return what its processes get beside the caller's environment.

        Raises:
            BenchError: it needs more CPUs than there are.
        """
        if not self.io_cpus:
            return self.environment
        cpus = settings.extra_cpus(self.io_cpus)
        return {**self.environment, IO_CPUS: ",".join(map(str, cpus))}

    def runs(self, row: Row) -> bool:
        """Whether this contender can serve the row: each C server serves a few kinds of bare protocols."""
        return self.python or self.name in row.program.c_servers

    def command(self, row: Row, settings: Settings) -> list[str]:
        """Return the command line that starts its server for a row.

        Raises:
            BenchError: something that the server needs cannot be made.
        """
        if self.python:
            program = [sys.executable, str(SERVERS / row.program.server), "--loop", self.loop_name]
            return program + server_arguments(settings.scratch, row)
        if row.program.server.startswith("relay"):
            program = [sys.executable, str(SERVERS / "relay_in_c.py"), str(settings.programs / "relay_uring")]
            return [*program, *map(str, buffer_pool(row))]
        if self.name == "c-uring":
            return [str(settings.programs / "echo_uring"), *map(str, buffer_pool(row))]
        if self.name == "c-packets":
            content = [random_file(settings.scratch, row.size)] if row.kind == "packet_send" else []
            return [str(settings.programs / "packet_server"), *row.program.c_words, *content]
        return [str(settings.programs / "echo_epoll")]


ALL = {
    contender.name: contender
    for contender in (
        Contender("c-uring", python=False),
        Contender("c-epoll", python=False),
        Contender("c-packets", python=False),
        Contender("netloop"),
        Contender("netloop-spin"),
        Contender("netloop-stalls", environment={"NETLOOP_STALL_THRESHOLD": "0.1"}, loop="netloop"),
        Contender("netloop-metrics"),
        Contender("netloop-copies"),
        Contender("netloop-again", loop="netloop"),
        Contender("netloop-io1", loop="netloop", io_cpus=1),
        Contender("netloop-io2", loop="netloop", io_cpus=2),
        Contender("uvloop"),
        Contender("asyncio"),
        Contender("asyncio-mmap", environment=_MMAP_SETTING),
        Contender("rsloop"),
        Contender("zuvloop"),
        Contender("rloop"),
        Contender("aiofastnet"),
    )
}

#: Measured only when named on the command line: what a setting of netloop's costs is a question of its own, and so is
#: what the method makes of one loop that is measured twice.
ON_REQUEST = ("netloop-stalls", "netloop-metrics", "netloop-copies", "netloop-again", "netloop-io1", "netloop-io2")
#: Measured in every row; the others in the rows that :data:`harness.rows.PEERS` lists.
MAIN = ("c-uring", "c-epoll", "c-packets", "netloop", "uvloop", "asyncio")
PEERS = tuple(name for name in ALL if name not in (*MAIN, *ON_REQUEST))


def _power_of_two(value: int) -> int:
    return 1 << max(value - 1, 0).bit_length()


def buffer_pool(row: Row) -> tuple[int, int]:
    """Return count and size of the C server's receive buffers: two messages per connection, within 16 MiB.

    A pool much larger than what is under way would only be cold in the cache.
    """
    size = min(max(_power_of_two(row.size or 64), _BUFFER_MIN), _BUFFER_MAX)
    wanted = 2 * row.connections * row.depth * max(1, row.size // size)
    return min(max(_power_of_two(wanted), 64), _POOL_MAX // size, 32768), size


@dataclass(frozen=True)
class Availability:
    """Whether a contender can run here: its version, or the reason why not."""

    version: str | None
    reason: str | None = None


def check(contender: Contender, settings: Settings) -> Availability:
    """Find out in a process of its own whether a contender works here."""
    if not contender.python:
        return _check_c_server(contender, settings)
    arguments = [sys.executable, str(SERVERS / "loop_factories.py"), contender.loop_name, str(contender.io_cpus)]
    try:
        place = server_environment(contender.surroundings(settings))
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=CHECK_TIMEOUT, check=False, env=place)
    except BenchError as error:
        return Availability(None, str(error))
    except subprocess.TimeoutExpired:
        return Availability(None, f"making a loop took longer than {CHECK_TIMEOUT:.0f} s")
    said = (done.stdout.strip() or done.stderr.strip() or f"ended with status {done.returncode}").splitlines()
    if done.returncode == 0:
        return Availability(said[-1])
    if done.returncode == _NOT_INSTALLED:
        return Availability(None, f"not installed ({said[0]})")
    return Availability(None, f"refuses to run: {said[-1]}")


def _check_c_server(contender: Contender, settings: Settings) -> Availability:
    try:
        row = Row("udp" if contender.name == "c-packets" else "protocol", 1, 64)
        with Server(contender.command(row, settings), {}, None):
            return Availability("C")
    except BenchError as error:
        return Availability(None, str(error))


def package_versions(names: Iterable[str]) -> dict[str, str | None]:
    """Return the versions of Python packages; None for one that is not installed."""
    found: dict[str, str | None] = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found
