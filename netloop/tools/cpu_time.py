"""The CPU time of a process, with what the kernel's workers do for its rings."""

from __future__ import annotations

from pathlib import Path

__all__ = ["cpu_seconds"]


def cpu_seconds(pid: int) -> float | None:
    """The CPU time that a process's threads have used so far, the kernel's workers for its rings included.

    Args:
        pid: the process.

    Returns:
        Seconds, from /proc/PID/task/*/schedstat (proc(5)), in nanoseconds there; None where the kernel does not
        keep that file or the process has ended.
    """
    total = 0
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            try:
                total += int((task / "schedstat").read_text().split()[0])
            except (FileNotFoundError, ProcessLookupError):
                # A thread that has just ended, unless the kernel keeps no such file at all.
                if not (task.parent.parent / "schedstat").exists():
                    return None
    except (OSError, ValueError, IndexError):
        return None
    return total / 1e9
