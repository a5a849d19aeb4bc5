"""Loops whose I/O a thread of the kernel's does, whatever the environment says, and what /proc tells of that thread."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import Any

from loop.patience import stretched

SETTLE_SECONDS = 5.0


def some_cpu() -> int:
    """A CPU that this process may use."""
    return min(os.sched_getaffinity(0))


def polled(**options: Any) -> Any:
    """A loop with a poller."""
    import netloop

    return netloop.EventLoop(io_cpus=[some_cpu()], **options)


def pollers() -> list[str]:
    """The numbers of this process's threads that are pollers."""
    found = []
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):  # it may end meanwhile
            if (task / "comm").read_text().startswith("iou-sqp"):
                found.append(task.name)
    return found


def pollers_settled(count: int) -> int:
    """How many there are, after the kernel had a moment to end those that nobody needs; ``count`` if that is so."""
    deadline = time.monotonic() + stretched(SETTLE_SECONDS)
    while len(pollers()) != count and time.monotonic() < deadline:
        time.sleep(0.005)
    return len(pollers())


def cpu_seconds(thread: str) -> float:
    """The CPU time that a thread of this process has taken."""
    fields = Path(f"/proc/self/task/{thread}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def wakeups(loop: Any) -> int:
    """How many times the loop has had to wake pollers."""
    return sum(ring.poller_wakeups for ring in loop.statistics().rings)
