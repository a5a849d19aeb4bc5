"""A real connection through a real loop: what a probe promises is believed when data has come back.

The loop runs in a thread of its own, so that one that never returns from the kernel can be told of, too.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any, Final

from netloop.setup.loops import load_event_loop

__all__ = ["TrialError", "try_loop"]

HOST: Final = "127.0.0.1"
MESSAGE: Final = bytes(range(256)) * 16
SECONDS: Final = 5.0


class TrialError(Exception):
    """The loop was made, and then something went wrong; the message says what was tried and how it failed."""


class _Echo(asyncio.Protocol):
    """The server's side; it tells when its connection has come, and when it has ended."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.accepted: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[None] = loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self.transport = transport
        self.accepted.set_result(None)

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)

    def connection_lost(self, error: Exception | None) -> None:
        if error is None:
            self.ended.set_result(None)
        else:
            self.ended.set_exception(error)


class _Trial:
    """One run of a loop.

    Args:
        factory: makes the loop.
        seconds: how long the connection may take.
    """

    def __init__(self, factory: Callable[[], asyncio.AbstractEventLoop], seconds: float) -> None:
        self.factory = factory
        self.seconds = seconds
        self.stage = "making a loop"
        self.reported: list[str] = []
        self.failure: BaseException | None = None

    def run(self) -> None:
        """Make a loop, have a connection on it, and close it; what fails is kept in ``failure``."""
        try:
            loop = self.factory()
            loop.set_exception_handler(self._note_report)
            try:
                self._run_on(loop)
            finally:
                self.stage = "closing the loop"
                loop.close()
        except BaseException as failure:
            self.failure = failure

    def _run_on(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            loop.run_until_complete(asyncio.wait_for(self._talk(loop), self.seconds))
        except TimeoutError:
            raise TrialError(self.told(f"no end after {self.seconds:g} s")) from None
        except (OSError, EOFError) as error:
            raise TrialError(self.told(str(error))) from error
        if self.reported:
            raise TrialError(self.told("the loop has complained"))

    async def _talk(self, loop: asyncio.AbstractEventLoop) -> None:
        self.stage = f"listening on {HOST}"
        echo = _Echo(loop)
        async with await loop.create_server(lambda: echo, HOST, 0) as server:
            self.stage = f"connecting to {HOST}"
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            try:
                self.stage = "accepting a connection"
                await echo.accepted
                self.stage = "sending and receiving"
                writer.write(MESSAGE)
                if await reader.readexactly(len(MESSAGE)) != MESSAGE:
                    raise TrialError(self.told("other bytes came back than were sent"))
                self.stage = "closing a connection"
                writer.close()
                await writer.wait_closed()
                await echo.ended
            finally:
                # Where the trial has failed, nobody else is going to end the connection.
                writer.transport.abort()
            self.stage = "closing a server"

    def _note_report(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        self.reported.append(context["message"] + (f": {error!r}" if error else ""))

    def told(self, what: str) -> str:
        """What was tried, how it ended, and what the loop has reported meanwhile."""
        return f"{self.stage}: " + "; ".join([what, *dict.fromkeys(self.reported)])


def try_loop(factory: Callable[[], asyncio.AbstractEventLoop] | None = None, *, seconds: float = SECONDS) -> None:
    """Accept a connection on loopback, receive, send and close, all on one loop.

    Args:
        factory: makes the loop; netloop's, without a fallback, unless given.
        seconds: how long the connection may take, and, after that, the loop's end.

    Raises:
        OSError, ImportError: there is no loop.
        TrialError: the loop does not do what it should.
    """
    trial = _Trial(factory or load_event_loop(), seconds)
    thread = threading.Thread(target=trial.run, name="netloop-doctor", daemon=True)
    thread.start()
    thread.join(2 * seconds)
    if thread.is_alive():
        raise TrialError(trial.told("the loop does not return"))
    if trial.failure is not None:
        raise trial.failure
