"""Programs and servers in processes of their own, as people start them, and a client to ask them something."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import pwd
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

import netloop

START_SECONDS = 15.0
STOP_SECONDS = 10.0
NETLOOP = str(Path(netloop.__file__).resolve().parents[1])


class Program:
    """A program in a process of its own; its output, standard error included, is kept.

    It runs as ``user``, if one is given, and is asked to end by the signal ``end_by``.
    """

    def __init__(
        self,
        command: Sequence[str],
        directory: Path,
        environment: Mapping[str, str],
        *,
        user: str | None = None,
        end_by: signal.Signals = signal.SIGTERM,
    ) -> None:
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - closed by stop()
        self._end_by = end_by
        self._ended: tuple[int, str] | None = None
        path = os.pathsep.join((NETLOOP, str(directory)))
        self._process = subprocess.Popen(
            command,
            cwd=directory,
            env={**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", **environment},
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            user=user,
            group=user and pwd.getpwnam(user).pw_gid,
            extra_groups=user and [],
        )

    @property
    def pid(self) -> int:
        """The number of its process."""
        return self._process.pid

    @property
    def output(self) -> str:
        """What it has printed so far."""
        if self._ended is not None:
            return self._ended[1]
        return os.pread(self._output.fileno(), 1 << 20, 0).decode(errors="replace")

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Wait until it has printed something that matches."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            found = re.search(pattern, self.output)
            if found:
                return found
            if self._process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"{pattern!r} was never printed (status {self._process.poll()}):\n{self.output}")
            time.sleep(0.02)

    def interrupt(self) -> None:
        """Ask it to end, and do not wait for that."""
        self._process.send_signal(self._end_by)

    def wait(self, seconds: float = START_SECONDS) -> int:
        """Wait until it ends by itself; its exit status."""
        return self._process.wait(seconds)

    def stop(self) -> tuple[int, str]:
        """Ask it to end, unless it has ended; its exit status and everything it printed."""
        if self._ended is not None:
            return self._ended
        try:
            if self._process.poll() is None:
                self._process.send_signal(self._end_by)
            try:
                status = self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
                pytest.fail(f"it did not end within {STOP_SECONDS:g} s of {self._end_by.name}:\n{self.output}")
            self._ended = status, self.output
            return self._ended
        finally:
            self._output.close()


class Server:
    """A program that serves HTTP on the loopback interface and has printed where."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self.port = int(program.wait_for(r"http://127\.0\.0\.1:([1-9]\d*)")[1])

    def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, str, bytes]:
        """One request on a connection of its own: status, Content-Type and body of the response."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        with contextlib.closing(connection):
            connection.request(method, path, body)
            response = connection.getresponse()
            return response.status, response.headers.get_content_type(), response.read()

    def ask_json(self, path: str) -> Any:
        """The JSON at ``path``."""
        status, content_type, body = self.ask("GET", path)
        assert (status, content_type) == (200, "application/json"), body
        return json.loads(body)

    def interrupt(self) -> None:
        """Ask it to end, and do not wait for that."""
        self._program.interrupt()

    def wait(self) -> int:
        """Wait until it has ended; its exit status."""
        return self._program.wait()

    @property
    def output(self) -> str:
        """What the server has printed so far."""
        return self._program.output
