"""What the doctor says of I/O on CPUs of its own: possible, refused by whom, or failed at what."""

from __future__ import annotations

import errno
import io
import os

import pytest

from netloop.setup.unavailable import Unavailable
from netloop.tools.doctor import examine, show
from netloop.tools.doctor.limits import Limit
from netloop.tools.doctor.pollers import try_poller
from netloop.tools.doctor.trial import TrialError


def nothing(cpu: int) -> None:
    """A trial that goes well."""


def test_this_machine() -> None:
    """A connection on a real loop; a CPU that can be named in a program is."""
    told = try_poller()
    assert told.value == f"possible, for instance io_cpus=[{max(os.sched_getaffinity(0))}]"


@pytest.mark.parametrize(("cpus", "remark"), [({2, 3}, ""), ({0}, "there is one CPU only")])
def test_it_pays_where_there_is_another_cpu(monkeypatch: pytest.MonkeyPatch, cpus: set[int], remark: str) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: cpus)
    told = try_poller(nothing)
    assert told.value == f"possible, for instance io_cpus=[{max(cpus)}]"
    assert told.remark.startswith(remark)
    assert bool(told.remark) == bool(remark)


def test_a_refusal_with_cause_and_remedy() -> None:
    def attempt(cpu: int) -> None:
        raise Unavailable(errno.EPERM, "a security module refuses it", "allow it")

    assert try_poller(attempt) == Limit("I/O on CPUs of its own", "refused", "a security module refuses it; allow it")


@pytest.mark.parametrize("error", [TrialError("sending: no end after 5 s"), OSError(errno.EMFILE, "too many files")])
def test_a_trial_that_fails(error: Exception) -> None:
    def attempt(cpu: int) -> None:
        raise error

    told = try_poller(attempt)
    assert (told.value, told.remark) == ("failed", str(error))


@pytest.mark.parametrize("runs", [True, False])
def test_it_is_asked_where_loops_run(runs: bool) -> None:
    def attempt() -> None:
        if not runs:
            raise TrialError("accepting: no end")

    told = Limit("I/O on CPUs of its own", "possible")
    report = examine(attempt=attempt, oracle=lambda: ("an oracle", {}), poller=lambda: told)
    assert (told in report.limits) is runs
    stream = io.StringIO()
    show(report, stream=stream, plain=True)
    assert ("I/O on CPUs of its own" in stream.getvalue()) is runs
