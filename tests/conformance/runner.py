"""Runs modules of CPython's asyncio tests in interpreters of their own, so that a hang or a crash is a result."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Outcome", "run_module"]

TESTS = Path(__file__).resolve().parent.parent

# A test that says nothing for so long hangs; the slowest take some ten seconds when everything is sanitized.
QUIET_SECONDS = 90.0

# How many tests of a module may hang or crash before the rest of it is given up.
RESTARTS = 4


@dataclass(frozen=True)
class Outcome:
    """How a test ended: "passed", "failed", "skipped", "hung" or "crashed", and why."""

    kind: str
    why: str = ""

    @property
    def bad(self) -> bool:
        return self.kind not in ("passed", "skipped")


def run_module(
    loop_name: str, module: str, *, only: Iterable[str] = (), without: Iterable[str] = ()
) -> dict[str, Outcome]:
    """Run the tests of ``test.test_asyncio.MODULE`` with loops of one kind.

    Args:
        loop_name: "netloop" or "asyncio".
        module: the module's last name.
        only: names of classes or tests (``CLASS.TEST``); all, if none are given.
        without: names of classes or tests to leave out.

    Returns:
        What became of each test, by its name. What goes wrong outside a test counts as a test named "module".
    """
    outcomes: dict[str, Outcome] = {}
    for _attempt in range(RESTARTS + 1):
        names = [*only, *(f"-{name}" for name in {*without, *outcomes})]
        if run_once([loop_name, module, *names], outcomes):
            break
    else:
        outcomes["module"] = Outcome("hung", f"more than {RESTARTS} tests hung or crashed; the rest was not run")
    return outcomes


def run_once(arguments: list[str], outcomes: dict[str, Outcome]) -> bool:
    """Run one child, adding to the outcomes; False if a test has hung or crashed and others are still to be run."""
    paths = [str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
    child = subprocess.Popen(
        [sys.executable, "-X", "faulthandler", "-m", "conformance.bound", *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        current, complaint = follow(child, outcomes)
    finally:
        # With the processes that its tests may have left behind.
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
        with child:
            pass
    if current:
        outcomes[current] = Outcome("hung" if child.returncode == -signal.SIGKILL else "crashed", complaint)
        return False
    if child.returncode:
        outcomes["module"] = Outcome("crashed", f"the interpreter ended with {child.returncode}: {complaint}")
    return True


def follow(child: subprocess.Popen[bytes], outcomes: dict[str, Outcome]) -> tuple[str, str]:
    """Take in what a child reports until it ends or falls silent.

    Returns the name of the test that was running at last, if any, and the end of what it wrote to standard error.
    """
    assert child.stdout is not None and child.stderr is not None
    current, rest, complaint = "", b"", b""
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ)
        selector.register(child.stderr, selectors.EVENT_READ)
        while child.stdout in selector.get_map():
            ready = selector.select(QUIET_SECONDS)
            if not ready:
                break
            for key, _events in ready:
                data = os.read(key.fd, 65536)
                if not data:
                    selector.unregister(key.fileobj)
                elif key.fileobj is child.stderr:
                    complaint = (complaint + data)[-20000:]
                else:
                    *lines, rest = (rest + data).split(b"\n")
                    for line in lines:
                        current = note(json.loads(line), outcomes)
        else:
            child.wait(QUIET_SECONDS)
    return current, complaint.decode(errors="replace")


def note(report: dict[str, str], outcomes: dict[str, Outcome]) -> str:
    """Take in one line of a child; the name of the test that runs, if one does."""
    name, kind = report["test"], report["outcome"]
    if kind == "started":
        return name
    before = outcomes.get(name)
    if before is None or not before.bad:
        outcomes[name] = Outcome(kind, report.get("why", ""))
    return ""
