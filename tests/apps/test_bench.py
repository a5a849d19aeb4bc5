"""The benchmark as users run it, on rows so short that their figures mean nothing."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import c_build

from apps.programs import Program

ROWS = ("protocol:3x64", "download:1x256k@2", "ingest:1x64k@2", "json:2", "websocket:2x64", "call_later", "idle:5")


@pytest.mark.limit(60)
def test_a_short_run_measures_every_kind_of_row(start: Callable[..., Program], tmp_path: Path) -> None:
    loops = ("netloop", "asyncio")
    words = ["-m", "netloop", "bench", "--rows", *ROWS, "--loops", *loops, "--no-trace", "--no-plots"]
    words += ["--repeats", "1", "--seconds", "0.05", "--warmup", "0.05", "--output", str(tmp_path / "results")]
    program = start(*words)
    assert program.wait() == 0, program.output
    results = json.loads((tmp_path / "results" / "results.json").read_text())
    assert results["errors"] == []
    assert {(sample["row"], sample["contender"]) for sample in results["samples"]} == {
        (row, loop) for row in ROWS for loop in loops
    }
    assert "| protocol echo, 3 x 64 B | netloop |" in (tmp_path / "results" / "report.md").read_text()


class Liar:
    """An echo server for one connection at a time that changes one byte of everything after the first message."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        connection, _ = self.listener.accept()
        with connection:
            connection.sendall(connection.recv(65536))
            while data := connection.recv(65536):
                connection.sendall(data[:-1] + bytes([data[-1] ^ 1]))

    def end(self) -> None:
        """Wait until the client has gone."""
        self._thread.join(10)
        self.listener.close()


@pytest.mark.limit(60)
def test_a_changed_byte_is_an_error() -> None:
    server = Liar()
    load = [str(c_build.build() / "load"), "--port", str(server.listener.getsockname()[1]), "--seconds", "0.1"]
    done = subprocess.run(load, capture_output=True, text=True, timeout=30, check=False, env=os.environ)
    server.end()
    assert done.returncode == 1
    report = json.loads(done.stdout)
    assert (report["error_total"], report["errors"]["mismatch"]) == (1, 1)
