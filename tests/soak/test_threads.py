"""Several loops, each in a thread of its own, and everything that may be asked of a loop from another thread.

What is sent comes back, what is called is called once and in order, what is cancelled is not, and nothing is left. An
interpreter without its lock runs all of this at once; with ``--soak-seconds 600`` it is what netloop's claim to do
without that lock rests on.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable
from typing import Any

import pytest

from .crowd import PATIENCE, Member, live_briefly, observe


@pytest.mark.room(PATIENCE)
def test_loops_in_threads(
    raw_loop: Callable[[], asyncio.AbstractEventLoop],
    chance: random.Random,
    going_on: Callable[[], bool],
    record_property: Callable[[str, object], None],
) -> None:
    members = [
        Member(name, raw_loop, chance.random(), name == "wandering", going_on) for name in ("one", "two", "wandering")
    ]
    for member in members:
        member.others = [each for each in members if each is not member]
    problems: list[str] = []
    threads = [threading.Thread(target=member.run) for member in members]
    for thread in threads:
        thread.start()
    for member in members:
        assert member.serving.wait(PATIENCE), member.problems
    rest = [
        threading.Thread(target=observe, args=(members, going_on, problems)),
        threading.Thread(target=live_briefly, args=(raw_loop, going_on, problems)),
    ]
    for thread in rest:
        thread.start()
    for thread in [*threads, *rest]:
        thread.join()
    steps: Any = sum(member.steps for member in members)
    record_property("steps", steps)
    print(f"{steps} steps; {sum(member.refused for member in members)} times a loop could not go to another thread")
    assert [*problems, *(problem for member in members for problem in member.problems)] == []
