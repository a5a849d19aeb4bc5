"""Runs modules of a suite in processes of their own, so that a hang or a crash is the result of one test."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from conformance.runner import Outcome

from suites.environment import Environment
from suites.suite import Suite

__all__ = ["run_module"]

# How many tests of a module may hang or crash before the rest of it is given up.
RESTARTS = 12

# How long a process that hangs gets to write the stacks of its threads, in seconds.
STACKS_SECONDS = 3.0

# What is kept of a process's output, in characters: the end of it.
COMPLAINT = 20_000

# pytest's exit statuses for: all passed, some failed, no tests.
ORDERLY = (0, 1, 5)


def run_module(
    suite: Suite, environment: Environment, loop_name: str, module: str, *, only: Iterable[str] = ()
) -> dict[str, Outcome]:
    """Run the tests of a module on one kind of loop.

    Args:
        suite: that the module is of.
        environment: where it is run.
        loop_name: "asyncio" or "netloop".
        module: its path, relative to the folder of tests.
        only: the tests to run, all of them if none are given.

    Returns:
        What became of each test, by pytest's name for it. What goes wrong outside a test counts under the module's.
    """
    outcomes: dict[str, Outcome] = {}
    wanted = set(only)
    for _attempt in range(RESTARTS + 1):
        plan = {"only": sorted(wanted - outcomes.keys()), "without": [*outcomes, *suite.left_out]}
        if wanted and not plan["only"]:
            break
        with suite.service() as options, tempfile.TemporaryDirectory(prefix="netloop-") as name:
            run = _Run(suite, environment, Path(name), plan)
            if run.complete([module, *options], loop_name, outcomes):
                break
    else:
        outcomes[module] = Outcome("hung", f"more than {RESTARTS} tests hung or crashed; the rest was not run")
    return outcomes


class _Run:
    """One process that runs tests, until it ends or falls silent."""

    def __init__(self, suite: Suite, environment: Environment, folder: Path, plan: dict[str, list[str]]) -> None:
        self._suite = suite
        self._environment = environment
        self._log = folder / "log"
        self._report = folder / "report"
        self._plan = folder / "plan"
        self._plan.write_text(json.dumps({**plan, "report": str(self._report)}))
        self._report.touch()

    def complete(self, arguments: list[str], loop_name: str, outcomes: dict[str, Outcome]) -> bool:
        """Run the process, adding to the outcomes; False if a test has hung or crashed and others may follow it."""
        with self._log.open("wb") as log:
            child = subprocess.Popen(
                [self._environment.python, *self._command(), *arguments],
                cwd=self._environment.folder,
                env=self._variables(loop_name),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            try:
                hung = self._follow(child)
            finally:
                # With the processes that its tests may have left behind; before it is waited for, as its number is
                # its own until then.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
                child.wait()
        current = self._read(outcomes)
        module = arguments[0]
        if current:
            outcomes[current] = Outcome("hung" if hung else "crashed", self._complaint())
            return False
        if hung:
            outcomes[module] = Outcome("hung", f"the process did not end after its tests:\n{self._complaint()}")
        elif child.returncode not in ORDERLY:
            outcomes[module] = Outcome("crashed", f"it ended with {child.returncode}:\n{self._complaint()}")
        return True

    def _command(self) -> list[str]:
        options = ["--tb=short", "-p", "suites_plugin", "-p", "no:cacheprovider", *self._suite.options]
        return ["-X", "faulthandler", "-m", "pytest", *options]

    def _variables(self, loop_name: str) -> dict[str, str]:
        dropped = ("PYTHONPATH", "PYTHONHOME", "PYTHONWARNINGS", "PYTEST_ADDOPTS", "VIRTUAL_ENV")
        return {
            **{name: value for name, value in os.environ.items() if name not in dropped},
            **self._suite.environment,
            "PYTHONPATH": os.pathsep.join(map(str, self._environment.paths)),
            "SUITES_LOOP": loop_name,
            "SUITES_PLAN": str(self._plan),
        }

    def _follow(self, child: subprocess.Popen[bytes]) -> bool:
        """Wait until the process ends, without reaping it; True if it fell silent before."""
        reported, deadline = 0, time.monotonic() + self._suite.quiet_seconds
        while not _ended(child):
            size = self._report.stat().st_size
            if size != reported:
                reported, deadline = size, time.monotonic() + self._suite.quiet_seconds
            elif time.monotonic() > deadline:
                child.send_signal(signal.SIGABRT)  # on which faulthandler writes the stacks
                give_up = time.monotonic() + STACKS_SECONDS
                while not _ended(child) and time.monotonic() < give_up:
                    time.sleep(0.05)
                return True
            time.sleep(0.05)
        return False

    def _read(self, outcomes: dict[str, Outcome]) -> str:
        """Take in what the process has reported; the test that it was in the middle of, if any."""
        current = ""
        for line in self._report.read_text().splitlines():
            report = json.loads(line)
            test, kind = report["test"], report["outcome"]
            if kind in ("started", "ended"):
                current = test if kind == "started" else ""
            elif test not in outcomes or not outcomes[test].bad:
                # What is reported last of a test counts, unless something before it was bad: a test that passed may
                # fail when it is torn down.
                outcomes[test] = Outcome(kind, report["why"])
        return current

    def _complaint(self) -> str:
        return self._log.read_text(errors="replace")[-COMPLAINT:]


def _ended(child: subprocess.Popen[bytes]) -> bool:
    return os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
