"""Runs one module of CPython's own asyncio tests, with every loop it makes a loop of netloop's (or asyncio's own).

A program of its own, in an interpreter of its own: it replaces asyncio.SelectorEventLoop, and a test may hang. What it
finds goes to standard output, one JSON object a line: ``{"test": ..., "outcome": "started"}`` and then ``passed``,
``failed`` (with ``why``) or ``skipped``.

    python -m conformance.bound netloop test_streams [CLASS.TEST ...]
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
import unittest
import warnings
from collections.abc import Iterator
from typing import Any

from conformance.binding import bind

__all__ = ["main"]


class Report(unittest.TestResult):
    """Tells of each test as it starts and as it ends, so that a hang has a name."""

    def __init__(self, out: Any) -> None:
        super().__init__()
        self.out = out

    def say(self, test: unittest.TestCase, outcome: str, **more: str) -> None:
        # The first part of an id is the module, which the reader knows.
        name = test.id().split("test_asyncio.", 1)[-1].split(".", 1)[-1]
        print(json.dumps({"test": name, "outcome": outcome, **more}), file=self.out, flush=True)

    def startTest(self, test: unittest.TestCase) -> None:
        super().startTest(test)
        self.say(test, "started")

    def addSuccess(self, test: unittest.TestCase) -> None:
        super().addSuccess(test)
        self.say(test, "passed")

    def addFailure(self, test: unittest.TestCase, err: Any) -> None:
        super().addFailure(test, err)
        self.say(test, "failed", why=self.failures[-1][1])

    def addError(self, test: unittest.TestCase, err: Any) -> None:
        super().addError(test, err)
        self.say(test, "failed", why=self.errors[-1][1])

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:
        super().addSkip(test, reason)
        self.say(test, "skipped", why=reason)

    def addExpectedFailure(self, test: unittest.TestCase, err: Any) -> None:
        super().addExpectedFailure(test, err)
        self.say(test, "passed")

    def addUnexpectedSuccess(self, test: unittest.TestCase) -> None:
        super().addUnexpectedSuccess(test)
        self.say(test, "failed", why="CPython expects this test to fail, and it passed")

    def addSubTest(self, test: unittest.TestCase, subtest: unittest.TestCase, err: Any) -> None:
        super().addSubTest(test, subtest, err)
        if err is not None:
            self.say(test, "failed", why=f"{subtest}: {''.join(traceback.format_exception(*err))}")


def each_test(suite: unittest.TestSuite) -> Iterator[unittest.TestCase]:
    """The tests of a suite, one by one."""
    for item in suite:
        if isinstance(item, unittest.TestSuite):
            yield from each_test(item)
        else:
            yield item


def main() -> None:
    """Run the tests named on the command line, or all of the module but those named after a minus sign."""
    loop_name, module_name, *names = sys.argv[1:]
    if loop_name == "netloop":
        bind()
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the tests print themselves is not for the reader of the outcomes
    warnings.simplefilter("default")
    module = importlib.import_module(f"test.test_asyncio.{module_name}")
    suite = unittest.defaultTestLoader.loadTestsFromModule(module)
    left_out = {name[1:] for name in names if name.startswith("-")}
    wanted = {name for name in names if not name.startswith("-")}
    chosen = unittest.TestSuite()
    for test in each_test(suite):
        name = test.id().split(f"{module_name}.", 1)[-1]
        kind = name.split(".")[0]
        if not {name, kind} & left_out and (not wanted or {name, kind} & wanted):
            chosen.addTest(test)
    with out:
        chosen.run(Report(out))


if __name__ == "__main__":
    main()
