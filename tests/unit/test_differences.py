"""The list of what each loop does otherwise, and the table in tests/loop/DIFFERENCES.md that is written from it."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from loop import table as proof
from loop.differences import DIFFERENCES, Difference
from loop.table import DOCUMENT, VERSION, render, rows, suite, table_of, with_table

TESTS = Path(__file__).resolve().parents[1] / "loop"


@pytest.mark.skipif(sys.version_info[:2] != VERSION, reason="the table tells of another version of Python")
def test_the_table_is_that_of_the_list() -> None:
    assert table_of(DOCUMENT.read_text()) == render(rows(DIFFERENCES)), "run `cd tests && python -m loop.table`"


@pytest.mark.parametrize("test", sorted({test for table in DIFFERENCES.values() for test in table}))
def test_every_entry_names_a_test_that_is_there(test: str) -> None:
    module, _, rest = test.partition("::")
    function = rest.partition("[")[0]
    assert re.search(rf"^\s*(async )?def {function}\(", (TESTS / f"{module}.py").read_text(), re.MULTILINE)


def test_tests_with_the_same_differences_share_a_row() -> None:
    slow, other = Difference("slow"), Difference("slow", skip=True, at_times=True)
    table = {"uvloop": {"test_unix::test_one": slow, "test_unix::test_two[x-1]": slow, "test_unix::test_three": other}}
    assert render(rows(table)).splitlines()[2:] == [
        "| UNIX sockets: one, and 1 more | ✓ | slow | ✓ |",
        "| UNIX sockets: three | ✓ | at times: slow | ✓ |",
    ]


def test_expressions_are_told_as_such() -> None:
    table = {"netloop": {"test_bad_input::test_running[loop.stop(1 | 2)]": Difference("no")}}
    assert render(rows(table)).splitlines()[2:] == ["| bad input: `loop.stop(1 \\| 2)` | ✓ | not compared | no |"]


def test_a_table_is_put_between_its_marks() -> None:
    text = "before\n<!-- differences: begin -->\nold\n<!-- differences: end -->\nafter\n"
    assert table_of(text) == "old\n"
    assert with_table(text, "new\n") == text.replace("old", "new")
    with pytest.raises(ValueError, match="no table"):
        with_table("no marks", "new\n")


def test_the_proof_runs_each_test_on_the_loops_it_is_for() -> None:
    found = suite("--collect-only", "-k", "test_bad_input or test_write").stdout
    loops = {
        name: set(re.findall(rf"/{name}\.py::\w+\[(asyncio|uvloop|netloop)", found))
        for name in ("test_bad_input", "test_write")
    }
    assert loops == {"test_bad_input": {"asyncio", "netloop"}, "test_write": {"asyncio", "uvloop", "netloop"}}


def test_an_entry_is_proved_by_one_of_its_tests_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some of its parameters may pass, and one that depends on a race may fail only when it is tried again."""
    entry, exact = "test_cancelling::test_x", "test_cancelling::test_x[call(1 - 2)]"
    monkeypatch.setitem(DIFFERENCES, "uvloop", {entry: Difference("slow"), exact: Difference("slower")})
    folder = "tests/loop/test_cancelling.py::"
    tests = [f"{folder}test_x[{parameters}]" for parameters in ("a-uvloop", "uvloop-b", "uvloop-call(1 - 2)")]
    assert [proof.entry_of(test) for test in tests] == [("uvloop", entry), ("uvloop", entry), ("uvloop", exact)]
    tries: list[str] = []

    def passes(test: str) -> bool:
        tries.append(test)
        return test != tests[1] or tries.count(test) < 2

    monkeypatch.setattr(proof, "passes", passes)
    assert proof.tried(tests) == {("uvloop", exact)}
    assert [tries.count(test) for test in tests] == [2, 2, proof.TRIES]
