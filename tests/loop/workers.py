"""Worker processes that serve one listening socket, as those of gunicorn and uvicorn do.

A worker answers each connection with its number of process, on the first data. Told ``block`` by a connection, it
blocks in the callback until told to go on.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from loop.patience import stretched

SECONDS = stretched(20.0)


class Answer(asyncio.Protocol):
    """Says who it is."""

    open = 0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        Answer.open += 1

    def connection_lost(self, exc: BaseException | None) -> None:
        Answer.open -= 1

    def data_received(self, data: bytes) -> None:
        if data == b"block":
            print("blocked", flush=True)
            sys.stdin.readline()
        self.transport.write(b"%d" % os.getpid())
        self.transport.close()


async def serve(listening: socket.socket) -> None:
    """Serve until SIGTERM; then close the server, and wait until those it has accepted are answered."""
    loop = asyncio.get_running_loop()
    told = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, told.set)
    server = await loop.create_server(Answer, sock=listening)
    print("ready", flush=True)
    await told.wait()
    server.close()
    while Answer.open:
        await asyncio.sleep(0.001)


class Worker:
    """One worker process on a loop of that name; it ends with its context."""

    def __init__(self, loop_name: str, listening: socket.socket) -> None:
        tests = Path(__file__).resolve().parent.parent
        paths = os.pathsep.join([str(tests), *filter(None, [os.environ.get("PYTHONPATH")])])
        self.process = subprocess.Popen(
            [sys.executable, "-m", "loop.workers", loop_name, str(listening.fileno())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[listening.fileno()],
            env={**os.environ, "PYTHONPATH": paths},
            text=True,
        )
        self.pid = self.process.pid

    def __enter__(self) -> Self:
        self.expect("ready")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self.process:
            self.process.send_signal(signal.SIGCONT)
            self.go_on()
            self.process.terminate()
            try:
                status = self.process.wait(SECONDS)
            finally:
                self.process.kill()
        assert status == 0 or error is not None

    def expect(self, word: str) -> None:
        """Wait until it says a word."""
        assert self.process.stdout is not None
        assert self.process.stdout.readline().strip() == word

    def go_on(self) -> None:
        """Let go of a worker that is blocked, now or when it will be."""
        assert self.process.stdin is not None
        with contextlib.suppress(OSError, ValueError):
            self.process.stdin.write("\n" * 100)
            self.process.stdin.close()

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """Within this the process does not run."""
        os.kill(self.pid, signal.SIGSTOP)
        os.waitpid(self.pid, os.WUNTRACED)
        try:
            yield
        finally:
            os.kill(self.pid, signal.SIGCONT)


def first_that_says(word: str, workers: Iterable[Worker]) -> Worker:
    """Wait until one of them says a word."""
    outputs = {worker.process.stdout.fileno(): worker for worker in workers if worker.process.stdout}
    readable, _, _ = select.select(list(outputs), [], [], SECONDS)
    worker = outputs[readable[0]]
    worker.expect(word)
    return worker


def ask(address: Any, word: bytes = b"who") -> int:
    """Connect, and be told who answers."""
    with socket.create_connection(address, timeout=SECONDS) as sock:
        sock.sendall(word)
        return int(sock.recv(100))


def main() -> None:
    """The worker's program."""
    name, descriptor = sys.argv[1:]
    factory = asyncio.SelectorEventLoop if name == "asyncio" else __import__(name).new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(serve(socket.socket(fileno=int(descriptor))))


if __name__ == "__main__":
    main()
