"""Refusing to be run inside itself, by libraries that patch a loop's class to that end."""

from __future__ import annotations

import sys
from typing import Any

from netloop.hosted.loop_mixin import LoopMixin

__all__ = ["NoNesting"]


class NoNesting(LoopMixin):
    """The part of a loop that does not let nest_asyncio patch it."""

    @property
    def _nest_patched(self) -> Any:
        """What nest_asyncio.apply() looks for, before it replaces the methods that run loops of this class.

        They would then run asyncio's way of a turn, which looks for a selector: no loop of this class would run any
        more. asyncio's own are all it knows how to patch, and it refuses uvloop's itself, because they are no
        asyncio.BaseEventLoop. This one is.

        Raises:
            ValueError: nest_asyncio asks.
            AttributeError: anybody else does.
        """
        asker = sys._getframe(1).f_globals.get("__name__", "")
        if asker.partition(".")[0].startswith("nest_asyncio"):
            raise ValueError(
                f"Can't patch loop of type {type(self)}: it does not run inside itself. Await the coroutine, or run it "
                "on a loop of its own in another thread; or use asyncio's own loop in this program"
            )
        raise AttributeError(f"{type(self).__name__!r} object has no attribute '_nest_patched'")
