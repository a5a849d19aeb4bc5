"""Runs a function of a test module in a fresh interpreter, where it may crash, hang or be starved of resources."""

from __future__ import annotations

import contextlib
import faulthandler
import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from loop.patience import stretched

TESTS = Path(__file__).resolve().parent.parent
LAST_WORDS = 5.0
PROGRAM = "from faults.child import main; main()"


def command_for(function: Callable[..., Any], *arguments: Any, seconds: float) -> list[str]:
    """The command line that calls a module-level function with arguments that JSON can carry."""
    return [
        *(sys.executable, "-X", "faulthandler", "-W", "error", "-c", PROGRAM),
        *(function.__module__, function.__name__, json.dumps(arguments), str(stretched(seconds))),
    ]


def environment(**more: str) -> dict[str, str]:
    """This process's environment with the tests importable."""
    paths = [str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **more}


def run_child(function: Callable[..., Any], *arguments: Any, seconds: float = 20.0, **more: str) -> Any:
    """What the function returned in the child; fails if it crashed, hung, or complained while collecting objects.

    Args:
        function: a module-level function, called as ``function(*arguments)``.
        arguments: what JSON can carry.
        seconds: after so long the child prints its stacks and is killed.
        more: environment variables of the child.
    """
    command = command_for(function, *arguments, seconds=seconds)
    try:
        child = subprocess.run(
            command,
            env=environment(**more),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=stretched(seconds + 2 * LAST_WORDS),
        )
    except subprocess.TimeoutExpired as error:
        raise AssertionError(f"{function.__name__} hung; it said: {error.stderr!r}") from error
    assert child.returncode == 0, f"{function.__name__} ended with {child.returncode}:\n{child.stderr}"
    assert "Exception ignored" not in child.stderr, child.stderr
    return json.loads(child.stdout.splitlines()[-1])


def main() -> None:
    """Do what the command line says and print the result as the last line."""
    module, name, arguments, seconds = sys.argv[1:]
    faulthandler.dump_traceback_later(float(seconds), exit=True)
    result = getattr(importlib.import_module(module), name)(*json.loads(arguments))
    faulthandler.cancel_dump_traceback_later()
    print(json.dumps(result))


def descriptors() -> set[tuple[str, str]]:
    """The open descriptors of this process and what they refer to."""

    def found() -> Iterator[tuple[str, str]]:
        for name in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):  # the descriptor of the listing itself is gone by now
                yield name, os.readlink(f"/proc/self/fd/{name}")

    return set(found())


def descriptors_left(before: set[tuple[str, str]], seconds: float = 3.0) -> list[str]:
    """What is open now and was not before, after the kernel had a moment to tear rings down."""
    deadline = time.monotonic() + stretched(seconds)
    while (left := descriptors() - before) and time.monotonic() < deadline:
        time.sleep(0.005)
    return sorted(target for _, target in left)


def memory_peak() -> int:
    """The most memory this process ever had resident, in bytes (``VmHWM`` of proc(5))."""
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
