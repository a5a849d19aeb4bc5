"""A worker: one process that serves on sockets which its master has bound (``python -m netloop.tools.serve.worker``).

Its only argument is a ``WorkerSettings`` as JSON. SIGTERM asks it to end when the requests in progress are answered,
SIGQUIT to end at once. When its master is gone it ends as if it were asked to.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Callable
from typing import Final

from netloop.tools.children import die_with_parent, pin
from netloop.tools.serve.process import Ending, Process
from netloop.tools.serve.say import say
from netloop.tools.serve.settings import CLEAN_UP_SECONDS, SERVING, WorkerSettings

__all__ = ["main"]

_QUIET_SECONDS: Final = 1.0


def main(settings: WorkerSettings) -> int:
    """Serve until the master says otherwise, or is gone; the exit status."""
    _leave_signals_to_the_master()
    die_with_parent(settings.master)
    try:
        pin(settings.cpu)
    except OSError as refused:
        say(f"a worker cannot be bound to CPU {settings.cpu}: {refused.strerror}")
        return 1
    sockets = [_adopted(number) for number in settings.sockets]
    with _adopted(settings.control) as control:
        return Process(
            settings.application,
            sockets,
            on_serving=lambda: _tell(control),
            listen_for_end=_end_by(control, settings.application.graceful_timeout + CLEAN_UP_SECONDS),
            quiet=_QUIET_SECONDS,
        ).run()


def _leave_signals_to_the_master() -> None:
    """What a terminal sends to all processes that were started in it means what the master makes of it."""
    for number in (signal.SIGINT, signal.SIGHUP):
        # Not SIG_IGN, which programs that the application starts would inherit.
        signal.signal(number, lambda number, frame: None)
    # The master blocks it until here.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _adopted(number: int) -> socket.socket:
    sock = socket.socket(fileno=number)
    sock.set_inheritable(False)
    sock.setblocking(False)
    return sock


def _tell(control: socket.socket) -> None:
    # A master that is gone wants to hear nothing more; that it is gone is told elsewhere.
    with contextlib.suppress(OSError):
        control.send(SERVING)


def _end_by(control: socket.socket, patience: float) -> Callable[[Ending], None]:
    def listen(ending: Ending) -> None:
        loop = asyncio.get_running_loop()

        def on_control() -> None:
            # Nobody is left who would kill this process if it did not end.
            loop.remove_reader(control)
            ending.ask()
            loop.call_later(patience, os._exit, 1)

        loop.add_signal_handler(signal.SIGTERM, ending.ask)
        loop.add_signal_handler(signal.SIGQUIT, ending.hurry)
        loop.add_reader(control, on_control)

    return listen


if __name__ == "__main__":
    sys.exit(main(WorkerSettings.from_json(sys.argv[1])))
