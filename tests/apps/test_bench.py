"""The benchmark as users run it, on rows so short that their figures mean nothing."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import c_build

from apps.programs import Program

LOOPS = ("netloop", "asyncio")
ROWS = (
    *("protocol:3x64", "relay_leases:2x1k", "download:1x256k@2", "json:2", "websocket:2x64", "call_later", "idle:5"),
    "ingest:1x64k@2",
    *("udp:3x64", "packet_send:1x1200", "packet_receive:1x1200", "packet_receive:3x64"),
)
#: Where the C server for datagrams is measured too.
PACKETS = ROWS[-4:]


@pytest.mark.limit(120)
def test_a_short_run_measures_every_kind_of_row(start: Callable[..., Program], tmp_path: Path) -> None:
    words = ["-m", "netloop", "bench", "--rows", *ROWS, "--loops", *LOOPS, "c-packets", "--no-trace", "--no-plots"]
    words += ["--repeats", "1", "--seconds", "0.05", "--warmup", "0.05", "--output", str(tmp_path / "results")]
    program = start(*words)
    assert program.wait(90) == 0, program.output
    results = json.loads((tmp_path / "results" / "results.json").read_text())
    assert results["errors"] == []
    assert {(sample["row"], sample["contender"]) for sample in results["samples"]} == {
        *((row, loop) for row in ROWS for loop in LOOPS),
        *((row, "c-packets") for row in PACKETS),
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


@pytest.mark.limit(60)
def test_a_changed_packet_is_an_error(tmp_path: Path) -> None:
    packet = bytes(range(200))
    (tmp_path / "packet").write_bytes(packet)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(30)
        load = [str(c_build.build() / "packet_load"), "--port", str(server.getsockname()[1]), "--seconds", "0.1"]
        load += ["--reply", str(tmp_path / "packet")]
        with subprocess.Popen(load, stdout=subprocess.PIPE, text=True) as process:
            order, client = server.recvfrom(100)
            assert int.from_bytes(order, sys.byteorder) > 1
            server.sendto(packet, client)
            server.sendto(packet[:-1] + b"!", client)
            output, _ = process.communicate(timeout=30)
    assert process.returncode == 1
    report = json.loads(output)
    assert (report["error_total"], report["errors"]["mismatch"]) == (1, 1)
