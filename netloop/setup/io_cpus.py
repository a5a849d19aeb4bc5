"""CPUs on which the kernel does a loop's I/O: what a program may ask for, and why the kernel refuses it."""

from __future__ import annotations

import errno as errnos
import math
import os
from collections.abc import Iterable
from typing import Final

from netloop.setup.surroundings import Surroundings
from netloop.setup.unavailable import Diagnosis, Unavailable, explain

__all__ = ["IDLE_DEFAULT", "asked_cpus", "explain_poller", "idle_milliseconds", "parse_cpus"]

IDLE_DEFAULT: Final = 0.002
"""For how long a poller finds nothing to do before it sleeps, in seconds."""

_VARIABLE: Final = "NETLOOP_IO_CPUS"
_LONGEST_IDLE: Final = 60.0
# So many rings can one loop wait for (NL_POLLED_MOST).
_MOST: Final = 64
# Linux can be built for 8192. A range of many more is a slip, which should not take the machine's memory.
_MOST_CPUS: Final = 65_536


def parse_cpus(text: str) -> tuple[int, ...]:
    """CPUs as a person writes them, and the kernel in its lists: "3", "2,3", "4-7".

    Raises ValueError if that is no such list.
    """
    cpus: list[int] = []
    try:
        for part in text.split(","):
            first, dash, last = part.partition("-")
            lowest = int(first)
            highest = int(last) if dash else lowest
            if not 0 <= lowest <= highest <= lowest + _MOST_CPUS:
                raise ValueError
            cpus += range(lowest, highest + 1)
    except ValueError:
        raise ValueError(f"CPUs are given as in '3', '2,3' or '4-7', not as {text!r}") from None
    return tuple(cpus)


def asked_cpus(cpus: Iterable[int] | None) -> tuple[int, ...]:
    """The CPUs asked for by the argument, or else by ``NETLOOP_IO_CPUS``; empty when neither asks.

    Raises:
        TypeError: it is no sequence of numbers.
        ValueError: a number is negative or stands there twice, there are more than 64, or the variable is no list of
            CPUs.
    """
    if cpus is None:
        text = os.environ.get(_VARIABLE, "").strip()
        try:
            chosen = parse_cpus(text) if text else ()
        except ValueError as error:
            raise ValueError(f"{_VARIABLE}: {error}") from None
    else:
        if isinstance(cpus, str | bytes | int):
            raise TypeError(f"io_cpus must be a sequence of numbers of CPUs, as [3], not {cpus!r}")
        chosen = tuple(cpus)
    for cpu in chosen:
        if not isinstance(cpu, int) or isinstance(cpu, bool):
            raise TypeError(f"io_cpus must hold numbers of CPUs, not {cpu!r}")
        if cpu < 0:
            raise ValueError(f"io_cpus must hold numbers of CPUs, which are not negative as {cpu} is")
    if len(chosen) > _MOST:
        raise ValueError(f"io_cpus must name at most {_MOST} CPUs, not {len(chosen)}")
    if len(set(chosen)) < len(chosen):
        raise ValueError(f"io_cpus must name each CPU once, not {list(chosen)}")
    return chosen


def idle_milliseconds(seconds: float) -> int:
    """The idle time of a poller in the kernel's unit. Raises ValueError if it is out of range."""
    if not 0 < seconds <= _LONGEST_IDLE:
        raise ValueError(f"io_idle must be more than 0 and at most {_LONGEST_IDLE:g} seconds, not {seconds}")
    return math.ceil(seconds * 1000)


def explain_poller(
    errno: int, cpus: tuple[int, ...], rings_are_allowed: bool, *, surroundings: Surroundings | None = None
) -> Unavailable:
    """The exception that says why the kernel has refused a ring whose I/O it is to do on one of these CPUs.

    Args:
        errno: the (positive) error number.
        cpus: the CPUs asked for.
        rings_are_allowed: whether the kernel lets this process have rings of the usual kind.
        surroundings: where the evidence is read; this machine's /proc and /sys unless given.
    """
    around = surroundings or Surroundings()
    diagnosis = None
    if errno == errnos.EINVAL:
        diagnosis = _not_on_that_cpu(around, cpus)
    elif errno == errnos.EAGAIN:
        diagnosis = _too_many_threads(around)
    elif errno in (errnos.EPERM, errnos.EACCES) and rings_are_allowed:
        diagnosis = Diagnosis(
            "io_cpus: a security module lets this process have rings, but no thread of the kernel's that submits for "
            "them (SELinux calls that permission io_uring sqpoll)",
            "allow it, for which the audit log shows the denial, or do without io_cpus",
            ("a ring without such a thread can be made",),
        )
    return Unavailable(errno, *diagnosis) if diagnosis else explain(errno, surroundings=surroundings)


def _not_on_that_cpu(around: Surroundings, cpus: tuple[int, ...]) -> Diagnosis | None:
    for source, path, cause, remedy in (
        ("online", "/sys/devices/system/cpu/online", "there is no CPU {} here, or it is offline", ""),
        (
            "in the cpuset",
            _cpuset(around),
            "the control group's cpuset does not let this process use CPU {}",
            ", or give the container or service that CPU (docker run --cpuset-cpus=, AllowedCPUs= of systemd)",
        ),
    ):
        listed = around.read(path)
        allowed = set(parse_cpus(listed)) if listed else None
        refused = [cpu for cpu in cpus if allowed is not None and cpu not in allowed]
        if refused:
            return Diagnosis(
                "io_cpus: " + cause.format(" or ".join(map(str, refused))),
                f"name CPUs among {listed}{remedy}",
                (f"{source} are the CPUs {listed} ({path})",),
            )
    return None


def _too_many_threads(around: Surroundings) -> Diagnosis:
    soft, hard = around.limit("Max processes") or ("unknown", "unknown")
    return Diagnosis(
        "io_cpus: a limit on processes and threads is used up, and the kernel's thread counts as one of this process's",
        "raise it with `ulimit -u`, `docker run --pids-limit=` or TasksMax= of systemd, end threads that are no longer "
        "used, or do without io_cpus",
        (
            f"RLIMIT_NPROC is {soft} (at most {hard})",
            f"threads of this process: {around.status('Threads') or 'unknown'}",
        ),
    )


def _cpuset(around: Surroundings) -> str:
    """The file that lists the CPUs of this process's control group."""
    groups = [line.split(":", 2) for line in (around.read("/proc/self/cgroup") or "").splitlines()]
    paths = {controllers: path.rstrip("/") for _, controllers, path in groups}
    # Where both versions are in use, a controller is in one of them only, and version 1 names it.
    version_1 = next((path for controllers, path in paths.items() if "cpuset" in controllers.split(",")), None)
    if version_1 is None and "" in paths:
        return f"/sys/fs/cgroup{paths['']}/cpuset.cpus.effective"
    own = f"/sys/fs/cgroup/cpuset{version_1 or ''}/cpuset.cpus"
    # A container sees its own group where others see the first one.
    return own if around.exists(own) else "/sys/fs/cgroup/cpuset/cpuset.cpus"
