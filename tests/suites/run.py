"""The public test suites of other projects, on netloop's loop and on asyncio's.

    cd tests && python -m suites.run [--work FOLDER] [--module PATTERN] [--again N] [SUITE ...]

What passes on asyncio's loop must pass on netloop's. This holds for CPython's own tests (conformance), and it holds
for those of anyio, aiosmtpd, redis-py and uvloop, which use a loop as programs do. It is no part of what pytest runs
here: it needs the package index, redis-server (Debian's package of that name) and half an hour.

For each suite the pinned source package is downloaded and its tests are unpacked into a temporary folder, or into
FOLDER, which then serves the next time too. They run in an environment of their own, unchanged. The loop comes from
outside: `injected/sitecustomize.py` is found by every Python that a test starts, and makes asyncio's policy and the
names of its loop classes lead to netloop. Each module runs in a process of its own; a test that says nothing for a
minute is ended with the stacks of its threads and counts as hung, by its name. The rest of the module goes on in
another process.

A test that passes on asyncio's loop and not on netloop's is behind. Each is run N times more (once, unless told
otherwise) on both loops, on its own: one that then fails on asyncio's is unsteady and says nothing. The others are
listed with what they said, and the exit status is 1 if any of them has no reason in the suite's file
(`suite_anyio.py` and so on), or if a reason given there no longer applies. Nothing of these projects is kept here.

What fails on asyncio's loop here is not compared. Many of anyio's tests need `localhost` to have the address ::1 too.
"""

from __future__ import annotations

import argparse
import contextlib
import fnmatch
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from netloop.tools.table import show_table
from suites import suite_aiosmtpd, suite_anyio, suite_redis, suite_uvloop
from suites.environment import Environment, prepare
from suites.modules import run_module
from suites.suite import Suite
from suites.verdict import HEADS, NOT_RUN, Outcomes, Verdict, behind

__all__ = ["main"]

SUITES = {one.SUITE.name: one.SUITE for one in (suite_aiosmtpd, suite_anyio, suite_redis, suite_uvloop)}


def main(arguments: list[str] | None = None) -> int:
    """Run the suites that the command line names; the exit status."""
    options = _options(arguments)
    verdicts = []
    partly = options.module != "*"
    with _work_folder(options.work) as work:
        for name in options.suites or SUITES:
            suite = SUITES[name]
            _say(f"{name}: preparing {suite.version}")
            environment = prepare(suite, work)
            modules = [path for path in suite.find_modules(environment.folder) if fnmatch.fnmatch(path, options.module)]
            if not modules:
                raise SystemExit(f"no module of {name} matches {options.module!r}")
            verdicts.append(_run_suite(suite, environment, modules, options.again))
            if not partly:
                _keep(verdicts[-1], work)
    for verdict in verdicts:
        verdict.show()
        if not partly:
            verdict.show_stale()
    rows = [row for verdict in verdicts for row in verdict.rows()]
    show_table("Suites on asyncio's loop and on netloop's", HEADS, rows, stream=sys.stdout)
    return int(any(one.unexpected or one.broken or (one.stale and not partly) for one in verdicts))


def _options(arguments: list[str] | None) -> argparse.Namespace:
    summary = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(prog="python -m suites.run", description=summary)
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=f"of {', '.join(SUITES)}; all, unless named")
    parser.add_argument("--work", type=Path, metavar="FOLDER", help="keep what is downloaded, and the results, there")
    parser.add_argument("--module", default="*", metavar="PATTERN", help="only modules whose path matches")
    parser.add_argument("--again", type=int, default=1, metavar="N", help="how often to run again what is behind")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.suites if name not in SUITES]
    if unknown:
        parser.error(f"there is no suite {', '.join(unknown)}; there are {', '.join(SUITES)}")
    return options


@contextlib.contextmanager
def _work_folder(given: Path | None) -> Iterator[Path]:
    if given is not None:
        yield given.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="netloop-suites-") as name:
        yield Path(name)


def _run_suite(suite: Suite, environment: Environment, modules: list[str], again: int) -> Verdict:
    """Run modules on both loops, and once more what fails on netloop's alone."""
    verdict = Verdict(suite)
    for number, module in enumerate(modules, 1):
        _say(f"{suite.name} {number}/{len(modules)} {module}:", end="")
        found = {}
        for loop_name in ("asyncio", "netloop"):
            begun = time.monotonic()
            found[loop_name] = run_module(suite, environment, loop_name, module)
            _say(f" {loop_name} {_summary(found[loop_name])} in {time.monotonic() - begun:.0f} s;", end="")
        _run_again(verdict, environment, module, behind(found["asyncio"], found["netloop"]), again)
        _say(f" {len(behind(found['asyncio'], found['netloop']).keys() - verdict.unsteady)} behind")
        verdict.asyncio |= found["asyncio"]
        verdict.netloop |= found["netloop"]
    return verdict


def _run_again(verdict: Verdict, environment: Environment, module: str, tests: Outcomes, times: int) -> None:
    """Find out which of the tests are unsteady on asyncio's loop, and how often the others fail on netloop's.

    Each runs in a process of its own, so that the one that failed first is told from those that failed after it.
    """
    for name in (name for name in tests if "::" in name):
        for _time in range(times):
            standard = run_module(verdict.suite, environment, "asyncio", module, only=[name])
            if standard.get(name, NOT_RUN).kind != "passed":
                verdict.unsteady.add(name)
                break
            under_test = run_module(verdict.suite, environment, "netloop", module, only=[name])
            failed, of = verdict.again.get(name, (0, 0))
            verdict.again[name] = failed + (under_test.get(name, NOT_RUN).kind != "passed"), of + 1


def _summary(outcomes: Outcomes) -> str:
    passed = sum(outcome.kind == "passed" for outcome in outcomes.values())
    bad = sum(outcome.bad for outcome in outcomes.values())
    return f"{passed} passed" + (f", {bad} failed" if bad else "")


def _keep(verdict: Verdict, work: Path) -> None:
    """Write all outcomes to a file in the work folder, for who wants to look closer."""
    content = {
        "version": verdict.suite.version,
        "asyncio": {test: outcome.__dict__ for test, outcome in verdict.asyncio.items()},
        "netloop": {test: outcome.__dict__ for test, outcome in verdict.netloop.items()},
        "unsteady": sorted(verdict.unsteady),
    }
    (work / f"{verdict.suite.name}.json").write_text(json.dumps(content, indent=1))


def _say(text: str, end: str = "\n") -> None:
    print(text, end=end, flush=True)


if __name__ == "__main__":
    sys.exit(main())
