"""Which CPUs a worker runs on, and on which the kernel does its I/O."""

from __future__ import annotations

import os
from collections.abc import Sequence

from netloop.tools.serve.say import say

__all__ = ["io_cpus_of_workers", "own_cpus_of_workers"]


def io_cpus_of_workers(workers: int, cpus: Sequence[int] | None) -> list[Sequence[int] | None]:
    """Each worker's share of the CPUs for I/O, which are given out in turn; if there are too few, several share one.

    None where the workers' environment decides.
    """
    if not cpus:
        return [cpus] * workers
    if workers > len(cpus):
        # Each has one nevertheless: a thread of the kernel's is no faster for having to share several with others.
        say(f"--io-cpus: {workers} workers share {len(cpus)} {'CPU' if len(cpus) == 1 else 'CPUs'}")
        return [[cpus[number % len(cpus)]] for number in range(workers)]
    return [cpus[number::workers] for number in range(workers)]


def own_cpus_of_workers(workers: int, pin: bool, io_cpus: Sequence[int] | None) -> list[int | None]:
    """The CPU to which each worker is bound; if there are too few, several share one.

    It is none of those for I/O if there are others.
    """
    if not pin:
        return [None] * workers
    allowed = os.sched_getaffinity(0)
    cpus = sorted(allowed - set(io_cpus or ())) or sorted(allowed)
    if workers > len(cpus):
        say(f"--pin: {workers} workers share {len(cpus)} {'CPU' if len(cpus) == 1 else 'CPUs'}")
    return [cpus[number % len(cpus)] for number in range(workers)]
