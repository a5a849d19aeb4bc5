"""``python -m netloop serve`` with workers, as its users see it: processes, signals, and clients that may not fail."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest
from loop.patience import stretched

from apps.programs import Program

SECONDS = stretched(20.0)

# The path "/busy" keeps the worker's loop from going on until a file is there, "/slow" only its own request.
AIOHTTP = """
import asyncio, os, time
from aiohttp import web

VERSION = "one"

async def which(request):
    return web.Response(text=f"{os.getpid()} {VERSION}")

async def slow(request):
    print("slow begins", flush=True)
    await asyncio.sleep(float(request.query["seconds"]))
    return web.Response(text="slow")

async def busy(request):
    print("busy", os.getpid(), type(asyncio.get_running_loop()).__module__, flush=True)
    while not os.path.exists("go on"):
        time.sleep(0.01)
    return web.Response(text=str(os.getpid()))

async def upload(request):
    print("upload begins", flush=True)
    return web.Response(text=f"{len(await request.read())} received")

async def start_up(app):
    print("started up", flush=True)

async def clean_up(app):
    print("cleaned up", flush=True)

app = web.Application()
app.add_routes([web.get("/", which), web.get("/slow", slow), web.get("/busy", busy), web.post("/upload", upload)])
app.on_startup.append(start_up)
app.on_cleanup.append(clean_up)
"""

ASGI = """
import asyncio, os, time

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        print("cleaned up", flush=True)
        await send({"type": "lifespan.shutdown.complete"})
        return
    if scope["path"] == "/slow":
        print("slow begins", flush=True)
        await asyncio.sleep(float(scope["query_string"].partition(b"=")[2]))
    if scope["path"] == "/busy":
        print("busy", os.getpid(), type(asyncio.get_running_loop()).__module__, flush=True)
        while not os.path.exists("go on"):
            time.sleep(0.01)
    body = b"slow" if scope["path"] == "/slow" else f"{os.getpid()} one".encode()
    if scope["path"] == "/upload":
        print("upload begins", flush=True)
        size, more = 0, True
        while more:
            message = await receive()
            size, more = size + len(message.get("body", b"")), message.get("more_body", False)
        body = b"%d received" % size
    headers = [(b"content-length", b"%d" % len(body)), (b"content-type", b"text/plain")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
"""


def asgi_server(name: str) -> tuple[str, str]:
    """The option for an ASGI server that has to be installed."""
    pytest.importorskip(name, reason=f"not installed: pip install {name}")
    return ("--asgi", name)


SERVERS = pytest.mark.parametrize("server", ["aiohttp", "uvicorn", "hypercorn"])


def application_of(server: str) -> tuple[tuple[str, ...], str]:
    """The options with which a server serves the application, and the application's text."""
    return ((), AIOHTTP) if server == "aiohttp" else (asgi_server(server), ASGI)


class Served:
    """A server with workers that runs in a process of its own."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.pid = program.pid
        found = program.wait_for(r"running on http://(?:127\.0\.0\.1:(\d+)|unix:(\S+):) with workers")
        self.address: tuple[str, int] | str = ("127.0.0.1", int(found[1])) if found[1] else found[2]

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return self.program.output

    @property
    def workers(self) -> list[int]:
        """The processes that serve, by what it has told last."""
        return [int(pid) for pid in re.findall(r"workers? ([\d, ]+)", self.output)[-1].split(",")]

    def signal(self, number: signal.Signals) -> None:
        """Send the master a signal."""
        os.kill(self.pid, number)

    def reload(self) -> None:
        """Reload, and wait until that is done."""
        times = self.output.count("reloaded:")
        self.signal(signal.SIGHUP)
        self.until(lambda: self.output.count("reloaded:") > times)

    def until(self, condition: Callable[[], object]) -> None:
        """Wait until a function returns something true."""
        deadline = time.monotonic() + SECONDS
        while not condition():
            if time.monotonic() > deadline:
                pytest.fail(f"it never came true; the server printed\n{self.output}")
            time.sleep(0.02)

    def ask(self, path: str = "/") -> str:
        """The answer to one request on a connection of its own."""
        with contextlib.closing(Client(self.address)) as client:
            return client.ask(path)

    def until_answered_by(self, pids: Collection[int]) -> None:
        """Ask again and again, until each of these has answered and nobody else does."""
        answered: list[int] = []

        def all_have() -> bool:
            answered.append(int(self.ask().split()[0]))
            return set(answered[-50:]) == set(pids)

        self.until(all_have)

    def children(self) -> set[int]:
        """The master's child processes."""
        return {int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()}

    def descriptors(self) -> int:
        """How many descriptors the master has open."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))


class Client(http.client.HTTPConnection):
    """A client that keeps its connection for as long as the server lets it."""

    def __init__(self, address: tuple[str, int] | str) -> None:
        super().__init__("127.0.0.1", timeout=SECONDS)
        self.address = address

    def connect(self) -> None:
        """Connect, to a UNIX socket's path too."""
        if isinstance(self.address, str):
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(SECONDS)
            self.sock.connect(self.address)
        else:
            self.sock = socket.create_connection(self.address, SECONDS)

    def ask(self, path: str = "/") -> str:
        """The body of an answer, which must be 200."""
        self.request("GET", path)
        response = self.getresponse()
        body = response.read().decode()
        assert response.status == 200, body
        return body


class Visitors:
    """Clients in threads that ask all the time, on connections that they keep; none of them may ever fail."""

    def __init__(self, address: tuple[str, int] | str, count: int = 4) -> None:
        self.answers: list[str] = []
        self.failures: list[str] = []
        self._may_leave = threading.Event()
        self._threads = [threading.Thread(target=self._visit, args=(address,)) for _ in range(count)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._may_leave.set()
        for thread in self._threads:
            thread.join()

    def _visit(self, address: tuple[str, int] | str) -> None:
        with contextlib.closing(Client(address)) as client:
            while not self._may_leave.is_set():
                try:
                    self.answers.append(client.ask())
                except Exception as error:
                    self.failures.append(repr(error))
                    client.close()


class Upload:
    """A request that takes its time: its second half follows when it is told to."""

    def __init__(self, served: Program, address: tuple[str, int]) -> None:
        self.sock = socket.create_connection(address, SECONDS)
        self.sock.sendall(b"POST /upload HTTP/1.1\r\nHost: here\r\nContent-Length: 20\r\n\r\n0123456789")
        served.wait_for("upload begins")

    def finish(self) -> str:
        """Send the rest; the answer, to its end."""
        with self.sock:
            self.sock.sendall(b"0123456789")
            return b"".join(iter(lambda: self.sock.recv(1000), b"")).decode()


@contextlib.contextmanager
def ending(*pids: int) -> Iterator[None]:
    """At the end of the block these processes must have ended, or do so soon."""
    descriptors = [os.pidfd_open(pid) for pid in pids]
    try:
        yield
        deadline = time.monotonic() + SECONDS
        for descriptor in descriptors:
            readable, _, _ = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
            assert readable, "a process is still there"
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
