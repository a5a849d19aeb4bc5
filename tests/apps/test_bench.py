"""The benchmark as users run it, on rows so short that their figures mean nothing."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import c_build

from apps.programs import Program

LOOPS = ("netloop", "asyncio")
ROWS = (
    *("protocol:3x64", "relay_leases:2x1k", "download:1x256k@2", "json:2", "websocket:2x64", "call_later", "idle:5"),
    *("ingest:1x64k@2", "work:2x64", "herd:20", "herd_busy:20", "saturate:3"),
    *("udp:3x64", "packet_send:1x1200", "packet_receive:1x1200", "packet_receive:3x64"),
)
#: Where the C server for datagrams is measured too.
PACKETS = ROWS[-4:]


@pytest.mark.limit(120)
def test_a_short_run_measures_every_kind_of_row(start: Callable[..., Program], tmp_path: Path) -> None:
    words = ["-m", "netloop", "bench", "--rows", *ROWS, "--loops", *LOOPS, "c-packets", "--no-trace", "--no-plots"]
    words += ["--repeats", "1", "--seconds", "0.15", "--warmup", "0.05", "--output", str(tmp_path / "results")]
    program = start(*words)
    assert program.wait(90) == 0, program.output
    results = json.loads((tmp_path / "results" / "results.json").read_text())
    assert results["errors"] == []
    assert {(sample["row"], sample["contender"]) for sample in results["samples"]} == {
        *((row, loop) for row in ROWS for loop in LOOPS),
        *((row, "c-packets") for row in PACKETS),
    }
    figures = {sample["row"]: sample["figures"] for sample in results["samples"]}
    assert {"last_ms", "resident_p99_us"} <= set(figures["herd_busy:20"])
    assert "resident_p99_us" not in figures["herd:20"]
    assert 0 < figures["protocol:3x64"]["loop_cpu_us"] <= figures["protocol:3x64"]["cpu_us"]
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


def serve_once(listener: socket.socket, change: Callable[[bytes], bytes]) -> None:
    """Answer two clients one after the other: the first with what it has sent, the second with what becomes of that."""
    for number in range(2):
        connection, _ = listener.accept()
        with connection:
            message = connection.recv(65536)
            connection.sendall(message if number == 0 else change(message))


@pytest.mark.limit(60)
@pytest.mark.parametrize(
    ("change", "kind"),
    [(lambda message: message[:-1] + bytes([message[-1] ^ 1]), "mismatch"), (lambda message: message[:10], "closed")],
    ids=["changed", "cut"],
)
def test_a_herd_is_told_what_it_has_sent(change: Callable[[bytes], bytes], kind: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve_once, args=(listener, change))
        thread.start()
        load = [str(c_build.build() / "herd"), "--port", str(listener.getsockname()[1])]
        done = subprocess.run(load, capture_output=True, text=True, timeout=30, check=False, env=os.environ)
        thread.join(10)
    assert done.returncode == 1, done.stderr
    report = json.loads(done.stdout)
    assert (report["error_total"], report["errors"][kind], report["messages"]) == (1, 1, 0)


def serve_late(listener: socket.socket, seconds: float) -> None:
    """Echo one message, that long after it has come."""
    connection, _ = listener.accept()
    with connection:
        message = connection.recv(65536)
        time.sleep(seconds)
        connection.sendall(message)
        connection.recv(1)


@pytest.mark.limit(60)
def test_a_cold_window_counts_who_is_answered_after_its_end() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve_late, args=(listener, 0.4))
        thread.start()
        load = [str(c_build.build() / "load"), "--cold", "--seconds", "0.1", "--port", str(listener.getsockname()[1])]
        done = subprocess.run(load, capture_output=True, text=True, timeout=30, check=False, env=os.environ)
        thread.join(10)
    assert done.returncode == 0, done.stdout
    report = json.loads(done.stdout)
    assert (report["messages"], report["error_total"]) == (0, 0)
    assert report["max_us"] >= 400_000


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
