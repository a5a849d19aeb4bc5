"""Loops in threads of their own, that do at random what loops and other threads may do, and note what must not be."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import socket
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from loop.helpers import HOST, address_of, pattern

SIZES = (1, 100, 5_000, 40_000, 300_000)
# Seconds. On a machine that is busy with something else an interpreter without its lock is slow to wake a thread.
PATIENCE = 300.0
CANCELLING_WAITS = sys.version_info >= (3, 14)


class Echo(asyncio.Protocol):
    """Sends back what comes."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class Member:
    """A loop with a server, and what is done on it and to the others' loops."""

    def __init__(self, name: str, make: Callable[[], Any], seed: float, wanders: bool, going_on: Callable[[], bool]):
        self.name, self.make, self.going_on = name, make, going_on
        self.wanders = wanders  # does the loop run in one thread after another?
        self.chance = random.Random(seed)
        self.others: list[Member] = []
        self.loop: Any = None
        self.address: Any = None
        self.serving, self.leave = threading.Event(), threading.Event()
        self.steps = self.refused = 0
        self.problems: list[str] = []
        # The last number that each sender has sent here, and how many it has sent there.
        self.noted: defaultdict[str, int] = defaultdict(int)
        self.sent: defaultdict[str, int] = defaultdict(int)

    def expect(self, condition: object, otherwise: str) -> None:
        if not condition:
            self.problems.append(f"{self.name}: {otherwise}")

    def other(self) -> Member:
        return self.chance.choice(self.others)

    # The loop's life.

    def run(self) -> None:
        """Run the loop to its end, in this thread or in one after another."""
        self.loop = self.make()
        self.loop.set_exception_handler(lambda loop, context: self.problems.append(f"{self.name}: {context}"))
        main = self.loop.create_task(self.main())
        try:
            with ThreadPoolExecutor(1) as here, ThreadPoolExecutor(1) as there:
                while not main.done():
                    self.run_in(here, main)
                    if self.wanders:
                        here, there = there, here
            if main.exception() is not None:
                self.problems.append(f"{self.name}: {main.exception()!r}")
            self.loop.run_until_complete(self.loop.shutdown_default_executor())
            self.loop.close()
        except Exception as error:
            self.problems.append(f"{self.name}: {error!r}")
        finally:
            self.serving.set()
            self.leave.set()

    def run_in(self, thread: ThreadPoolExecutor, main: asyncio.Task[None]) -> None:
        """Run the loop in a thread for a while, if it can go there."""
        try:
            thread.submit(self.run_for, 0.05 if self.wanders else 30.0, main).result()
        except RuntimeError as error:
            # What the thread before had in flight could not be cancelled in time, as on a busy machine: then it goes on
            # there.
            if "operations in flight" not in str(error):
                raise
            self.refused += 1

    def run_for(self, seconds: float, main: asyncio.Task[None]) -> None:
        timer = self.loop.call_later(seconds, self.loop.stop)
        main.add_done_callback(self.stop)
        self.loop.run_forever()
        main.remove_done_callback(self.stop)
        timer.cancel()

    def stop(self, task: asyncio.Task[None]) -> None:
        self.loop.stop()

    async def main(self) -> None:
        server = await self.loop.create_server(Echo, HOST, 0)
        self.address = address_of(server)
        self.serving.set()
        for member in self.others:
            while not member.serving.is_set():
                await asyncio.sleep(0.001)
        await asyncio.gather(*(self.act_on() for _ in range(6)))
        self.leave.set()
        for member in self.others:
            while not member.leave.is_set():
                await asyncio.sleep(0.001)
        await asyncio.sleep(0.01)
        server.close()
        await server.wait_closed()
        for member in self.others:
            self.expect(self.noted[member.name] == member.sent[self.name], f"calls of {member.name} are missing")

    async def act_on(self) -> None:
        while self.going_on() and not self.problems:
            action = self.chance.choice(ACTIONS)
            try:
                async with asyncio.timeout(PATIENCE):
                    await getattr(self, action)()
            except Exception as error:
                self.problems.append(f"{self.name}: {action}: {error!r}")
            self.steps += 1

    # What is done.

    async def exchange(self) -> None:
        """Connect to some server, and have everything back."""
        reader, writer = await asyncio.open_connection(*self.chance.choice([self, *self.others]).address)
        try:
            for _ in range(self.chance.choice((1, 3, 10))):
                data = pattern(self.chance.choice(SIZES))
                writer.write(data)
                self.expect(await reader.readexactly(len(data)) == data, "an echo is not what was sent")
            if self.chance.random() < 0.3:
                writer.transport.abort()
        finally:
            writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    async def use_sockets(self) -> None:
        near, far = socket.socketpair()
        with near, far:
            near.setblocking(False)
            far.setblocking(False)
            data = pattern(self.chance.choice(SIZES[:3]))
            receiving = self.loop.create_task(self.receive(far, len(data)))
            await self.loop.sock_sendall(near, data)
            self.expect(await receiving == data, "a socket has received something else")

    async def receive(self, sock: socket.socket, length: int) -> bytes:
        data = b""
        while len(data) < length:
            data += await self.loop.sock_recv(sock, length - len(data))
        return data

    async def watch(self) -> None:
        """A watcher is called; netloop's may be added and removed by another thread."""
        near, far = socket.socketpair()
        with near, far:
            seen = asyncio.Event()

            def read() -> None:
                if near.recv(10):
                    seen.set()

            anywhere = hasattr(self.loop, "statistics") and self.chance.random() < 0.5
            if anywhere:
                await asyncio.to_thread(self.loop.add_reader, near, read)
            else:
                self.loop.add_reader(near, read)
            await asyncio.to_thread(far.send, b"x")
            await seen.wait()
            if anywhere:
                await asyncio.to_thread(self.loop.remove_reader, near)
            else:
                self.loop.remove_reader(near)

    async def use_timers(self) -> None:
        called: list[int] = []
        timers = [self.loop.call_later(self.chance.random() / 1000, called.append, number) for number in range(50)]
        for timer in timers[::2]:
            timer.cancel()
        before = len(called)
        await asyncio.sleep(0.002)
        self.expect(all(number % 2 for number in called[before:]), "a cancelled timer has fired")

    async def use_executor(self) -> None:
        counts = await asyncio.gather(*(self.loop.run_in_executor(None, sum, range(number)) for number in range(10)))
        self.expect(counts == [sum(range(number)) for number in range(10)], "an executor's results are wrong")

    async def answer(self, number: int, seconds: float) -> int:
        await asyncio.sleep(seconds)
        return number + 1

    async def ask(self) -> None:
        """Have a coroutine run on another loop, and at times cancel it."""
        member, number = self.other(), self.chance.randrange(1000)
        if member.leave.is_set():
            return
        asked = asyncio.run_coroutine_threadsafe(member.answer(number, self.chance.choice((0, 0, 0.001))), member.loop)
        if self.chance.random() < 0.2:
            asked.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            self.expect(await asyncio.wrap_future(asked) == number + 1, "another loop's answer is wrong")

    async def call(self) -> None:
        """Schedule on another loop; what one thread schedules there is called in order."""
        member = self.other()
        for _ in range(self.chance.choice((1, 1, 5, 200))):
            if member.leave.is_set():
                return
            member.loop.call_soon_threadsafe(member.note, self.name, self.sent[member.name] + 1)
            self.sent[member.name] += 1

    def note(self, sender: str, number: int) -> None:
        self.expect(number == self.noted[sender] + 1, f"call {number} of {sender} after {self.noted[sender]}")
        self.noted[sender] = number

    async def call_and_cancel(self) -> None:
        """What was cancelled in time is not called: since Python 3.14 nothing is when cancel() has returned."""
        member = self.other()
        called: list[int] = []
        if member.leave.is_set():
            return
        handle = member.loop.call_soon_threadsafe(called.append, 1)
        repr(handle)
        handle.cancel()
        before = len(called)
        await asyncio.sleep(self.chance.choice((0, 0.002)))
        if CANCELLING_WAITS:
            self.expect(len(called) == before, "a call was made after it was cancelled")
        self.expect(handle.cancelled(), "a cancelled handle does not say so")


ACTIONS = (
    "exchange", "use_sockets", "watch", "use_timers", "use_executor", "ask", "call", "call", "call_and_cancel",
)  # fmt: skip


def observe(members: list[Member], going_on: Callable[[], bool], problems: list[str]) -> None:
    """In a thread without a loop: ask for what may be asked at any time, and collect garbage."""
    counts: dict[str, float] = {}
    turns = dict.fromkeys(members, 0)
    rounds = 0
    while going_on():
        for member in members:
            loop = member.loop
            repr((loop, loop.is_running(), loop.is_closed(), loop.get_debug(), loop.time()))
            if hasattr(loop, "statistics"):
                figures = loop.statistics()
                member.expect(figures.turns >= turns[member], "the number of turns has gone down")
                turns[member] = figures.turns
        rounds += 1
        if not rounds % 200:
            gc.collect()
        if not rounds % 20 and hasattr(members[0].loop, "statistics"):
            problems += scrape(counts)
        time.sleep(0.001)


def scrape(counts: dict[str, float]) -> list[str]:
    """Add up what all loops of the process have counted, and see whether it has gone down since the last time.

    The first time, that has them measure themselves, in the middle of what they do.
    """
    from netloop.hosted.totals import COUNTS, totals

    totals.want()
    reading = totals.read()
    found: dict[str, float] = {name: reading.figures[name] for name in COUNTS}
    for name, histogram in reading.histograms.items():
        found[f"{name} bucket"], found[f"{name} seconds"] = histogram.count, histogram.seconds
    fallen = [f"{name}: {counts[name]}, {value}" for name, value in found.items() if value < counts.get(name, 0)]
    counts.update(found)
    return fallen


def live_briefly(make: Callable[[], Any], going_on: Callable[[], bool], problems: list[str]) -> None:
    """Make loops, and close them while other threads go on calling; these are told so."""
    with ThreadPoolExecutor(3) as threads:
        while going_on() and not problems:
            loop = make()
            callers = [threads.submit(call_until_closed, loop) for _ in range(3)]
            loop.run_until_complete(asyncio.sleep(0.002))
            loop.close()
            for caller in callers:
                try:
                    caller.result(PATIENCE)
                except RuntimeError as error:
                    if "closed" not in str(error):
                        problems.append(repr(error))


def call_until_closed(loop: Any) -> None:
    """Not so often that the other threads come to nothing."""
    while True:
        for _ in range(10):
            loop.call_soon_threadsafe(int)
        repr(loop.is_running())
        time.sleep(0.0002)
