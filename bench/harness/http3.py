"""Driving an HTTP/3 server with aioquic's client, in a process of its own. A message is one whole body."""

import json
import subprocess
import sys
from pathlib import Path

from harness.errors import BenchError
from harness.exchange import random_file
from harness.processes import Server, pinned, stop
from harness.rows import Row
from harness.settings import Settings
from harness.wrk import cpu_time

#: Bytes per second that the slowest pair of server and client is given at the least.
SLOWEST = 1 << 20
_MARGIN = 30.0
_PLACE = Path(__file__).resolve().parents[1]


def unavailable() -> str | None:
    """Return why HTTP/3 cannot be served here, or None."""
    if (_PLACE.parent / "examples" / "quic_packets.py").exists():
        return None
    return "netloop's adapter for aioquic is in a checkout only, among the examples"


def run(server: Server, row: Row, settings: Settings) -> dict[str, float]:
    """Have one body fetched.

    Raises:
        BenchError: it did not arrive, or not as it should.
    """
    before = cpu_time(server.pid)
    seconds = _fetch(server, row, settings)
    used = cpu_time(server.pid) - before
    return {
        "messages_per_second": 1 / seconds,
        "cpu_us": used / 1e3,
        "per_cpu_second": 1e9 / used,
        "server_busy": used / seconds / 1e9,
    }


def _fetch(server: Server, row: Row, settings: Settings) -> float:
    command = [sys.executable, str(_PLACE / "servers" / "http3_load.py"), "--port", str(server.port)]
    command += ["--content", random_file(settings.scratch, row.size)]
    limit = row.size / SLOWEST + _MARGIN
    with pinned(settings.load_cpu):
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=False
        )
    try:
        output, said = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        raise BenchError(f"the HTTP/3 client did not end within {limit:.0f} s") from None
    finally:
        stop(process)
    if process.returncode != 0:
        words = said.decode(errors="replace").strip().splitlines()
        raise BenchError(f"the HTTP/3 client failed: {words[-1] if words else process.returncode}")
    seconds: float = json.loads(output)["seconds"]
    return seconds
