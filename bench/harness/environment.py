"""Where a run was made: what a reader needs to judge or repeat it. Nothing that names the machine or its user."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from typing import Any

from harness.c_build import compiler

_VERSION_TIMEOUT = 10.0


def _cpu_model() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.machine()


def _congestion_control() -> str:
    try:
        with open("/proc/sys/net/ipv4/tcp_congestion_control", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return "unknown"


def _first_line(*command: str) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_VERSION_TIMEOUT, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = done.stdout.splitlines()
    return lines[0] if lines else None


def describe() -> dict[str, Any]:
    """Return kernel, CPU, memory, Python, compiler and tracer of this machine, the load on it, and the time."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "kernel": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "cpu": _cpu_model(),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory, 1),
        "congestion_control": _congestion_control(),
        "load_average_before": round(os.getloadavg()[0], 2),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "libc": " ".join(platform.libc_ver()),
        "compiler": _first_line(compiler(), "--version"),
        "strace": _first_line("strace", "--version"),
    }
