"""The system calls of a server, as strace counts them."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

__all__ = ["SystemCalls", "TracingFailed", "strace_missing"]

_ATTACH_SECONDS: Final = 10.0


class TracingFailed(Exception):
    """strace could not count a process's system calls; says why."""


def strace_missing() -> str | None:
    """Why system calls cannot be counted here, or None when strace is installed."""
    return None if shutil.which("strace") else "strace is not installed"


class SystemCalls:
    """Counts the system calls of a process and all its threads while it is open.

    Args:
        pid: the process, which must allow to be traced.

    Raises:
        TracingFailed: strace cannot attach.
    """

    def __init__(self, pid: int) -> None:
        self._summary = tempfile.NamedTemporaryFile(mode="r", prefix="netloop-strace-")  # noqa: SIM115 - see close()
        self._words = tempfile.TemporaryFile(mode="w+")  # noqa: SIM115 - see close()
        self._process = subprocess.Popen(
            ["strace", "-f", "-c", "-o", self._summary.name, "-p", str(pid)],
            stdin=subprocess.DEVNULL,
            stderr=self._words,
            start_new_session=True,
            env={**os.environ, "LC_ALL": "C"},
        )
        try:
            self._wait_for(lambda words: "attached" in words)
        except BaseException:
            self.close()
            raise

    def finish(self) -> dict[str, int]:
        """Detach, and return how often each system call was made.

        Raises:
            TracingFailed: strace ended early or left no summary.
        """
        if self._process.poll() is not None:
            raise TracingFailed(f"strace ended early: {self._said()}")
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(_ATTACH_SECONDS)
        except subprocess.TimeoutExpired:
            raise TracingFailed("strace did not detach") from None
        counts = _parse_summary(Path(self._summary.name).read_text())
        if not counts:
            raise TracingFailed(f"strace counted nothing: {self._said()}")
        return counts

    def close(self) -> None:
        """End strace if it still runs; the traced process goes on."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(_ATTACH_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._summary.close()
        self._words.close()

    def _wait_for(self, seen: Callable[[str], bool]) -> None:
        deadline = time.monotonic() + _ATTACH_SECONDS
        while not seen(self._said()):
            if self._process.poll() is not None:
                raise TracingFailed(f"strace cannot attach: {self._said()}")
            if time.monotonic() > deadline:
                raise TracingFailed(f"strace did not attach within {_ATTACH_SECONDS:g} s")
            time.sleep(0.02)

    def _said(self) -> str:
        return Path(f"/proc/self/fd/{self._words.fileno()}").read_text().strip()


def _parse_summary(text: str) -> dict[str, int]:
    # "% time  seconds  usecs/call  calls  [errors]  syscall": the errors are blank where there were none.
    row = re.compile(r"^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(\w+)$", re.MULTILINE)
    return {match[2]: int(match[1]) for match in row.finditer(text) if match[2] != "total"}
