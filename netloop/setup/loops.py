"""Making a netloop event loop, and the fallback where io_uring is refused."""

from __future__ import annotations

import asyncio
import errno as errnos
import importlib
import logging
import os
import sys
from collections.abc import Iterable
from typing import Final, Literal, cast, get_args

from netloop.setup.unavailable import Unavailable

__all__ = ["FallbackName", "chosen_fallback", "load_event_loop", "new_event_loop"]

FallbackName = Literal["uvloop", "asyncio"]
"""The loops that can stand in where io_uring is not available."""

_VARIABLE: Final = "NETLOOP_FALLBACK"

# Another loop would meet these just the same, a little later and with a worse message.
_NEVER_FALL_BACK: Final = frozenset({errnos.ENOMEM, errnos.EMFILE, errnos.ENFILE})

_logger = logging.getLogger("asyncio")


def new_event_loop(
    *, io_cpus: Iterable[int] | None = None, fallback: FallbackName | None = None
) -> asyncio.AbstractEventLoop:
    """Make a new event loop on a ring of its own.

    Args:
        io_cpus: as in :class:`netloop.EventLoop`.
        fallback: the loop to make instead when io_uring cannot be set up. Without it the environment variable
            ``NETLOOP_FALLBACK`` decides, and without that either the call is strict. Falling back logs one WARNING to
            the logger ``asyncio``. Lack of memory (ENOMEM) or descriptors (EMFILE, ENFILE) never falls back.

    Raises:
        Unavailable: io_uring cannot be set up, and there is no fallback for it.
        ImportError: the fallback is ``uvloop`` and that is not installed; or netloop itself cannot run on this Python.
        ValueError: the fallback is not one of the names it may be.
    """
    name = chosen_fallback(fallback)
    loop_class = load_event_loop()
    try:
        return loop_class() if io_cpus is None else loop_class(io_cpus=io_cpus)  # type: ignore[call-arg]
    except Unavailable as refused:
        if name is None or refused.errno in _NEVER_FALL_BACK:
            raise
        loop = _make_fallback(name, refused)
        _logger.warning("netloop: falling back to %s, because %s. Remedy: %s", name, _reason(refused), refused.remedy)
        return loop


def load_event_loop() -> type[asyncio.BaseEventLoop]:
    """Import the compiled modules and return the loop's class.

    Raises:
        ImportError: this is not Linux, or a Python or a second interpreter that netloop cannot run on, or its compiled
            modules are missing.
    """
    if sys.platform != "linux":
        raise ImportError(f"netloop needs Linux, because io_uring is part of its kernel; this is {sys.platform}")
    if sys.implementation.name != "cpython":
        raise ImportError(
            f"netloop needs CPython, whose C interface its modules are written for; this is {sys.implementation.name}"
        )
    if sys.version_info < (3, 14) and not getattr(sys, "_is_gil_enabled", lambda: True)():
        raise ImportError(
            "netloop runs without the global interpreter lock from Python 3.14 on: before that, asyncio itself does "
            "not. Use a later version, or have the lock with PYTHON_GIL=1"
        )
    try:
        module = importlib.import_module("netloop.event_loop")
    except ModuleNotFoundError as missing:
        if missing.name is None or not missing.name.startswith("netloop."):
            raise
        raise ImportError(
            f"netloop's compiled module {missing.name} is missing, so netloop was not built here: run "
            "`pip install .` in its source directory, and do not import it from the unbuilt sources",
            name=missing.name,
        ) from missing
    except ImportError as refused:
        why = str(refused).rstrip(".")
        if "interpreter" not in why:
            raise
        raise ImportError(
            "netloop runs in one interpreter of a process, the first that makes a loop, and in no isolated one "
            f"({why}). Run its loops in that interpreter, in several threads if need be, or in processes"
        ) from refused
    return cast("type[asyncio.BaseEventLoop]", module.EventLoop)


def chosen_fallback(fallback: str | None) -> FallbackName | None:
    """The fallback asked for by the argument or else by ``NETLOOP_FALLBACK``; None when neither asks.

    Raises:
        ValueError: the name is not one of those it may be.
    """
    source, name = ("fallback", fallback) if fallback is not None else (_VARIABLE, os.environ.get(_VARIABLE) or None)
    if name is None or name in get_args(FallbackName):
        return cast("FallbackName | None", name)
    good = " or ".join(repr(one) for one in get_args(FallbackName))
    raise ValueError(f"{source} must be {good}, not {name!r}")


def _reason(refused: Unavailable) -> str:
    name = errnos.errorcode.get(refused.errno or 0, str(refused.errno))
    return f"io_uring cannot be set up ({name}): {refused.cause}"


def _make_fallback(name: FallbackName, refused: Unavailable) -> asyncio.AbstractEventLoop:
    if name == "asyncio":
        # Not asyncio.new_event_loop(): after install() that would ask netloop's policy, which would come back here.
        return asyncio.SelectorEventLoop()
    try:
        uvloop = importlib.import_module("uvloop")
    except ImportError as missing:
        raise ImportError(
            f"io_uring is not available and the fallback uvloop cannot be imported ({missing}): install it with "
            f"`pip install uvloop`, or use fallback='asyncio'; or remedy that {_reason(refused)}: {refused.remedy}",
            name="uvloop",
        ) from refused
    return cast(asyncio.AbstractEventLoop, uvloop.new_event_loop())
