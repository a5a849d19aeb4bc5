"""What the kernel's knobs for latency give on this machine's loopback: ``python bench/latency.py``.

Each knob is turned on a server on netloop, and compared with the same server without it, in turn with the others.
Small questions and answers tell of waiting and waking up; a question in two pieces, of delayed acknowledgements; a
stream that is read slower than it could be written, of how old its data is when it arrives.
"""

import argparse
import random
import socket
import statistics
import sys
import time
from collections.abc import Callable

from harness.contenders import SERVERS
from harness.processes import Server
from harness.settings import choose_cpus

from netloop.tools.cpu_time import cpu_seconds

NONE = "(none)"
KNOBS = {
    "echo": (NONE, "spin=100e-6", "busy_poll=50e-6", "SO_BUSY_POLL=50", "TCP_QUICKACK", "TCP_NOTSENT_LOWAT=128k"),
    "pieces": (NONE, "TCP_QUICKACK"),
    "stream": (NONE, "TCP_NOTSENT_LOWAT=128k"),
}
TITLES = {
    "echo": "64 bytes there and back: microseconds, and microseconds of the server's CPU",
    "pieces": "a question in two writes (with Nagle's algorithm) and its answer: microseconds, and of the server's CPU",
    "stream": "age of what is read at 100 MB/s: microseconds, and of the server's CPU for each block of 16 KiB",
}
_TIMEOUT = 10.0
_BLOCK, _STAMP = 16 << 10, 8
#: Bytes per second at which a stream is read.
_SLOW = 100e6


def _receive(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        # A socket with a time limit does not wait for all of it.
        piece = sock.recv(size - len(data))
        if not piece:
            raise ConnectionError("the server has closed the connection")
        data += piece
    return data


def _asking(*pieces: bytes, answer: int) -> Callable[[socket.socket, int], list[float]]:
    """Return how to ask questions, each of so many writes: it returns how long each answer took, in microseconds."""

    def ask(sock: socket.socket, count: int) -> list[float]:
        times = []
        for _ in range(count):
            began = time.perf_counter()
            for piece in pieces:
                sock.send(piece)
            _receive(sock, answer)
            times.append((time.perf_counter() - began) * 1e6)
        return times

    return ask


def _read_slowly(sock: socket.socket, count: int) -> list[float]:
    """Return how old each block of a stream was when it was read, in microseconds, from when it no longer grows."""
    ages = []
    due = time.monotonic()
    for _ in range(count):
        block = _receive(sock, _BLOCK)
        ages.append((time.monotonic_ns() - int.from_bytes(block[:_STAMP], sys.byteorder)) / 1e3)
        due += _BLOCK / _SLOW
        time.sleep(max(0.0, due - time.monotonic()))
    return ages[count // 2 :]


CLIENTS = {"echo": _asking(bytes(64), answer=64), "pieces": _asking(b"?", b"?", answer=1), "stream": _read_slowly}
COUNTS = {"echo": 5000, "pieces": 50, "stream": 3000}


def measure(exchange: str, knob: str, cpus: tuple[int | None, int | None]) -> tuple[float, float]:
    """Return the median time, and the server's CPU time per question or block, both in microseconds."""
    command = [sys.executable, str(SERVERS / "latency_knobs.py"), "--exchange", exchange, "--knob", knob]
    with Server(command, {}, cpus[0]) as server, socket.create_connection(("127.0.0.1", server.port)) as sock:
        sock.settimeout(_TIMEOUT)
        before = cpu_seconds(server.pid)
        times = CLIENTS[exchange](sock, COUNTS[exchange])
        after = cpu_seconds(server.pid)
    if before is None or after is None:
        raise ProcessLookupError("the server has ended")
    return statistics.median(times), (after - before) / COUNTS[exchange] * 1e6


def main() -> None:
    """Measure all, in turn, and print medians and quartiles."""
    parser = argparse.ArgumentParser(description="Measures the kernel's knobs for latency on loopback.")
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    cpus = choose_cpus()
    for exchange, knobs in KNOBS.items():
        found: dict[str, list[tuple[float, float]]] = {knob: [] for knob in knobs}
        for _ in range(options.repeats):
            for knob in random.sample(knobs, len(knobs)):
                found[knob].append(measure(exchange, knob, cpus))
        print(f"\n{TITLES[exchange]}; median [quartiles]")
        for knob, pairs in found.items():
            print(f"  {knob:24}{_text([one for one, _ in pairs])}{_text([one for _, one in pairs])}")


def _text(values: list[float]) -> str:
    low, median, high = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
    return f"{median:10.1f} [{low:.1f}-{high:.1f}]"


if __name__ == "__main__":
    main()
