"""What connections cost this machine: user-space memory of processes, memory of the kernel, CPU time."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from netloop.tools.cpu_time import cpu_seconds

__all__ = ["Snapshot", "memory_of", "snapshot"]


@dataclass(frozen=True)
class Snapshot:
    """One moment. Memory in bytes, CPU time and the clock in seconds; ``slab`` is what the kernel's allocator of
    objects holds, ``socket_buffers`` the data in TCP's buffers, ``available`` what could still be had.
    """

    clock: float
    server_memory: int
    server_cpu: float
    slab: int
    socket_buffers: int
    available: int


def _line_of(path: str, name: str) -> int:
    for line in Path(path).read_text(errors="replace").splitlines():
        if line.startswith(name):
            return int(line.split()[1])
    return 0


def memory_of(pid: int) -> int:
    """The proportional share of memory of a process, in bytes (Pss of proc_pid_smaps_rollup(5)); 0 if it is gone."""
    try:
        return _line_of(f"/proc/{pid}/smaps_rollup", "Pss:") * 1024
    except OSError:
        return 0


def _socket_buffers() -> int:
    """What TCP's buffers hold, in bytes (“mem” of /proc/net/sockstat, counted in pages)."""
    for line in Path("/proc/net/sockstat").read_text().splitlines():
        if line.startswith("TCP:"):
            words = line.split()
            return int(words[words.index("mem") + 1]) * 4096
    return 0


def snapshot(servers: Iterable[int]) -> Snapshot:
    """Look at the machine and at these server processes."""
    pids = list(servers)
    return Snapshot(
        clock=time.monotonic(),
        server_memory=sum(map(memory_of, pids)),
        server_cpu=sum(cpu_seconds(pid) or 0.0 for pid in pids),
        slab=_line_of("/proc/meminfo", "Slab:") * 1024,
        socket_buffers=_socket_buffers(),
        available=_line_of("/proc/meminfo", "MemAvailable:") * 1024,
    )
