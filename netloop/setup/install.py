"""The two ways in that concern a whole program: run() and install()."""

from __future__ import annotations

import asyncio
import inspect
import sys
import warnings
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

from netloop.setup.loops import FallbackName, chosen_fallback, load_event_loop, new_event_loop

__all__ = ["install", "run"]

_T = TypeVar("_T")


def run(
    main: Coroutine[Any, Any, _T],
    *,
    debug: bool | None = None,
    io_cpus: Iterable[int] | None = None,
    fallback: FallbackName | None = None,
) -> _T:
    """Run a coroutine on a new netloop event loop and close the loop afterwards, as ``asyncio.run`` does.

    Args:
        main: the coroutine to run.
        debug: asyncio's debug mode; None leaves it as the environment has it (``PYTHONASYNCIODEBUG``).
        io_cpus: as in :class:`netloop.EventLoop`.
        fallback: as in :func:`new_event_loop`.

    Returns:
        What the coroutine returns.

    Raises:
        RuntimeError: a loop already runs in this thread.
        Unavailable, ImportError, ValueError: as in :func:`new_event_loop`; the coroutine is then closed unstarted.
    """
    if asyncio._get_running_loop() is not None:
        raise RuntimeError("netloop.run() cannot be called from a running event loop: await the coroutine instead")
    runner = asyncio.Runner(debug=debug, loop_factory=lambda: new_event_loop(io_cpus=io_cpus, fallback=fallback))
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
    from netloop.setup.policy import EventLoopPolicy

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
