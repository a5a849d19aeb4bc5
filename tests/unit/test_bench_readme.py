"""What of a benchmark's run goes into README.md, and where in README.md and bench/README.md the figures go."""

from __future__ import annotations

from pathlib import Path

import pytest
from harness.contenders import Availability
from harness.errors import BenchError
from harness.measure import Sample
from harness.readme import overview, replace
from harness.report import Report
from harness.rows import OVERVIEW, PEERS, Row
from harness.schedule import Outcome

ROOT = Path(__file__).resolve().parents[2]
PLACE = {"kernel": "Linux 6.18.44-some", "cpus": 2, "python": "CPython 3.11.7"}
# What netloop costs in each repeat; the other loops cost 10 and 20 each time.
COSTS = (8.0, 8.0, 9.0)


def samples(row: Row, costs: tuple[float, ...] = COSTS) -> list[Sample]:
    figure = "connection_kib" if row.kind == "idle" else "cpu_us"
    by_repeat = [{"netloop": cost, "uvloop": 10.0, "asyncio": 20.0} for cost in costs]
    return [
        Sample(name, row.name, repeat, {figure: value})
        for repeat, values in enumerate(by_repeat)
        for name, value in values.items()
    ]


def report(costs: dict[Row, tuple[float, ...]], failures: dict[tuple[str, str], str] | None = None) -> Report:
    """A run of three repeats, in which netloop's costs are these."""
    found = [sample for row, values in costs.items() for sample in samples(row, values)]
    contenders = {name: Availability("1.0") for name in ("netloop", "uvloop", "asyncio")}
    outcome = Outcome(found, {}, failures or {})
    return Report("bench", PLACE, {"repeats": 3}, list(costs), contenders, {}, {}, outcome)


def cells(text: str) -> dict[str, list[str]]:
    """The cells of a table by its first column."""
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return {first: rest for first, *rest in lines[1:]}


def test_the_readme_shows_eight_rows_and_a_picture_that_is_there() -> None:
    text = overview(report(dict.fromkeys(OVERVIEW, COSTS)))
    assert len(OVERVIEW) == 8
    assert cells(text) == {row.label: ["0.80 [0.80-0.85]", "0.40 [0.40-0.43]"] for row in OVERVIEW}
    assert "3 interleaved repeats, 2 CPUs, Linux 6.18, CPython 3.11.7" in " ".join(text.split())
    picture = text.partition("](")[2].partition(")")[0]
    assert (ROOT / picture).is_file()


@pytest.mark.parametrize(
    ("costs", "shown"),
    [
        ((9.0, 10.0, 11.0), "tie: 1.00 [0.95-1.05]"),
        ((11.0, 12.0, 13.0), "1.20 [1.15-1.25]"),
        ((9.0, 9.5, 10.4), "tie: 0.95 [0.93-0.99]"),
        ((9.3, 9.5, 9.7), "0.95 [0.94-0.96]"),
        # As far from 1 as from each other.
        ((10.0, 11.0, 12.0), "tie: 1.10 [1.05-1.15]"),
        # What is shown as 1.00 is 1 to whoever reads it.
        ((10.02, 10.04, 10.2), "tie: 1.00 [1.00-1.01]"),
    ],
)
def test_a_ratio_no_farther_from_1_than_its_starts_differ_is_a_tie(costs: tuple[float, ...], shown: str) -> None:
    row = OVERVIEW[0]
    text = overview(report(dict.fromkeys(OVERVIEW, COSTS) | {row: costs}))
    assert cells(text)[row.label][0] == shown


def test_a_run_without_one_of_the_rows_is_refused() -> None:
    missing, *rest = OVERVIEW
    with pytest.raises(BenchError, match=missing.name):
        overview(report(dict.fromkeys(rest, COSTS)))
    with pytest.raises(BenchError, match=missing.name):
        overview(report(dict.fromkeys(OVERVIEW, COSTS), {(missing.name, "uvloop"): "it lost a byte"}))


def test_every_row_of_the_readme_is_measured_with_all_peers() -> None:
    assert set(OVERVIEW) <= set(PEERS)


def test_figures_go_between_the_marks() -> None:
    text = "before\n<!-- results -->\nold\n<!-- end of results -->\nafter\n"
    new = "before\n<!-- results -->\n\nnew\n\n<!-- end of results -->\nafter\n"
    assert replace(text, "new\n", "README.md") == new
    with pytest.raises(BenchError, match=r"README\.md"):
        replace("no marks", "new", "README.md")


def test_both_readmes_have_the_marks() -> None:
    for name in ("README.md", "bench/README.md"):
        replace((ROOT / name).read_text(), "", name)
    replace((ROOT / "bench/README.md").read_text(), "", "bench/README.md", "stress")
