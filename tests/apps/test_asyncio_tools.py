"""asyncio's own tools that look into a running process: `python -m asyncio ps PID` and `pstree PID`."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .programs import Program

pytest.importorskip("_remote_debugging", reason="the tools came with Python 3.14, where the system lets it read others")

PROGRAM = """
import asyncio, importlib, sys

async def wait_for_ever():
    await asyncio.Event().wait()

async def work():
    await wait_for_ever()

async def main():
    async with asyncio.TaskGroup() as group:
        group.create_task(work(), name="first")
        group.create_task(work(), name="second")
        await asyncio.sleep(0)
        print("ready")

module = importlib.import_module(sys.argv[1])
with asyncio.Runner(loop_factory=module.new_event_loop) as runner:
    runner.run(main())
"""


@pytest.fixture
def pid(loop_name: str, tmp_path: Path) -> Iterator[int]:
    """A process whose loop runs three tasks, of which the first waits for the others."""
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    program = Program([sys.executable, str(script), loop_name], tmp_path, {})
    try:
        program.wait_for("ready")
        yield program.pid
    finally:
        program.stop()


def look(command: str, pid: int) -> list[str]:
    """The lines that one of the tools prints of a process."""
    done = subprocess.run(
        [sys.executable, "-m", "asyncio", command, str(pid)], capture_output=True, text=True, timeout=25
    )
    if done.returncode and re.search("permission", done.stdout + done.stderr, re.IGNORECASE):
        pytest.skip("this system does not let a process read another one's memory")
    assert not done.returncode, done.stdout + done.stderr
    return done.stdout.splitlines()


def test_ps_shows_the_tasks_and_who_waits_for_them(pid: int) -> None:
    # Columns stand two spaces apart or more. The first three are the thread, the task's identity and its name.
    lines = [re.split(r"\s{2,}", line.strip()) for line in look("ps", pid)[2:]]
    tasks = {line[2]: line for line in lines}
    assert tasks.keys() == {"Task-1", "first", "second"}
    for name in ("first", "second"):
        assert tasks[name][3] == "Event.wait -> wait_for_ever -> work"
        assert tasks[name][-2:] == ["Task-1", tasks["Task-1"][1]]


def test_pstree_shows_the_tasks_below_the_one_that_waits(pid: int) -> None:
    lines = look("pstree", pid)
    tasks = [re.findall(r"^(\W*)\(T\) (\S+)$", line) for line in lines]
    found = [(name, len(indent)) for match in tasks for indent, name in match]
    assert [name for name, _ in found] == ["Task-1", "first", "second"]
    assert found[0][1] < found[1][1] == found[2][1]
    assert sum("wait_for_ever" in line for line in lines) == 2
