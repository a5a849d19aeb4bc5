"""What differs from start to start of a server: how it is told, and what it makes a tie."""

from __future__ import annotations

import pytest
from harness import overview
from harness.contenders import Availability
from harness.measure import Sample
from harness.options import PROFILES
from harness.report import Report
from harness.rows import Row
from harness.schedule import Outcome
from harness.summary import ENOUGH_STARTS, Spread, spread
from harness.tables import comparison, details

ROW = Row("protocol", 100, 64)


def report(*costs: float) -> Report:
    """A run in which netloop's starts cost this much, and each of uvloop's 10."""
    samples = []
    for repeat, cost in enumerate(costs):
        samples.append(Sample("netloop", ROW.name, repeat, {"cpu_us": cost, "loop_cpu_us": 2.0, "kernel_share": 0.75}))
        samples.append(Sample("uvloop", ROW.name, repeat, {"cpu_us": 10.0}))
    contenders = {name: Availability("1.0") for name in ("netloop", "uvloop")}
    settings = {"tracing": True, "server_cpu": 1, "repeats": len(costs)}
    return Report("bench", {}, settings, [ROW], contenders, {}, {}, Outcome(samples))


@pytest.mark.parametrize(
    ("ratios", "tie"),
    [
        ((0.80, 0.85, 0.90, 0.95, 1.00), True),
        ((0.80, 0.84, 0.85, 0.86, 0.99), False),
        ((1.20, 1.21, 1.22, 1.23, 1.24), False),
        ((1.0,), True),
        # One pair alone says nothing of starts.
        ((0.99,), False),
    ],
)
def test_a_ratio_no_farther_from_1_than_starts_differ_is_a_tie(ratios: tuple[float, ...], tie: bool) -> None:
    assert spread(list(ratios)).is_tie is tie


def test_the_spread_between_starts_is_the_distance_of_the_quartiles() -> None:
    assert spread([9.0, 9.5, 10.0, 10.5, 12.0]).between_starts == pytest.approx(0.1)
    assert spread([10.0]).between_starts is None
    assert Spread(0.0, 0.0, 0.0, 3).between_starts is None


def test_tables_tell_ties_and_spreads() -> None:
    steady, loose = report(7.9, 8.0, 8.1, 8.0, 8.0), report(8.0, 9.0, 9.5, 10.0, 11.0)
    assert comparison(steady).lines == [["protocol echo, 100 x 64 B", "0.80 [0.80-0.80]", "1"]]
    assert comparison(loose).lines == [["protocol echo, 100 x 64 B", "tie: 0.95 [0.90-1.00]", "1"]]
    table = details(loose)
    cells = dict(zip(table.heads, table.lines[0], strict=True))
    assert (cells["between starts"], cells["loop thread CPU µs/message"], cells["its kernel share"]) == (
        *("11%", "2.00", "75%"),
    )


def test_columns_that_nobody_has_figures_for_are_left_out() -> None:
    heads = details(report(8.0, 8.0)).heads
    assert heads == [
        *("row", "loop", "CPU µs/message", "÷ uvloop", "between starts"),
        *("loop thread CPU µs/message", "its kernel share"),
    ]


def test_ties_are_hollow_in_the_picture() -> None:
    (steady,), (loose,) = (overview.points(report(*costs)) for costs in ((8.0, 8.0, 8.1), (8.0, 9.5, 11.0)))
    assert overview.face(loose) == "white" != overview.face(steady)


def test_the_full_profile_starts_each_server_often_enough_and_a_shorter_run_says_that_it_does_not() -> None:
    assert PROFILES["full"].repeats >= ENOUGH_STARTS
    few, enough = (report(*[8.0] * count).notes() for count in (ENOUGH_STARTS - 1, ENOUGH_STARTS))
    assert any("starts of each server" in note for note in few)
    assert not any("starts of each server" in note for note in enough)
