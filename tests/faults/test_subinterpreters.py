"""Interpreters beside the main one: a loop runs in the first that makes one, and the others are told so."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import time
import types

import pytest

from .child import run_child

SUPPORTING = ("_interpreters", "_xxsubinterpreters")

# Runs in the other interpreter, and writes what came of it to a pipe.
RUN = """
import asyncio, os, time
try:
    import netloop
    begun = time.monotonic()
    async def main():
        await asyncio.sleep(0.3)  # long enough for the loop to borrow the descriptor of signals, if it does
        return await asyncio.to_thread(int, "7")
    result = netloop.run(main())
except Exception as error:
    result = f"{{type(error).__name__}}: {{error}}"
os.write({descriptor}, str(result).encode())
"""


def interpreters() -> types.ModuleType:
    """The module that makes interpreters; it has no public name in the versions that this is to run on."""
    for name in SUPPORTING:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise NotImplementedError


def run_beside(isolated, loop_here_first):
    """Run a loop in a new interpreter; returns what it says, or None where there are no such interpreters."""
    try:
        module = interpreters()
    except NotImplementedError:
        return None
    if loop_here_first:
        import netloop

        netloop.new_event_loop().close()
    reading, writing = os.pipe()
    if module.__name__ == "_interpreters":
        made = module.create("isolated" if isolated else "legacy")
    else:
        made = module.create(isolated=isolated)
    module.run_string(made, RUN.format(descriptor=writing))
    os.close(writing)
    said = os.read(reading, 10_000).decode()
    os.close(reading)
    if not isolated and not loop_here_first:
        said += f", {signals_come_here()}"
    module.destroy(made)
    return said


def signals_come_here():
    """Is the process's descriptor for signals still that of the main interpreter?"""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing)
    previous = signal.signal(signal.SIGUSR1, lambda number, frame: None)
    os.kill(os.getpid(), signal.SIGUSR1)
    time.sleep(0.01)
    came = os.read(reading, 10)
    signal.signal(signal.SIGUSR1, previous)
    signal.set_wakeup_fd(-1)
    return "signals come" if came == bytes([signal.SIGUSR1]) else f"{came!r} came"


def outcome(isolated, loop_here_first):
    said = run_child(run_beside, isolated, loop_here_first)
    if said is None:
        pytest.skip("this interpreter cannot make others")
    return said


def test_a_loop_runs_in_the_first_interpreter_that_makes_one():
    assert outcome(False, False) == "7, signals come"


ISOLATED = pytest.mark.skipif(
    sys.version_info < (3, 13),
    reason="3.11 knows none; of 3.12 the process aborts when it ends, after one has imported asyncio",
)


@pytest.mark.parametrize("isolated", [False, pytest.param(True, marks=ISOLATED)])
def test_a_second_interpreter_is_told_that_another_has_it(isolated):
    said = outcome(isolated, True)
    assert said.startswith("ImportError: netloop runs in one interpreter of a process"), said


@ISOLATED
def test_an_isolated_interpreter_is_refused():
    said = outcome(True, False)
    assert said.startswith("ImportError: netloop runs in one interpreter of a process"), said
