"""Whether the kernel does the I/O of this process's loops on CPUs of its own, if a program asks for that."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

from netloop.setup.loops import load_event_loop
from netloop.setup.unavailable import Unavailable
from netloop.tools.doctor.limits import Limit
from netloop.tools.doctor.trial import TrialError, try_loop

__all__ = ["try_poller"]

_NAME: Final = "I/O on CPUs of its own"


def try_poller(attempt: Callable[[int], None] | None = None) -> Limit:
    """Have a real connection on a loop with a poller, on a CPU that this process may use; what came of it.

    Args:
        attempt: has that connection with a poller on the CPU of this number, or raises as ``try_loop`` does.
    """
    cpus = sorted(os.sched_getaffinity(0))
    try:
        (attempt or _attempt)(cpus[-1])
    except Unavailable as refused:
        return Limit(_NAME, "refused", f"{refused.cause}; {refused.remedy}")
    except (OSError, TrialError) as failed:
        return Limit(_NAME, "failed", str(failed))
    remark = "" if len(cpus) > 1 else "there is one CPU only, so that it would cost more than it gains"
    return Limit(_NAME, f"possible, for instance io_cpus=[{cpus[-1]}]", remark)


def _attempt(cpu: int) -> None:
    loop_class = load_event_loop()
    try_loop(lambda: loop_class(io_cpus=[cpu]))  # type: ignore[call-arg]
