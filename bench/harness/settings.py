"""How a run is made: windows, repeats, CPUs. Filled in by the command line, read by everything that measures."""

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    """Times are in seconds; ``budget`` is the time after which no further measurement begins."""

    programs: Path
    repeats: int
    seconds: float
    warmup: float
    trace_seconds: float
    budget: float
    server_cpu: int | None
    load_cpu: int | None
    seed: int
    tracing: bool = True


def choose_cpus() -> tuple[int | None, int | None]:
    """Return a CPU for the server and another for the load; with one CPU allowed, none are pinned."""
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        return None, None
    # The last ones: interrupts and other services tend to live on CPU 0.
    return allowed[-1], allowed[-2]
