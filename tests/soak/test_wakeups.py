"""Hand-offs between a loop and threads; one wake-up that is lost ends them."""

from __future__ import annotations

import queue
import random
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

Queue = queue.SimpleQueue[bool]

# What the loop does besides: how many hand-offs, and between how many threads.
SCENES = {"idle": (20_000, 1), "idle, three threads": (20_000, 3), "busy": (20_000, 2), "spinning": (400, 2)}


@pytest.fixture
def signals() -> Iterator[list[int]]:
    """A signal every few milliseconds of processor time, which interrupts whatever waits."""
    seen: list[int] = []
    previous = signal.signal(signal.SIGPROF, lambda number, frame: seen.append(number))
    signal.setitimer(signal.ITIMER_PROF, 0.003, 0.003)
    yield seen
    signal.setitimer(signal.ITIMER_PROF, 0)
    signal.signal(signal.SIGPROF, previous)


class HandOff:
    """A thread gets a word from the loop and answers with call_soon_threadsafe, again and again."""

    def __init__(self, loop: Any, count: int, done: Callable[[], None]) -> None:
        self.loop, self.left, self.done = loop, count, done
        self.words: Queue = queue.SimpleQueue()
        self.thread = threading.Thread(target=self.answer)

    def start(self) -> None:
        self.thread.start()
        self.words.put(True)

    def answer(self) -> None:
        while self.words.get():
            self.loop.call_soon_threadsafe(self.answered)

    def answered(self) -> None:
        self.left -= 1
        self.words.put(self.left > 0)
        if not self.left:
            self.done()


def hand_off(loop: Any, count: int, threads: int, schedule: Callable[[Callable[[], None]], Any]) -> None:
    """Run the loop until all threads have answered their share; ``schedule`` makes it busy besides."""

    def done() -> None:
        if not any(each.left for each in all_of_them):
            loop.stop()

    def go_on() -> None:
        if any(each.left for each in all_of_them):
            schedule(go_on)

    all_of_them = [HandOff(loop, count // threads, done) for _ in range(threads)]
    for each in all_of_them:
        each.start()
    go_on()
    loop.run_forever()
    for each in all_of_them:
        each.thread.join()


@pytest.mark.parametrize("scene", SCENES)
def test_no_wake_up_is_lost(loop: Any, chance: random.Random, scene: str, request: pytest.FixtureRequest) -> None:
    """Neither by a loop that waits, where nothing else would wake it, nor by one that is busy and interrupted."""
    if scene == "busy":
        request.getfixturevalue("signals")
        hand_off(loop, *SCENES[scene], lambda again: loop.call_later(chance.choice((0, 0.0001, 0.001)), again))
    elif scene == "spinning":
        hand_off(loop, *SCENES[scene], loop.call_soon)
    else:
        hand_off(loop, *SCENES[scene], id)
