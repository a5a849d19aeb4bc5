"""Makes every loop that a program of asyncio's makes a loop of netloop's, also where it names asyncio's own class."""

from __future__ import annotations

import asyncio
import asyncio.unix_events
from typing import Any

import netloop

__all__ = ["BoundLoop", "bind"]


class BoundLoop(netloop.EventLoop):
    """netloop's loop where a test asks for asyncio's by its name, and says which selector it wants."""

    # One test names its class in the message of an assertion.
    _selector = None

    def __init__(self, selector: Any = None) -> None:
        if selector is not None:
            selector.close()
        super().__init__()


def bind() -> None:
    """Make every way in which tests come to a loop lead to netloop.

    They name the class, or take what the policy gives; setting the policy to None, as each module of CPython's tests
    does at its end, brings back the default one, so that is what must change.
    """
    module: Any = asyncio.unix_events
    module._UnixDefaultEventLoopPolicy._loop_factory = BoundLoop
    for place in (asyncio, module):
        for name in ("SelectorEventLoop", "EventLoop"):
            if hasattr(place, name):
                setattr(place, name, BoundLoop)
