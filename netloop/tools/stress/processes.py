"""The parent's side of a child process: commands to it, events from it, and its end."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from netloop.tools.children import child_environment

__all__ = ["Process", "StressFailed", "wait_for"]

_STOP_SECONDS: Final = 10.0
_TICK_SECONDS: Final = 0.1


class StressFailed(Exception):
    """The stress test could not go on; says why in one sentence."""


class Process:
    """A child that speaks JSON, a line each way.

    Args:
        module: the module to run with ``python -m``.
        arguments: its command line.

    It has a session of its own, so that Ctrl-C reaches only the parent, which then stops its children in order.
    """

    def __init__(self, module: str, arguments: Sequence[str]) -> None:
        self.name = module.rpartition(".")[2]
        self.events: list[dict[str, Any]] = []
        self.progress: dict[str, Any] = {}
        self.failures: dict[str, int] = {}
        self._asked = 0
        self._unread = b""
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the child
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, "--parent", str(os.getpid()), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            start_new_session=True,
            env=child_environment(),
        )

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def fileno(self) -> int:
        """The descriptor its events come from."""
        assert self._process.stdout is not None
        return self._process.stdout.fileno()

    def ask(self, what: str, **arguments: Any) -> int:
        """Send a command, and return the number that its answer will carry."""
        assert self._process.stdin is not None
        self._asked += 1
        line = json.dumps({"number": self._asked, "do": what, "with": arguments}) + "\n"
        try:
            self._process.stdin.write(line.encode())
            self._process.stdin.flush()
        except BrokenPipeError:
            raise StressFailed(f"a {self.name} has ended. {self.complaints()}") from None
        return self._asked

    def read(self) -> None:
        """Take the events that are there.

        Raises:
            StressFailed: the child has ended, or a command broke.
        """
        data = os.read(self.fileno(), 1 << 16)
        if not data:
            status = self._process.wait(_STOP_SECONDS)
            raise StressFailed(self.complaints() or f"a {self.name} ended with status {status}")
        *lines, self._unread = (self._unread + data).split(b"\n")
        for line in lines:
            event = json.loads(line)
            if event["event"] == "broken":
                raise StressFailed(f"a {self.name} broke: {event['reason']}. {self.complaints()}")
            if event["event"] == "progress":
                self.progress = event
                continue
            self.failures = event.get("failures", self.failures)
            self.events.append(event)

    def take(self, event: str, number: int | None = None) -> dict[str, Any] | None:
        """Return and forget an event of that kind, the answer to that command if it is one; None if none has come."""
        for index, found in enumerate(self.events):
            if found["event"] == event and (number is None or found.get("number") == number):
                return self.events.pop(index)
        return None

    def complaints(self) -> str:
        """The last of what the child has written to standard error."""
        self._complaints.seek(0)
        return self._complaints.read().decode(errors="replace").strip()[-2000:]

    def finish(self) -> int:
        """Have the child end by closing its input; by force if it does not. Returns its exit status."""
        try:
            # Reads on until the end: a child that still has something to say must not find nobody listening.
            self._process.communicate(timeout=_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
        return self._process.returncode

    def close(self) -> None:
        """End the child and forget what it wrote."""
        if self._process.poll() is None:
            self._process.kill()
        self.finish()
        self._complaints.close()


def wait_for(
    processes: Iterable[Process], done: Callable[[], bool], seconds: float, tick: Callable[[], None], what: str
) -> None:
    """Read events until ``done`` says so.

    Args:
        processes: those to read from.
        done: asked after every event.
        seconds: how long this may take.
        tick: called about ten times a second.
        what: for the message when it takes longer.

    Raises:
        StressFailed: the time is up, or a child has ended.
    """
    watched = list(processes)
    deadline = time.monotonic() + seconds
    ticked = 0.0
    while not done():
        for process in select.select(watched, [], [], _TICK_SECONDS)[0]:
            process.read()
        now = time.monotonic()
        if now - ticked >= _TICK_SECONDS:
            tick()
            ticked = now
        if now > deadline:
            raise StressFailed(f"{what} took longer than {seconds:g} s")
