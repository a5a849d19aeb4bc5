"""A plugin for the pytest that runs a suite: it chooses tests, and tells of each as it starts and as it ends.

What to do stands in the JSON file that the environment variable SUITES_PLAN names: ``report``, the file to which one
JSON object a line is added (``{"test": ..., "outcome": "started"}``, then ``passed``, ``failed`` with ``why``, or
``skipped``); ``only``, the tests to run, all if there are none; and ``without``, the tests to leave out.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

PLAN: dict[str, Any] = json.loads(Path(os.environ["SUITES_PLAN"]).read_text())
# What a failed test says of itself is cut to this many characters, from its end.
WHY = 4000


def say(test: str, outcome: str, why: str = "") -> None:
    # Opened each time: a process that a test has forked must not hold the file, nor share its position.
    with open(PLAN["report"], "a") as out:
        out.write(json.dumps({"test": test, "outcome": outcome, "why": why[-WHY:]}) + "\n")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    only, without = set(PLAN["only"]), set(PLAN["without"])
    items[:] = [item for item in items if item.nodeid not in without and (not only or item.nodeid in only)]


def pytest_runtest_logstart(nodeid: str) -> None:
    say(nodeid, "started")


def pytest_runtest_logfinish(nodeid: str) -> None:
    say(nodeid, "ended")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.failed:
        say(report.nodeid, "failed", f"{report.when}: {report.longreprtext}")
    elif hasattr(report, "wasxfail"):
        say(report.nodeid, "passed")
    elif report.skipped:
        say(report.nodeid, "skipped", str(report.longrepr))
    elif report.when == "call":
        say(report.nodeid, "passed")


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.failed:
        say(report.nodeid, "failed", f"collection: {report.longreprtext}")
    elif report.skipped:
        say(report.nodeid, "skipped", str(report.longrepr))
