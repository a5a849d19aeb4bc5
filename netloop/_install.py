"""Making a netloop event loop, and the fallback where io_uring is refused."""

from __future__ import annotations

import asyncio
import errno as errnos
import importlib
import inspect
import logging
import os
import sys
import sysconfig
import warnings
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, cast, get_args

from netloop._unavailable import Unavailable

if TYPE_CHECKING:
    from netloop.event_loop import EventLoop

__all__ = ["FallbackName", "chosen_fallback", "install", "load_event_loop", "new_event_loop", "run"]

FallbackName = Literal["uvloop", "asyncio"]
"""The loops that can stand in where io_uring is not available."""

_VARIABLE: Final = "NETLOOP_FALLBACK"
_T = TypeVar("_T")

# Another loop would meet these just the same, a little later and with a worse message.
_NEVER_FALL_BACK: Final = frozenset({errnos.ENOMEM, errnos.EMFILE, errnos.ENFILE})

_logger = logging.getLogger("asyncio")


def new_event_loop(*, fallback: FallbackName | None = None) -> asyncio.AbstractEventLoop:
    """Make a new event loop on a ring of its own.

    Args:
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
        return loop_class()
    except Unavailable as refused:
        if name is None or refused.errno in _NEVER_FALL_BACK:
            raise
        loop = _make_fallback(name, refused)
        _logger.warning("netloop: falling back to %s, because %s. Remedy: %s", name, _reason(refused), refused.remedy)
        return loop


def run(main: Coroutine[Any, Any, _T], *, debug: bool | None = None, fallback: FallbackName | None = None) -> _T:
    """Run a coroutine on a new netloop event loop and close the loop afterwards, as ``asyncio.run`` does.

    Args:
        main: the coroutine to run.
        debug: asyncio's debug mode; None leaves it as the environment has it (``PYTHONASYNCIODEBUG``).
        fallback: as in :func:`new_event_loop`.

    Returns:
        What the coroutine returns.

    Raises:
        RuntimeError: a loop already runs in this thread.
        Unavailable, ImportError, ValueError: as in :func:`new_event_loop`; the coroutine is then closed unstarted.
    """
    if asyncio._get_running_loop() is not None:
        raise RuntimeError("netloop.run() cannot be called from a running event loop: await the coroutine instead")
    runner = asyncio.Runner(debug=debug, loop_factory=lambda: new_event_loop(fallback=fallback))
    try:
        runner.get_loop()
    except Exception:
        # Nobody can run it any more; a warning that it was never awaited would only hide the real error.
        if inspect.iscoroutine(main):
            main.close()
        raise
    with runner:
        return runner.run(main)


def install(*, fallback: FallbackName | None = None) -> None:
    """Make netloop the loop that ``asyncio.run`` and ``asyncio.new_event_loop`` use, by setting asyncio's policy.

    The ring is only set up when a loop is made, so a refusal shows then. asyncio deprecates policies in Python 3.14
    and removes them in 3.16; :func:`run` and ``asyncio.Runner(loop_factory=netloop.new_event_loop)`` stay.

    Args:
        fallback: as in :func:`new_event_loop`.

    Raises:
        ImportError: netloop cannot run on this Python.
        ValueError: the fallback is not one of the names it may be.
    """
    chosen_fallback(fallback)
    load_event_loop()
    from netloop._policy import EventLoopPolicy

    if sys.version_info < (3, 14):
        asyncio.set_event_loop_policy(EventLoopPolicy(fallback=fallback))
        return
    warnings.warn(
        "netloop.install() sets asyncio's event loop policy, which Python 3.16 no longer has: use netloop.run(main()) "
        "or asyncio.Runner(loop_factory=netloop.new_event_loop)",
        DeprecationWarning,
        stacklevel=2,
    )
    with warnings.catch_warnings():
        # asyncio's own warning would name this file and not the caller's.
        warnings.simplefilter("ignore", DeprecationWarning)
        asyncio.set_event_loop_policy(EventLoopPolicy(fallback=fallback))


def load_event_loop() -> type[EventLoop]:
    """Import the compiled modules and return the loop's class.

    Raises:
        ImportError: this is not Linux, or a free-threaded Python, or netloop's compiled modules are missing.
    """
    if sys.platform != "linux":
        raise ImportError(f"netloop needs Linux, because io_uring is part of its kernel; this is {sys.platform}")
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        raise ImportError(
            "netloop does not run on a free-threaded Python: its compiled modules have not been audited for running "
            "without the global interpreter lock. Use the ordinary build of this Python version"
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
    return cast("type[EventLoop]", module.EventLoop)


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
