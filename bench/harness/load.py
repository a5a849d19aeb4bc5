"""Driving a server with the C load generator, and what it reports."""

import json
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import BenchError
from harness.processes import Server, pinned, read_line, stop
from harness.rows import Row

HELLO = "Hello, world"
#: Connecting, draining and ending may take this long beyond the window itself.
MARGIN = 45.0
PRIME_TIMEOUT = 5.0


@dataclass(frozen=True)
class Window:
    """What the load generator saw in its measured window. Times in microseconds; CPU time in nanoseconds."""

    seconds: float
    messages: int
    messages_per_second: float
    p50: float
    p99: float
    p999: float
    server_cpu: int
    load_cpu: int


def prime(port: int, row: Row) -> None:
    """Open a connection, exchange one message and close it, so that first-time costs lie before the measured window.

    For asyncio this matters most: until it has freed a whole receive buffer, glibc maps and unmaps each one, and the
    first that it frees whole is that of the empty receive at the end of a connection. So it must be us who closes.

    Raises:
        BenchError: the server does not answer.
    """
    expected = HELLO.encode() if row.http else b"x" * 64
    request = f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode() if row.http else expected
    reply = b""
    try:
        with socket.create_connection(("127.0.0.1", port), PRIME_TIMEOUT) as connection:
            connection.sendall(request)
            while not reply.endswith(expected):
                if not (chunk := connection.recv(65536)):
                    raise BenchError("the server closed the first connection before its reply was complete")
                reply += chunk
    except OSError as error:
        raise BenchError(f"the server does not answer a first connection: {error}") from None


def command(programs: Path, server: Server, row: Row, seconds: float, warmup: float) -> list[str]:
    """Return the load generator's command line."""
    load = [str(programs / "load"), "--port", str(server.port), "--server-pid", str(server.pid)]
    load += ["--connections", str(row.connections), "--depth", str(row.depth)]
    load += ["--seconds", f"{seconds:g}", "--warmup", f"{warmup:g}"]
    if row.http:
        return [*load, "--http", "/", "--expect-body", HELLO]
    return [*load, "--size", str(row.size)]


def parse(line: str) -> Window:
    """Read the load generator's JSON.

    Raises:
        BenchError: it is not what it should be, it reports errors, or nothing came back at all.
    """
    try:
        report: Mapping[str, Any] = json.loads(line)
        window = Window(
            seconds=report["seconds"],
            messages=report["messages"],
            messages_per_second=report["messages_per_second"],
            p50=report["p50_us"],
            p99=report["p99_us"],
            p999=report["p999_us"],
            server_cpu=report["server_cpu_ns"] or 0,
            load_cpu=report["load_cpu_ns"],
        )
        total, first = report["error_total"], report["first_error"]
    except (ValueError, KeyError, TypeError) as error:
        raise BenchError(f"the load generator's report cannot be read ({error!r}): {line[:200]!r}") from None
    if total:
        raise BenchError(f"{total} errors under load, the first: {first}")
    if window.messages == 0 or window.server_cpu == 0:
        raise BenchError("no message came back, or no CPU time was seen, within the measured window")
    return window


def run(programs: Path, server: Server, row: Row, seconds: float, warmup: float, cpu: int | None) -> Window:
    """Drive the server for one measured window.

    Raises:
        BenchError: errors under load, or the load generator failed or did not end.
    """
    arguments = command(programs, server, row, seconds, warmup)
    with pinned(cpu):
        process = subprocess.Popen(
            arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
        )
    try:
        output, said = process.communicate(timeout=seconds + warmup + MARGIN)
    except subprocess.TimeoutExpired:
        raise BenchError(f"the load generator did not end within {seconds + warmup + MARGIN:.0f} s") from None
    finally:
        stop(process)
    if not output.strip():
        raise BenchError(f"the load generator failed: {said.decode(errors='replace').strip() or process.returncode}")
    return parse(output.decode())


class GatedLoad:
    """A load generator that is connected and warm, and waits for :meth:`go`; for measuring from outside in between."""

    def __init__(
        self, programs: Path, server: Server, row: Row, seconds: float, warmup: float, cpu: int | None
    ) -> None:
        self._limit = seconds + warmup + MARGIN
        with pinned(cpu):
            self._process = subprocess.Popen(
                [*command(programs, server, row, seconds, warmup), "--gate"],
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )

    def wait_until_ready(self) -> None:
        """Wait until all connections are made and quiet.

        Raises:
            BenchError: they could not be made.
        """
        line = self._line("waiting for the load generator to be ready")
        if line != "ready":
            parse(line)
            raise BenchError("the load generator reported before it was asked to begin")

    def go(self) -> Window:
        """Run the window and return its result; the connections stay open.

        Raises:
            BenchError: errors under load.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(b"\n")
        except BrokenPipeError:
            raise BenchError("the load generator has ended too early") from None
        return parse(self._line("waiting for the load generator's report"))

    def close(self) -> None:
        """Let the connections go and end the process."""
        stop(self._process)

    def _line(self, what: str) -> str:
        assert self._process.stdout is not None
        return read_line(self._process.stdout, self._limit, what)
