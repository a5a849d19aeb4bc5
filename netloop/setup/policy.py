"""The asyncio policy that makes netloop's loops. Import it only where a policy is needed: see below."""

from __future__ import annotations

import asyncio
import warnings
from typing import TYPE_CHECKING

from netloop.setup.loops import FallbackName, chosen_fallback, new_event_loop

__all__ = ["EventLoopPolicy"]

if TYPE_CHECKING:
    _DefaultPolicy = asyncio.DefaultEventLoopPolicy
else:
    with warnings.catch_warnings():
        # Python 3.14 deprecates the very name. A program that uses a policy hears of it from asyncio when it sets
        # one; hearing of it at this import as well would help nobody.
        warnings.simplefilter("ignore", DeprecationWarning)
        _DefaultPolicy = asyncio.DefaultEventLoopPolicy


class EventLoopPolicy(_DefaultPolicy):
    """An asyncio policy whose new loops are netloop's; may be subclassed.

    Everything but the making of loops is asyncio's default policy, so ``get_event_loop()`` follows the rules of the
    Python version that runs: whether it makes a loop in the main thread, warns about it or raises.

    Args:
        fallback: as in :func:`netloop.new_event_loop`.

    Raises:
        ValueError: the fallback is not one of the names it may be.
    """

    def __init__(self, *, fallback: FallbackName | None = None) -> None:
        super().__init__()
        chosen_fallback(fallback)
        self._fallback: FallbackName | None = fallback

    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        """A new loop, as :func:`netloop.new_event_loop` makes it, with the errors it raises."""
        return new_event_loop(fallback=self._fallback)
