"""The runner of other projects' test suites: what it makes of tests that fail, hang or crash, and of expectations."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from conformance.runner import Outcome
from suites.environment import environment_in
from suites.modules import run_module
from suites.run import SUITES
from suites.suite import Suite
from suites.verdict import Verdict, behind

PASSED, FAILED, SKIPPED = Outcome("passed"), Outcome("failed", "no"), Outcome("skipped")
# A suite whose tests do all that tests do.
TESTS = """
import asyncio, os, subprocess, sys, threading, time
import pytest

PROGRAM = "import asyncio; print(type(asyncio.new_event_loop()).__name__)"

def test_passes(): pass

def test_fails(): assert 1 == 2

def test_hangs(): time.sleep(600)

def test_crashes(): os._exit(3)

@pytest.mark.skip(reason="never")
def test_is_skipped(): pass

@pytest.mark.xfail(strict=True)
def test_is_expected_to_fail(): assert False

@pytest.fixture
def broken_at_last():
    yield
    raise ValueError("broken at last")

def test_fails_when_torn_down(broken_at_last): pass

def test_the_loop():
    loops = [asyncio.new_event_loop(), asyncio.SelectorEventLoop(), asyncio.DefaultEventLoopPolicy().new_event_loop()]
    for loop in loops:
        loop.close()
    names = {type(loop).__name__ for loop in loops}
    names.add(subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True).stdout.strip())
    assert names == {os.environ["WANTED"]}

def test_comes_last(): pass
"""


def suite_of(**more: object) -> Suite:
    return Suite("tests", "1", (), (), ("test_*.py",), quiet_seconds=8.0, **more)  # type: ignore[arg-type]


@pytest.mark.limit(120)
@pytest.mark.parametrize(("binding", "kind"), [("asyncio", "_UnixSelectorEventLoop"), ("netloop", "BoundLoop")])
def test_every_outcome_is_told_by_the_name_of_its_test(tmp_path: Path, binding: str, kind: str) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_all.py").write_text(TESTS)
    environment = environment_in(Path(sys.executable), tmp_path / "tests", tmp_path / "links")
    suite = suite_of(environment={"WANTED": kind, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"})
    assert suite.find_modules(environment.folder) == ["test_all.py"]
    outcomes = run_module(suite, environment, binding, "test_all.py")
    assert {test.removeprefix("test_all.py::test_"): outcome.kind for test, outcome in outcomes.items()} == {
        "passes": "passed",
        "fails": "failed",
        "hangs": "hung",
        "crashes": "crashed",
        "is_skipped": "skipped",
        "is_expected_to_fail": "passed",
        "fails_when_torn_down": "failed",
        "the_loop": "passed",
        "comes_last": "passed",
    }
    assert "assert 1 == 2" in outcomes["test_all.py::test_fails"].why
    assert "in test_hangs" in outcomes["test_all.py::test_hangs"].why  # the stacks


def test_a_module_that_cannot_be_loaded_is_told_as_such(tmp_path: Path) -> None:
    (tmp_path / "test_broken.py").write_text("import no_such_module")
    suite, environment = suite_of(), environment_in(Path(sys.executable), tmp_path, tmp_path / "links")
    verdict = Verdict(suite, asyncio=run_module(suite, environment, "asyncio", "test_broken.py"))
    assert "no_such_module" in verdict.broken["test_broken.py"].why


def test_only_what_asyncio_passes_counts() -> None:
    names = ("passes", "fails", "skipped", "gone", "worse", "new")
    passes, fails, skipped, gone, worse, new = (f"test_a.py::{name}" for name in names)
    asyncio = {passes: PASSED, fails: FAILED, skipped: PASSED, gone: PASSED, worse: PASSED}
    netloop = {passes: PASSED, fails: FAILED, skipped: SKIPPED, worse: FAILED, new: FAILED}
    found = behind(asyncio, netloop)
    assert {test: outcome.kind for test, outcome in found.items()} == {
        skipped: "skipped",
        gone: "not run",
        worse: "failed",
    }


def test_a_module_whose_process_does_not_end_counts() -> None:
    asyncio = {"test_a.py::test": PASSED, "test_b.py": FAILED}
    netloop = {"test_a.py::test": PASSED, "test_a.py": Outcome("hung"), "test_b.py": FAILED}
    assert behind(asyncio, netloop) == {"test_a.py": Outcome("hung")}


def test_a_reason_excuses_one_test_and_no_more() -> None:
    suite = suite_of(expected={"known": "it looks into the selector"})
    verdict = Verdict(suite, {"known": PASSED, "new": PASSED}, {"known": FAILED, "new": FAILED})
    assert list(verdict.behind) == ["known", "new"]
    assert list(verdict.unexpected) == ["new"]
    assert not verdict.stale


def test_a_reason_that_no_longer_applies_is_told() -> None:
    expected = {
        "passes": "why",
        "gone": "why",
        "unsteady": "why",
    }
    outcomes = {"passes": PASSED, "unsteady": PASSED}
    verdict = Verdict(suite_of(expected=expected), dict(outcomes), dict(outcomes), unsteady={"unsteady"})
    assert verdict.stale.keys() == {"passes", "gone"}


def test_what_asyncio_fails_at_times_says_nothing() -> None:
    verdict = Verdict(suite_of(), {"test": PASSED}, {"test": FAILED}, unsteady={"test"})
    assert not verdict.behind
    assert not verdict.unexpected


@pytest.mark.parametrize("name", SUITES)
def test_every_exception_has_a_reason(name: str) -> None:
    suite = SUITES[name]
    reasons = [*suite.left_out.values(), *suite.expected.values()]
    assert all(reasons)
    assert all("==" in requirement for requirement in suite.requirements)
