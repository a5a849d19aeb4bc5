"""The benchmark's programs that drive one server with several load generators."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parents[2] / "bench"
_SECONDS = 60.0
_SHORT = ["--seconds", "0.1", "--repeats", "1", "--connections", "6"]


def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """What the program says when its windows are short."""
    command = [sys.executable, str(BENCH / program), *_SHORT, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="a poller has a CPU beside that of the server")
def test_a_loop_with_a_poller_is_compared_with_one_without() -> None:
    done = run("pollers.py", "--pollers", "0", "1", "--references", "c-uring", "--loads", "2")
    assert done.returncode == 0, done.stderr
    titles, *rows = (line for line in done.stdout.splitlines()[2:])
    assert titles.split("  ")[-1].strip() == "p50, µs"
    assert [row[:22].strip() for row in rows] == ["c-uring", "netloop", "netloop, 1 poller"]
    for row in rows:
        rate, ratio, loop, everything, latency = (float(cell.replace(",", "")) for cell in row[22:].split())
        assert rate > 0 and ratio > 0 and latency > 0
        assert 0 < loop <= everything


def test_more_pollers_than_there_are_cpus_are_refused() -> None:
    done = run("pollers.py", "--pollers", str(len(os.sched_getaffinity(0))))
    assert done.returncode == 1
    assert "CPUs beside the server's, and there are" in done.stderr


def test_threads_are_compared_with_one() -> None:
    done = run("threads.py", "--threads", "1", "2")
    assert done.returncode == 0, done.stderr
    assert "netloop, 2 threads" in done.stdout
