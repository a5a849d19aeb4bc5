"""A call cancelled at every moment, and what must be true afterwards, whoever the loop is.

A walk makes the same call again and again and cancels it each time a step later than the last time, until it completes
before it can be cancelled. After each cancelling the call has ended with CancelledError, everything is as it was before
it: the descriptors, the children, what a netloop loop says is in flight; what the call was given or has made is
collected, and nothing reached the exception handler. Then the same call is made once more and must succeed.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import os
import time
import weakref
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from .helpers import Recorder
from .patience import stretched

# Turns after which a call that still waits is cancelled no later: what it waits for takes time, not turns.
MOST_TURNS = 20

# Seconds for what is not done in a turn: the kernel closing a file, a child ending, a peer noticing.
PATIENCE = stretched(3.0)

# Seconds after the first call: what is still there then stays.
SETTLING = 0.3

FIGURES = ("in_flight", "connections", "watchers", "buffers_in_use", "fixed_files_in_use")


class Memory(bytearray):
    """A buffer of which it can be seen that nobody holds it any more."""


async def after_turns(task: asyncio.Task[Any], moment: int) -> bool:
    """Cancel after so many turns; says whether there was anything to cancel."""
    for _ in range(moment):
        if task.done():
            return False
        await asyncio.sleep(0)
    return task.cancel()


async def twice(task: asyncio.Task[Any], moment: int) -> bool:
    """Cancel after so many turns, and once more a turn later."""
    cancelled = await after_turns(task, moment)
    await asyncio.sleep(0)
    task.cancel()
    return cancelled


async def when_answered(task: asyncio.Task[Any], moment: int) -> bool:
    """Cancel when what the task waits for is there and the task is about to go on, for so many waits not the first."""
    answered: list[Any] = []
    while not task.done():
        waiter = task._fut_waiter  # type: ignore[attr-defined]
        if waiter is not None and waiter.done() and not any(waiter is each for each in answered):
            if len(answered) == moment:
                return task.cancel()
            answered.append(waiter)
        del waiter
        await asyncio.sleep(0)
    return False


WAYS = {"turns": after_turns, "answered": when_answered, "twice": twice}


@dataclass(frozen=True)
class Rest:
    """What there is while nothing happens."""

    descriptors: frozenset[tuple[int, str]]
    figures: dict[str, int]
    children: bool
    tasks: int

    @classmethod
    def now(cls, loop: Any) -> Rest:
        found = set()
        for name in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):  # the descriptor of the listing itself is gone by now
                found.add((int(name), os.readlink(f"/proc/self/fd/{name}")))
        figures = {}
        if hasattr(loop, "statistics"):
            statistics = loop.statistics()
            figures = {name: getattr(statistics, name) for name in FIGURES}
        return cls(frozenset(found), figures, has_children(), len(asyncio.all_tasks(loop)))

    def differences(self, before: Rest) -> list[str]:
        """What is not as it was before."""
        found = [f"descriptor left open: {each}" for each in self.descriptors - before.descriptors]
        found += [f"descriptor lost: {each}" for each in before.descriptors - self.descriptors]
        found += [
            f"{name} was {before.figures[name]} and is {number}"
            for name, number in self.figures.items()
            if number != before.figures[name]
        ]
        found += ["a child is left"] * (self.children and not before.children)
        return found + ["a task is left"] * (self.tasks > before.tasks)


def has_children() -> bool:
    """Is there a child process, running or a zombie?"""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


async def nothing(*_: Any) -> None:
    """There is nothing to do."""


class Walk:
    """Cancels calls on one loop in one way."""

    def __init__(self, loop: asyncio.AbstractEventLoop, exceptions: list[dict[str, Any]], way: str) -> None:
        self.loop = loop
        self.exceptions = exceptions
        self.way = WAYS[way]
        self.tracked: list[weakref.ref[Any]] = []
        self.cancelled = 0
        self.adaptive = False

    def track(self, made: Any) -> Any:
        """Ask that this be collected when the call has ended; returns it."""
        self.tracked.append(weakref.ref(made))
        return made

    def made(self, factory: Callable[[], Any] = Recorder) -> Callable[[], Any]:
        """A factory whose products are collected when the call has ended."""
        return lambda: self.track(factory())

    async def __call__(
        self,
        call: Callable[[], Awaitable[Any]],
        use: Callable[[Any], Awaitable[None]] = nothing,
        before: Callable[[], Awaitable[None]] = nothing,
        *,
        keeping: bool = False,
        adaptive: bool = False,
        least: int = 1,
    ) -> None:
        """Cancel a call at every moment.

        Args:
            call: makes the call. It is called at the first step, so that what it makes is made by the task.
            use: takes the result of a call that succeeded, tries it out and disposes of it.
            before: prepares what the call meets, for each one that may be cancelled.
            keeping: whether what a cancelled call waited for stays until the next call takes it.
            adaptive: whether a connection changes how it receives, as with large pieces: it then has a poll beside the
                receive, or not, so that fewer operations may be in flight at rest.
            least: how many of the calls there must have been to cancel.
        """
        self.adaptive = adaptive
        rest = await self.first(call, use, before)
        for moment in itertools.count():
            await before()
            waiting = Rest.now(self.loop)
            reached, completed = await self.attempt(call, use, moment)
            if not completed:
                if not keeping:
                    await self.at_rest(waiting)
                await asyncio.wait_for(self.again(call, use), PATIENCE)
            await self.at_rest(rest)
            if not reached or (moment == MOST_TURNS and self.way is not when_answered):
                break
        # Not every call waits for a future of its own.
        assert self.cancelled >= least or self.way is when_answered

    async def first(
        self, call: Callable[[], Awaitable[Any]], use: Callable[[Any], Awaitable[None]], before: Callable[[], Any]
    ) -> Rest:
        """A call that nobody cancels, for what is made only once; says what there is then."""
        rest = Rest.now(self.loop)
        await before()
        await use(await call())
        with contextlib.suppress(AssertionError):
            await self.at_rest(rest, patience=SETTLING)
        return Rest.now(self.loop)

    async def again(self, call: Callable[[], Awaitable[Any]], use: Callable[[Any], Awaitable[None]]) -> None:
        await use(await call())

    async def attempt(
        self, call: Callable[[], Awaitable[Any]], use: Callable[[Any], Awaitable[None]], moment: int
    ) -> tuple[bool, bool]:
        """Cancel one call; says whether the moment was reached, and whether it completed all the same."""

        async def main() -> Any:
            return await call()

        task = self.loop.create_task(main())
        reached = await self.way(task, moment)
        await asyncio.wait([task])
        if task.cancelled():
            self.cancelled += 1
            return reached, False
        await use(task.result())
        return reached, True

    async def at_rest(self, rest: Rest, patience: float = PATIENCE) -> None:
        """Wait until all is as it was; fail if it does not become so."""
        deadline = time.monotonic() + patience
        while True:
            found = self.leftovers(rest)
            if not found:
                break
            assert time.monotonic() < deadline, found
            await asyncio.sleep(0.001)
            gc.collect()
        self.tracked.clear()
        assert not self.exceptions

    def leftovers(self, rest: Rest) -> list[str]:
        alive = [reference() for reference in self.tracked]
        found = [f"not collected: {each!r}" for each in alive if each is not None]
        now = Rest.now(self.loop)
        if self.adaptive and now.figures:
            now.figures["in_flight"] = max(now.figures["in_flight"], rest.figures["in_flight"])
        return found + now.differences(rest)


class Later:
    """Does something so many turns later, unless it is done before."""

    def __init__(self, action: Callable[[], object], turns: int = 3) -> None:
        self.action = action
        self.turns = turns
        self.step()

    def step(self) -> None:
        if not self.turns:
            self.action()
            return
        self.turns -= 1
        asyncio.get_running_loop().call_soon(self.step)
