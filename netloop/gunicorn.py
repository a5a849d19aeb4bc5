"""A gunicorn worker that serves an aiohttp application on netloop.

Start it with ``gunicorn --worker-class netloop.gunicorn.AiohttpWorker module:app``. Each worker process makes its own
ring after the fork. ``NETLOOP_FALLBACK`` is honoured; without it a worker that cannot set up io_uring logs why and
gunicorn stops.

ASGI applications need no worker of netloop's: uvicorn takes ``--loop netloop:new_event_loop``, and uvicorn's worker for
gunicorn takes the same name as the ``loop`` entry of its ``CONFIG_KWARGS``.
"""

from __future__ import annotations

import asyncio

from aiohttp.worker import GunicornWebWorker

from netloop.setup.loops import new_event_loop

__all__ = ["AiohttpWorker"]


class AiohttpWorker(GunicornWebWorker):
    """aiohttp's own gunicorn worker, with a netloop event loop."""

    def init_process(self) -> None:
        """Make the loop, then start serving; called by gunicorn in the worker process.

        Raises:
            Unavailable: io_uring cannot be set up, and no fallback was asked for.
        """
        # aiohttp's method would ask asyncio's policy for a loop. This goes round it straight to gunicorn's, because
        # policies are on their way out of asyncio, and a loop that the master made before the fork is left alone:
        # closing it here would reach into descriptors that the master still uses.
        self.loop = new_event_loop()
        asyncio.set_event_loop(self.loop)
        super(GunicornWebWorker, self).init_process()
