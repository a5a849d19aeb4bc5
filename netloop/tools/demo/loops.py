"""The loops that the demo compares, and how each is made."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
from typing import Final, cast

import netloop

__all__ = ["LOOPS", "installed", "new_loop"]

LOOPS: Final = ("netloop", "uvloop", "asyncio")


def installed(name: str) -> bool:
    """Whether the package that makes this loop can be imported."""
    return importlib.util.find_spec(name) is not None


def new_loop(name: str) -> asyncio.AbstractEventLoop:
    """Make the loop of this name, and no other in its place.

    Args:
        name: one of :data:`LOOPS`.

    Raises:
        Unavailable: netloop cannot set up io_uring here.
        ImportError: the loop's package is not installed.
    """
    if name == "netloop":
        # Not new_event_loop(), which NETLOOP_FALLBACK could turn into another loop under netloop's name.
        return netloop.EventLoop()
    if name == "uvloop":
        return cast(asyncio.AbstractEventLoop, importlib.import_module("uvloop").new_event_loop())
    return asyncio.SelectorEventLoop()
