"""What the commands' child processes do to themselves before they start, and the environment they are started in."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from pathlib import Path
from typing import Final

import netloop

__all__ = ["allow_tracing", "child_environment", "die_with_parent", "pin"]

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_PTRACER: Final = 0x59616D61
_ANYBODY: Final = ctypes.c_ulong(-1)


def child_environment() -> dict[str, str]:
    """The environment of a child that imports the netloop that runs here.

    Without it the child would look for netloop on the path alone, and this one may have been found elsewhere: in the
    current directory, or where a program has put it on ``sys.path``.
    """
    here = str(Path(netloop.__file__).resolve().parent.parent)
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH"))))}


def die_with_parent(parent: int) -> None:
    """Have the kernel terminate this process when the one that started it ends, however it ends (prctl(2)).

    Args:
        parent: the id of the process that started this one.
    """
    _prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGTERM))
    if os.getppid() != parent:
        sys.exit("the process that started this one has ended")


def allow_tracing() -> None:
    """Let strace attach to this process where the kernel's Yama module would only let an ancestor."""
    _prctl(_PR_SET_PTRACER, _ANYBODY)


def pin(cpu: int | None) -> None:
    """Run on this CPU only; None leaves the choice to the kernel. Threads made later inherit it."""
    if cpu is not None:
        os.sched_setaffinity(0, {cpu})


def _prctl(option: int, value: ctypes.c_ulong) -> None:
    ctypes.CDLL(None).prctl(option, value, ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0))
