"""Worker processes as their master sees them: started, serving, told to end, ended."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence

from netloop.tools.serve.options import Application
from netloop.tools.serve.say import say
from netloop.tools.serve.settings import SERVING, WorkerSettings

__all__ = ["WorkerProcess"]


class WorkerProcess:
    """One worker process, from its start to its end.

    Attributes:
        serving_since: the loop's time at which it told that it serves; None before.
    """

    def __init__(
        self,
        application: Application,
        sockets: Sequence[socket.socket],
        cpu: int | None,
        *,
        on_serving: Callable[[WorkerProcess], None],
        on_end: Callable[[WorkerProcess], None],
    ) -> None:
        """Start it. The callbacks are called from the running loop.

        Raises:
            OSError: there can be no more processes or descriptors.
        """
        self.serving_since: float | None = None
        self._on_serving = on_serving
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._kill_timer: asyncio.TimerHandle | None = None
        self._control, theirs = socket.socketpair()
        try:
            with theirs:
                numbers = [sock.fileno() for sock in sockets]
                settings = WorkerSettings(application, numbers, theirs.fileno(), os.getpid(), cpu)
                self._process = _start(settings.to_json(), [*numbers, theirs.fileno()])
            self._pidfd = _pidfd_of(self._process)
        except BaseException:
            self._control.close()
            raise
        self._control.setblocking(False)
        self._loop.add_reader(self._control, self._on_control)
        self._loop.add_reader(self._pidfd, self._on_exit)

    @property
    def pid(self) -> int:
        """The number of its process."""
        return self._process.pid

    @property
    def status(self) -> int:
        """Its exit status, or the negative number of the signal that ended it; once it has ended."""
        assert self._process.returncode is not None
        return self._process.returncode

    @property
    def end(self) -> str:
        """How it has ended, in words."""
        if self.status >= 0:
            return f"ended with status {self.status}"
        try:
            return f"was ended by {signal.Signals(-self.status).name}"
        except ValueError:
            return f"was ended by signal {-self.status}"

    def retire(self, number: signal.Signals, patience: float) -> None:
        """Tell it to end by a signal, and kill it if it has not after so many seconds."""
        # Until it serves it knows no other signal than the one that ends every program.
        self._process.send_signal(signal.SIGTERM if self.serving_since is None else number)
        if self._kill_timer is not None:
            self._kill_timer.cancel()
        self._kill_timer = self._loop.call_later(patience, self._kill_late)

    def kill(self) -> None:
        """Have the kernel end it now."""
        self._process.kill()

    def _kill_late(self) -> None:
        say(f"the worker of process {self.pid} has not ended in time and is killed")
        self.kill()

    def _on_control(self) -> None:
        try:
            data = self._control.recv(100)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            # It has ended, or is about to; its process tells how.
            self._loop.remove_reader(self._control)
        elif data.startswith(SERVING) and self.serving_since is None:
            self.serving_since = self._loop.time()
            self._on_serving(self)

    def _on_exit(self) -> None:
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._loop.remove_reader(self._control)
        self._control.close()
        if self._kill_timer is not None:
            self._kill_timer.cancel()
        self._process.wait()
        self._on_end(self)


def _start(settings: str, descriptors: Sequence[int]) -> subprocess.Popen[bytes]:
    flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    command = [sys.executable, *flags, "-m", "netloop.tools.serve.worker", settings]
    # Only the master speaks to whoever waits for the server to be ready.
    environment = {name: value for name, value in os.environ.items() if name != "NOTIFY_SOCKET"}
    # Blocked until the worker is ready for it: a Ctrl-C would end it in the middle of its imports, with a traceback.
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=descriptors, env=environment)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def _pidfd_of(process: subprocess.Popen[bytes]) -> int:
    try:
        return os.pidfd_open(process.pid)
    except OSError:
        process.kill()
        process.wait()
        raise
