"""Serving in this process: the loop, the application's server, and what ends it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import importlib
import importlib.util
import inspect
import os
import signal
import socket
from collections.abc import Callable, Sequence
from typing import Any

from netloop.setup.loops import new_event_loop
from netloop.tools.serve.finding import BadApplication, is_aiohttp, is_graceful_exit, load_application
from netloop.tools.serve.options import Application
from netloop.tools.serve.say import say
from netloop.tools.serve.serving import CannotServe, Serving, until_quiet, until_received

__all__ = ["Ending", "Process"]


class Ending:
    """Whether this process has been told to end, and how soon."""

    def __init__(self) -> None:
        self.told = asyncio.Event()
        self.hurried = asyncio.Event()

    def ask(self) -> None:
        """End when the requests in progress are answered."""
        self.told.set()

    def hurry(self) -> None:
        """End at once."""
        self.hurried.set()
        self.told.set()


def end_by_signals(ending: Ending) -> None:
    """SIGTERM asks, Ctrl-C hurries; another Ctrl-C does not wait for the application to clean up."""
    loop = asyncio.get_running_loop()

    def interrupt() -> None:
        loop.remove_signal_handler(signal.SIGINT)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        ending.hurry()

    loop.add_signal_handler(signal.SIGTERM, ending.ask)
    loop.add_signal_handler(signal.SIGINT, interrupt)


@dataclasses.dataclass(frozen=True)
class Process:
    """One process that serves.

    Attributes:
        application: what to serve, and how.
        sockets: the sockets to listen on.
        on_serving: called when it serves.
        on_stopping: called when it has been told to end.
        listen_for_end: has whatever ends this process tell the ``Ending``; called in the running loop.
        quiet: how many seconds have to pass without a request before kept connections are closed.
    """

    application: Application
    sockets: Sequence[socket.socket]
    on_serving: Callable[[], None]
    on_stopping: Callable[[], None] = lambda: None
    listen_for_end: Callable[[Ending], None] = end_by_signals
    quiet: float = 0.0

    def run(self) -> int:
        """Serve until told to end.

        Returns:
            The exit status: 0 after serving; 1 where there is no loop or the application fails to start, 2 where there
            is no application. The reason has been printed.
        """
        if self.application.stall_threshold is not None:
            # The loop reads it from there, and so do those of the processes that the application starts.
            os.environ["NETLOOP_STALL_THRESHOLD"] = str(self.application.stall_threshold)
        try:
            loop = _new_loop(self.application)
        except (OSError, ImportError, ValueError) as refused:
            say(str(refused))
            return 1
        try:
            with asyncio.Runner(loop_factory=lambda: loop) as runner:
                runner.get_loop()
                runner.run(self._serve(load_application(self.application.name)))
        except BadApplication as bad:
            say(str(bad))
            return 2
        except CannotServe as refused:
            say(str(refused))
            return 1
        except SystemExit as ended:
            if not is_graceful_exit(ended):
                raise
        return 0

    async def _serve(self, found: Any) -> None:
        ending = Ending()
        self.listen_for_end(ending)
        starting = asyncio.ensure_future(self._start(found))
        told = asyncio.ensure_future(ending.told.wait())
        await asyncio.wait({starting, told}, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            starting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await starting
            return
        serving = await starting
        self.on_serving()
        try:
            await told
        finally:
            # Also when an exit from the loop, such as aiohttp's GracefulExit, has cancelled this.
            self.on_stopping()
            await self._stop(serving, ending)

    async def _start(self, found: Any) -> Serving:
        if inspect.isawaitable(found):
            found = await found
        serving = _serving_of(found, self.sockets, self.application)
        await serving.start()
        return serving

    async def _stop(self, serving: Serving, ending: Ending) -> None:
        loop = asyncio.get_running_loop()
        patience = self.application.graceful_timeout
        until = loop.time() + patience
        await serving.accept_no_more()
        if self.quiet:
            # Where it never becomes quiet, requests that come late have time left, too.
            await until_quiet(serving, self.quiet, ending.hurried, until - patience / 2)
        await until_received(serving, ending.hurried, until)
        await serving.stop(0 if ending.hurried.is_set() else max(0, until - loop.time()))


def _serving_of(found: Any, sockets: Sequence[socket.socket], application: Application) -> Serving:
    if is_aiohttp(found):
        if application.asgi is not None:
            raise CannotServe(
                f"--asgi {application.asgi}: {application.name} is an aiohttp application, not an ASGI one"
            )
        from netloop.tools.serve.aiohttp_serving import AiohttpServing

        return AiohttpServing(found, sockets, application)
    chosen = application.asgi or next(
        (name for name in ("uvicorn", "hypercorn") if importlib.util.find_spec(name) is not None), "uvicorn"
    )
    if importlib.util.find_spec(chosen) is None:
        raise CannotServe(f"an ASGI application needs {chosen}: pip install {chosen}")
    if chosen == "uvicorn":
        from netloop.tools.serve.uvicorn_serving import UvicornServing

        return UvicornServing(found, sockets, application)
    from netloop.tools.serve.hypercorn_serving import HypercornServing

    return HypercornServing(found, sockets, application)


def _new_loop(application: Application) -> asyncio.AbstractEventLoop:
    if application.loop == "netloop":
        return new_event_loop(io_cpus=application.io_cpus)
    if application.loop == "asyncio":
        return asyncio.SelectorEventLoop()
    try:
        uvloop = importlib.import_module("uvloop")
    except ImportError as missing:
        raise ImportError(f"--loop uvloop needs uvloop: pip install uvloop ({missing})") from missing
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop
