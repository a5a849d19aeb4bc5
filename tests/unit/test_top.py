"""What ``python -m netloop top`` makes of two looks at a process."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any

import pytest

from netloop.statistics import Statistics
from netloop.tools.top import tables_of

NONE: dict[str, Any] = {field.name: 0 for field in fields(Statistics)}


def answer(lag: dict[str, int]) -> dict[str, Any]:
    """What a process with one loop tells, of which only how late its timers were is of interest."""
    loop: dict[str, Any] = {
        "id": 1,
        "thread": None,
        "turn_seconds": 0.0,
        "cpu_seconds": 0.0,
        "stack": [],
        "statistics": asdict(Statistics(**NONE)),
        "durations": {"turn": {}, "lag": lag},
        "tasks": {"count": 0},
        "connections": {"shown": []},
        "stalls": [],
    }
    return {"loops": [loop]}


def lag_shown(now: dict[str, Any], before: dict[str, Any]) -> str:
    (table,) = tables_of(now, before, 1.0 if before else 0.0)
    (row,) = (row for row in table.rows if row[0].startswith("timers late by"))
    return row[1]


FIRST = answer({"0.001": 98, "0.02": 2})


@pytest.mark.parametrize(
    ("now", "before", "shown"),
    [
        (FIRST, {}, "1 ms; 20 ms"),
        (answer({"0.001": 98, "0.02": 2}), FIRST, "-"),
        (answer({"0.001": 98, "0.02": 102}), FIRST, "20 ms; 20 ms"),
        (answer({"0.001": 198, "0.02": 2, "inf": 2}), FIRST, "1 ms; inf ms"),
        (answer({"0.005": 3}), {"loops": []}, "5 ms; 5 ms"),
    ],
)
def test_lag_is_that_since_the_last_look(now: dict[str, Any], before: dict[str, Any], shown: str) -> None:
    assert lag_shown(now, before) == shown


def test_a_loop_is_compared_with_itself() -> None:
    other = {**answer({"0.5": 7})["loops"][0], "id": 2}
    assert lag_shown(answer({"0.001": 98, "0.02": 2}), {"loops": [other, *FIRST["loops"]]}) == "-"
