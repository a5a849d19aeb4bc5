"""``python -m netloop stacks`` and ``top`` on a program that knows nothing of netloop but the loop."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from apps.programs import NETLOOP, Program

PROGRAM = """
import asyncio, os, sys, time
import netloop

async def worker():
    await asyncio.sleep(3600)

async def main():
    async with asyncio.TaskGroup() as group:
        group.create_task(worker(), name="the worker")
        await asyncio.sleep(0.1)
        print("process", os.getpid(), flush=True)
        if "stuck" in sys.argv:
            time.sleep(3600)

with asyncio.Runner(loop_factory=netloop.new_event_loop) as runner:
    runner.run(main())
"""

Start = Callable[..., Program]


@pytest.fixture
def look(start: Start, program: Callable[[str, str], str], tmp_path: Path) -> Callable[..., tuple[int, str]]:
    """Starts the program, and a command of netloop's that looks at it; the command's exit status and output."""

    def look_at(scene: str, command: str, *options: str, **environment: str) -> tuple[int, str]:
        settings = {"XDG_RUNTIME_DIR": str(tmp_path), "NETLOOP_INSPECT": "1", **environment}
        looked_at = start(program("program.py", PROGRAM), scene, **settings)
        process = looked_at.wait_for(r"process (\d+)")[1]
        looking = start("-m", "netloop", command, process, *options, XDG_RUNTIME_DIR=str(tmp_path))
        return looking.wait(), looking.output

    return look_at


def test_stacks_shows_the_tasks_as_a_tree(look: Callable[..., tuple[int, str]]) -> None:
    status, output = look("waiting", "stacks")
    assert status == 0
    lines = output.splitlines()
    assert "loop 1 in MainThread: waits" in lines
    parent = next(line for line in lines if "Task-1 main, awaits" in line)
    child = next(line for line in lines if "the worker worker, awaits a future" in line)
    assert lines.index(parent) < lines.index(child)
    assert len(child) - len(child.lstrip()) > len(parent) - len(parent.lstrip())
    assert any("program.py:6 in worker" in line for line in lines)


def test_stacks_shows_the_line_where_a_loop_is_stuck(look: Callable[..., tuple[int, str]]) -> None:
    status, output = look("stuck", "stacks")
    assert status == 0
    assert "in the same turn for" in output
    assert "program.py:14 in main" in output
    assert "Task-1 main, awaits nothing: it is being run" in output


def test_stacks_of_a_parent_names_its_children(
    start: Start, program: Callable[[str, str], str], tmp_path: Path
) -> None:
    parent = "import subprocess, sys; subprocess.run([sys.executable, *sys.argv[1:]])"
    settings = {"XDG_RUNTIME_DIR": str(tmp_path), "NETLOOP_INSPECT": "1"}
    looked_at = start("-c", parent, program("program.py", PROGRAM), "waiting", **settings)
    process = looked_at.wait_for(r"process (\d+)")[1]
    looking = start("-m", "netloop", "stacks", str(looked_at.pid), XDG_RUNTIME_DIR=str(tmp_path))
    assert looking.wait() == 1
    assert f"but its children do: {process}" in looking.output


def test_stacks_for_scripts(look: Callable[..., tuple[int, str]]) -> None:
    status, output = look("waiting", "stacks", "--json", "--limit", "1")
    assert status == 0
    (loop,) = json.loads(output)["loops"]
    assert (loop["tasks"]["count"], len(loop["tasks"]["shown"])) == (2, 1)


def test_top_for_scripts(look: Callable[..., tuple[int, str]]) -> None:
    status, output = look("waiting", "top", "--json", "--count", "2", "--interval", "0.05")
    assert status == 0
    first, second = (json.loads(line)["loops"][0]["statistics"] for line in output.splitlines())
    assert 0 < first["turns"] <= second["turns"]


def test_top_without_a_terminal(look: Callable[..., tuple[int, str]]) -> None:
    status, output = look("waiting", "top", "--count", "2", "--interval", "0.05")
    assert status == 0
    assert output.count("completions per system call") == 2
    # The program's only timer that has fired was one of 0.1 s. What was so at the first look is not told again.
    first, second = re.findall(r"timers late by, p50; p99(.*)", output)
    assert re.search(r"[\d.]+ ms; [\d.]+ ms", first)
    assert "ms" not in second
    assert "\033" not in output


def test_top_ends_with_the_process(start: Start, program: Callable[[str, str], str], tmp_path: Path) -> None:
    settings = {"XDG_RUNTIME_DIR": str(tmp_path), "NETLOOP_INSPECT": "1"}
    looked_at = start(program("program.py", PROGRAM), "waiting", **settings)
    process = looked_at.wait_for(r"process (\d+)")[1]
    looking = start("-m", "netloop", "top", process, "--interval", "0.05", "--json", XDG_RUNTIME_DIR=str(tmp_path))
    looking.wait_for(r"\{")
    os.kill(looked_at.pid, signal.SIGKILL)
    assert looking.wait() == 0


@pytest.mark.parametrize("rich", [True, False])
def test_top_in_a_terminal(start: Start, program: Callable[[str, str], str], tmp_path: Path, rich: bool) -> None:
    looked_at = start(program("program.py", PROGRAM), XDG_RUNTIME_DIR=str(tmp_path), NETLOOP_INSPECT="1")
    process = looked_at.wait_for(r"process (\d+)")[1]
    if not rich:
        # Found first, and refuses to be imported as a module that is not there does.
        (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['rich'] = None\n")
    environment = {
        **os.environ,
        "XDG_RUNTIME_DIR": str(tmp_path),
        "PYTHONPATH": os.pathsep.join([NETLOOP, str(tmp_path)]),
        "TERM": "xterm",
        "COLUMNS": "120",
        "LINES": "40",
    }
    command = [sys.executable, "-m", "netloop", "top", process, "--count", "2", "--interval", "0.05"]
    master, slave = pty.openpty()
    with (
        os.fdopen(master, "rb", buffering=0) as screen,
        subprocess.Popen(command, stdout=slave, stderr=slave, env=environment) as looking,
    ):
        os.close(slave)
        shown = b""
        # When the other side of the terminal is closed, reading fails.
        with contextlib.suppress(OSError):
            while data := screen.read(65536):
                shown += data
        assert looking.wait() == 0, shown
    assert b"completions per system call" in shown
    assert b"\033[" in shown


@pytest.mark.parametrize("command", ["stacks", "top"])
def test_a_process_that_was_not_asked_to_tell(look: Callable[..., tuple[int, str]], command: str) -> None:
    status, output = look("waiting", command, NETLOOP_INSPECT="")
    assert status == 1
    assert f"netloop {command}: process " in output
    assert "start it with NETLOOP_INSPECT=1" in output
    assert "Traceback" not in output


@pytest.mark.parametrize("command", ["stacks", "top"])
@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("4194999",), 1, "there is no process 4194999"),
        (("x",), 2, "x is not a positive number"),
        (("0",), 2, "0 is not a positive number"),
        (("1", "--limit", "-1"), 2, "-1"),
        ((), 2, "required: PID"),
    ],
)
def test_a_bad_command_line(start: Start, command: str, arguments: tuple[str, ...], status: int, words: str) -> None:
    child = start("-m", "netloop", command, *arguments)
    assert child.wait() == status
    assert words in child.output
    assert "Traceback" not in child.output


def test_top_takes_no_interval_that_would_be_a_burden(start: Start) -> None:
    child = start("-m", "netloop", "top", "1", "--interval", "0")
    assert child.wait() == 2
    assert "0 is not a number of seconds from 0.05 to 3600" in child.output
