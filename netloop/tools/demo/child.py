"""How the demo starts and ends a child process, and what it hears from it."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from netloop.tools.children import child_environment

__all__ = ["Child", "ChildFailed"]

_START_SECONDS: Final = 20.0
_STOP_SECONDS: Final = 5.0


class ChildFailed(Exception):
    """A child process did not start, did not answer in time or ended with an error; says which and shows its output."""


class Child:
    """One child process that prints a line of JSON when it is ready or done.

    Args:
        module: the module to run with ``python -m``.
        arguments: its command line.

    It has a session of its own, so that Ctrl-C reaches only the demo, which then stops its children in order.
    """

    def __init__(self, module: str, arguments: Sequence[str]) -> None:
        self.name = module
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the child
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, "--parent", str(os.getpid()), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            start_new_session=True,
            env=child_environment(),
        )

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def read_line(self, seconds: float = _START_SECONDS, tick: Callable[[], None] = lambda: None) -> dict[str, Any]:
        """The child's line of JSON.

        Args:
            seconds: how long to wait for it.
            tick: called about ten times a second meanwhile.

        Raises:
            ChildFailed: the child ended without it, or the time was up.
        """
        assert self._process.stdout is not None
        deadline = time.monotonic() + seconds
        while not select.select([self._process.stdout], [], [], 0.1)[0]:
            tick()
            if time.monotonic() > deadline:
                raise ChildFailed(f"{self.name} said nothing for {seconds:g} s. {self.complaints()}")
        line = self._process.stdout.readline()
        if not line:
            status = self._process.wait(_STOP_SECONDS)
            raise ChildFailed(self.complaints() or f"{self.name} ended with status {status}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def complaints(self) -> str:
        """What the child has written to standard error so far."""
        self._complaints.seek(0)
        return self._complaints.read().decode(errors="replace").strip()

    def stop(self) -> int:
        """End the process, first by asking it to, and return its exit status (negative: the signal that ended it)."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()
        finally:
            assert self._process.stdout is not None
            self._process.stdout.close()

    def close(self) -> None:
        """End the process and forget what it wrote."""
        self.stop()
        self._complaints.close()
