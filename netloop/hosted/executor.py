"""Shutting the default executor down, which asyncio before Python 3.13 does not let go of when it is cancelled.

It blocks the loop until the threads have ended, and then answers a future that nobody waits for any more.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import warnings
from asyncio import futures

from netloop.hosted.loop_mixin import LoopMixin

__all__ = ["DefaultExecutor"]


class DefaultExecutor(LoopMixin):
    """The part of a loop that ends its default executor."""

    if sys.version_info < (3, 12):

        async def shutdown_default_executor(self) -> None:
            """Wait until the default executor's threads have ended; see asyncio.loop.shutdown_default_executor.

            If it is cancelled, they end by themselves.
            """
            await self._end_executor()

    elif sys.version_info < (3, 13):

        async def shutdown_default_executor(self, timeout: float | None = None) -> None:
            """Wait until the default executor's threads have ended; see asyncio.loop.shutdown_default_executor.

            If it is cancelled, or takes longer than ``timeout`` seconds, they end by themselves.
            """
            if timeout is None or self._default_executor is None:
                await self._end_executor()
                return
            try:
                async with asyncio.timeout(timeout):
                    await self._end_executor()
            except TimeoutError:
                warnings.warn(
                    f"The executor did not finishing joining its threads within {timeout} seconds.",
                    RuntimeWarning,
                    stacklevel=2,
                )
                self._default_executor.shutdown(wait=False)

    if sys.version_info < (3, 13):

        async def _end_executor(self) -> None:
            self._executor_shutdown_called = True
            if self._default_executor is None:
                return
            future = self.create_future()
            thread = threading.Thread(target=self._do_shutdown, args=(future,))
            thread.start()
            await future
            while thread.is_alive():  # in its last moment; join() would block the loop
                await asyncio.sleep(0)

        def _do_shutdown(self, future: asyncio.Future[None]) -> None:
            """In a thread of its own: wait for the threads, and say so to a loop that still cares."""
            self._default_executor.shutdown(wait=True)
            if not self.is_closed():
                self.call_soon_threadsafe(futures._set_result_unless_cancelled, future, None)  # type: ignore[attr-defined]
