"""How a run is made: windows, repeats, CPUs. Filled in by the command line, read by everything that measures."""

import dataclasses
import os
from pathlib import Path
from typing import Any

from harness.errors import BenchError


@dataclasses.dataclass(frozen=True)
class Settings:
    """Times are in seconds; ``budget`` is the time after which no further measurement begins.

    ``programs`` is the directory of the compiled programs, ``scratch`` one for the files of this run.
    """

    programs: Path
    scratch: Path
    repeats: int
    seconds: float
    warmup: float
    trace_seconds: float
    budget: float
    server_cpu: int | None
    load_cpu: int | None
    seed: int
    tracing: bool = True

    def public(self) -> dict[str, Any]:
        """Return what a reader of the results needs, without the names of directories."""
        settings = dataclasses.asdict(self)
        del settings["programs"], settings["scratch"]
        return settings

    def extra_cpus(self, count: int) -> list[int]:
        """Return that many CPUs beside the server's: those that nobody has, and then the load generator's.

        Raises:
            BenchError: there are not so many.
        """
        free = sorted(os.sched_getaffinity(0) - {self.server_cpu, self.load_cpu}, reverse=True)
        found = [*free, *([] if self.load_cpu is None else [self.load_cpu])]
        if self.server_cpu is None or len(found) < count:
            raise BenchError(f"needs {count} CPU{'s' * (count > 1)} beside the server's, and there are {len(found)}")
        return found[:count]


def choose_cpus() -> tuple[int | None, int | None]:
    """Return a CPU for the server and another for the load; with one CPU allowed, none are pinned."""
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        return None, None
    # The last ones: interrupts and other services tend to live on CPU 0.
    return allowed[-1], allowed[-2]
