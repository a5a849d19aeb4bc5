"""A client of the stress test: one netloop loop with many connections, and a parent that says what they do."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import ipaddress
import os
import socket
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, Final

import netloop
from netloop.tools.children import die_with_parent
from netloop.tools.stress.connection import Connection, EchoConnection, HttpConnection, SlowReader
from netloop.tools.stress.histogram import Histogram
from netloop.tools.stress.wire import commands, raise_descriptor_limit, say

__all__ = ["main"]

_CONNECT_SECONDS: Final = 10.0
_ANSWER_SECONDS: Final = 10.0
_REPORT_SECONDS: Final = 0.25
#: Every source address has some 28,000 ports to one destination; so many connections may still be in TIME_WAIT.
_SOURCES: Final = 100
#: Active connections send in so many groups, one after the other, instead of all at once.
_GROUPS: Final = 10
_SMALL_BUFFER: Final = 8 * 1024


class Client:
    """All connections of this process.

    Args:
        address: the server's.
        kind: ``echo`` or ``aiohttp``.
        number: of this client; it has source addresses of its own.
        concurrency: how many connects may be under way at once.
    """

    def __init__(self, address: tuple[str, int], kind: str, number: int, concurrency: int) -> None:
        self._address = address
        self._kind: type[Connection] = HttpConnection if kind == "aiohttp" else EchoConnection
        self._first = number * 10_000_000
        self._made = 0
        self._concurrency = concurrency
        self._sources = _sources(address, number)
        self._open: dict[Connection, None] = {}
        self._slow: list[SlowReader] = []
        self._answers: dict[Connection, asyncio.Future[None]] = {}
        self._ends: dict[Connection, asyncio.Future[None]] = {}
        self._driving: asyncio.Task[None] | None = None
        self._active: list[Connection] = []
        self.latencies = Histogram()
        self.failures: Counter[str] = Counter()

    # What connections tell ----------------------------------------------------------------------------------------

    def answered(self, connection: Connection, seconds: float) -> None:
        """Count a latency."""
        self.latencies.add(seconds)
        if (waiter := self._answers.pop(connection, None)) is not None and not waiter.done():
            waiter.set_result(None)

    def failed(self, connection: Connection, reason: str) -> None:
        """Count a failure."""
        self.failures[reason] += 1
        self.ended(connection)

    def ended(self, connection: Connection) -> None:
        """Forget a connection."""
        self._open.pop(connection, None)
        for waiters in (self._answers, self._ends):
            if (waiter := waiters.pop(connection, None)) is not None and not waiter.done():
                waiter.set_result(None)

    # What the parent asks for ---------------------------------------------------------------------------------------

    async def connect(self, count: int) -> dict[str, Any]:
        """Open so many connections more."""
        began = time.perf_counter()
        await self._in_parallel(count, lambda: self._connect(self._kind))
        # A collection that goes through all connections would show as latency, and be ours, not the server's.
        gc.freeze()
        return {"seconds": time.perf_counter() - began}

    async def drive(self, count: int, pause: float) -> dict[str, Any]:
        """Begin to drive so many connections, each every ``pause`` seconds and no faster than answers come."""
        self._active = list(self._open)[:count]
        self._driving = asyncio.create_task(self._drive(pause))
        return {"active": len(self._active)}

    async def window(self) -> dict[str, Any]:
        """Hand over the latencies since the last time, and begin anew."""
        found = {"histogram": self.latencies.pack(), "greatest": self.latencies.greatest}
        self.latencies.clear()
        return found

    async def rest(self) -> dict[str, Any]:
        """Stop driving, and wait for the answers still to come."""
        if self._driving is not None:
            self._driving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._driving
            self._driving = None
        deadline = time.perf_counter() + _ANSWER_SECONDS
        while any(one.waiting and not one.closing for one in self._active) and time.perf_counter() < deadline:
            await asyncio.sleep(0.01)
        for one in self._active:
            if one.waiting and not one.closing:
                self.failures[f"no answer within {_ANSWER_SECONDS:g} s"] += 1
        self._active = []
        return {}

    async def close(self, count: int) -> dict[str, Any]:
        """Close so many connections at once, none of them an active one, and wait until they are gone."""
        active = set(self._active)
        chosen = [one for one in self._open if one not in active][:count]
        loop = asyncio.get_running_loop()
        ends = [self._ends.setdefault(one, loop.create_future()) for one in chosen]
        began = time.perf_counter()
        for one in chosen:
            one.close()
        if ends:
            await asyncio.wait(ends, timeout=_ANSWER_SECONDS)
        late = sum(not end.done() for end in ends)
        if late:
            self.failures["not closed within 10 s"] += late
        return {"closed": len(chosen) - late, "seconds": time.perf_counter() - began}

    async def slow(self, count: int) -> dict[str, Any]:
        """Open so many connections more that send and do not read."""
        await self._in_parallel(count, self._connect_slowly)
        return {"slow": len(self._slow)}

    async def read(self) -> dict[str, Any]:
        """Have the slow ones read, and wait until each has everything it has sent."""
        began = time.perf_counter()
        loop = asyncio.get_running_loop()
        answers = [self._answers.setdefault(one, loop.create_future()) for one in self._slow if one.waiting]
        for one in self._slow:
            if not one.closing:
                one.read()
        if answers:
            await asyncio.wait(answers)
        complete = sum(not one.waiting for one in self._slow)
        return {"complete": complete, "seconds": time.perf_counter() - began}

    async def churn(self, seconds: float, concurrency: int) -> dict[str, Any]:
        """Open connections, exchange a message on each and close it, for a time."""
        deadline = time.perf_counter() + seconds
        before = self._made
        await asyncio.gather(*(self._churn(deadline) for _ in range(concurrency)))
        return {"made": self._made - before}

    @property
    def open(self) -> int:
        """How many connections are open."""
        return len(self._open)

    # How it is done -------------------------------------------------------------------------------------------------

    async def _in_parallel(self, count: int, make: Callable[[], Awaitable[object]]) -> None:
        left = iter(range(count))

        async def worker() -> None:
            for _ in left:
                await make()

        await asyncio.gather(*(worker() for _ in range(min(self._concurrency, count))))

    async def _connect(self, kind: type[Connection]) -> Connection | None:
        """Open a connection; None, and a failure counted, if that does not work."""
        loop = asyncio.get_running_loop()
        self._made += 1
        connection = kind(self, self._first + self._made)
        sock = socket.socket(self._family(), socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            sock.setblocking(False)
            if kind is SlowReader:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL_BUFFER)
            if self._sources:
                # The port is chosen by connect(), which knows the destination, and need not differ for all of them.
                sock.setsockopt(socket.IPPROTO_IP, socket.IP_BIND_ADDRESS_NO_PORT, 1)
                sock.bind((self._sources[self._made % len(self._sources)], 0))
            async with asyncio.timeout(_CONNECT_SECONDS):
                await loop.sock_connect(sock, self._address)
            await loop.create_connection(lambda: connection, sock=sock)
        except OSError as error:
            sock.close()
            reason = os.strerror(error.errno) if error.errno else f"nothing within {_CONNECT_SECONDS:g} s"
            self.failures[f"connect: {reason}"] += 1
            return None
        self._open[connection] = None
        return connection

    async def _connect_slowly(self) -> None:
        connection = await self._connect(SlowReader)
        if isinstance(connection, SlowReader):
            self._slow.append(connection)

    def _family(self) -> socket.AddressFamily:
        return socket.AF_INET6 if ":" in self._address[0] else socket.AF_INET

    async def _drive(self, pause: float) -> None:
        for turn in _forever():
            for one in self._active[turn % _GROUPS :: _GROUPS]:
                if not one.waiting and not one.closing:
                    one.send()
            await asyncio.sleep(pause / _GROUPS)

    async def _churn(self, deadline: float) -> None:
        loop = asyncio.get_running_loop()
        while time.perf_counter() < deadline:
            connection = await self._connect(self._kind)
            if connection is None:
                await asyncio.sleep(0.1)
                continue
            answer = self._answers[connection] = loop.create_future()
            connection.send()
            await asyncio.wait([answer], timeout=_ANSWER_SECONDS)
            if connection.closing:
                continue
            if connection.waiting:
                self.failures[f"no answer within {_ANSWER_SECONDS:g} s"] += 1
            end = self._ends[connection] = loop.create_future()
            connection.close()
            await asyncio.wait([end], timeout=_ANSWER_SECONDS)


def _forever() -> Iterator[int]:
    number = 0
    while True:
        yield number
        number += 1


def _sources(address: tuple[str, int], number: int) -> list[str]:
    """The addresses of this machine to connect from: several for IPv4's loopback, the kernel's choice otherwise."""
    try:
        server = ipaddress.ip_address(address[0])
    except ValueError:
        return []
    if server.version != 4 or not server.is_loopback:
        return []
    return [f"127.0.{number % 250 + 1}.{index}" for index in range(1, _SOURCES + 1)]


async def _report(client: Client) -> None:
    while True:
        say("progress", open=client.open, answered=client.latencies.count, failed=client.failures.total())
        await asyncio.sleep(_REPORT_SECONDS)


async def _obey(client: Client) -> None:
    """Follow the parent's commands, several at a time if it wants that."""
    running: set[asyncio.Task[None]] = set()
    reporting = asyncio.create_task(_report(client))

    async def follow(number: int, name: str, arguments: dict[str, Any]) -> None:
        try:
            found = await getattr(client, name)(**arguments)
        except Exception as error:  # Whatever it is, the parent waits for an answer.
            say("broken", number=number, reason=f"{type(error).__name__}: {error}")
            raise
        say("done", number=number, open=client.open, failures=dict(client.failures), **found)

    say("ready")
    async for command in commands():
        task = asyncio.create_task(follow(command["number"], command["do"], command["with"]))
        running.add(task)
        task.add_done_callback(running.discard)
    for task in (reporting, *running):
        task.cancel()


def main(arguments: Sequence[str] | None = None) -> int:
    """Follow commands until standard input ends.

    Returns:
        0, or 1 when the loop cannot be made; standard error then says why.
    """
    parser = argparse.ArgumentParser(prog="python -m netloop.tools.stress.client")
    parser.add_argument("--parent", type=int, required=True, help="the process to end with")
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--server", choices=("echo", "aiohttp"), required=True)
    parser.add_argument("--number", type=int, required=True, help="of this client")
    parser.add_argument("--concurrency", type=int, required=True)
    options = parser.parse_args(arguments)
    die_with_parent(options.parent)
    raise_descriptor_limit()
    client = Client((options.host, options.port), options.server, options.number, options.concurrency)
    try:
        with asyncio.Runner(loop_factory=netloop.EventLoop) as runner:
            runner.run(_obey(client))
    except OSError as refused:
        print(refused, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
