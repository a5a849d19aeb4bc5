"""Timers that are set and cancelled at random, compared with a model: what fires, in which order, and nothing else."""

from __future__ import annotations

import gc
import random
from collections.abc import Callable
from typing import Any

DELAYS = (0, 0, 0.0001, 0.001, 0.01, 0.05, 5)
NEAR = 1.0
MANY = 3000


class Model:
    """Sets and cancels timers, and knows which are set."""

    def __init__(self, loop: Any, chance: random.Random) -> None:
        self.loop, self.chance = loop, chance
        self.timers: dict[int, tuple[float, Any]] = {}
        self.count = self.fired = 0
        self.resting = False
        self.wrong: list[str] = []

    def fire(self, number: int) -> None:
        if number not in self.timers:
            self.wrong.append("a timer fired that was cancelled or had fired")
            return
        self.fired += 1
        deadline, _ = self.timers.pop(number)
        if deadline > self.loop.time() + 1e-6:
            self.wrong.append(f"a timer fired early by {deadline - self.loop.time():g} s")
        if not self.resting:
            self.act()

    def act(self) -> None:
        for _ in range(self.chance.choice((0, 1, 1, 2, 5))):
            if self.timers and self.chance.random() < 0.45:
                self.cancel_one()
            elif len(self.timers) < MANY:
                self.set_one()
        if self.chance.random() < 0.001:
            gc.collect()

    def set_one(self) -> None:
        self.count += 1
        deadline = self.loop.time() + self.chance.choice(DELAYS)
        self.timers[self.count] = deadline, self.loop.call_at(deadline, self.fire, self.count)
        if self.chance.random() < 0.05:
            handle = self.loop.call_later(0.0001, self.fire, -1)
            handle.cancel()
            handle.cancel()

    def cancel_one(self) -> None:
        oldest = next(iter(self.timers))
        number = self.chance.choice(list(self.timers)) if len(self.timers) < 50 else oldest
        self.timers.pop(number)[1].cancel()

    def rest(self, then: Callable[[], None]) -> None:
        """Act no more, and call something after every timer that is due soon."""
        self.resting = True
        soon = [deadline for deadline, _ in self.timers.values() if deadline < self.loop.time() + NEAR]
        self.loop.call_at(max([self.loop.time(), *soon]) + 0.001, then)


def test_timers_fire_once_in_time_and_not_after_they_were_cancelled(
    loop: Any, loop_name: str, chance: random.Random, going_on: Callable[[], bool]
) -> None:
    model = Model(loop, chance)

    def drive() -> None:
        model.act()
        if loop_name == "netloop" and loop.statistics().timers > len(model.timers) + 1:
            model.wrong.append("there are more timers than were set")
        if going_on() and not model.wrong:
            loop.call_later(0.0005, drive)
        else:
            model.rest(loop.stop)

    loop.call_soon(drive)
    loop.run_forever()
    now = loop.time()
    overdue = [deadline for deadline, _ in model.timers.values() if deadline < now - 0.0005]
    for _, handle in model.timers.values():
        handle.cancel()
    assert model.wrong == []
    assert overdue == []
    assert model.fired > 100
