"""nest_asyncio, which lets asyncio's own loops run inside themselves, and refuses others or breaks them."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("nest_asyncio", reason="not installed: pip install nest-asyncio")

# In a process of its own, because it patches asyncio before it looks at the loop.
PROGRAM = """
import asyncio, inspect, sys
import nest_asyncio

make = __import__(sys.argv[1]).new_event_loop

async def sleep():
    return await asyncio.sleep(0.001, "slept")

loop = make()
asyncio.set_event_loop(loop)
try:
    nest_asyncio.apply(loop)
except ValueError as error:
    print(error)
print(loop.run_until_complete(sleep()))
print(asyncio.run(sleep()))
other = make()
print(other.run_until_complete(sleep()))
print(hasattr(loop, "_nest_patched"), len(inspect.getmembers(loop)) > 50)
other.close()
loop.close()
"""


@pytest.mark.loops("uvloop", "netloop")
def test_it_cannot_patch_a_loop_that_is_not_asyncios(loop_name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", PROGRAM, loop_name],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr == ""
    refusal, *rest = done.stdout.splitlines()
    assert refusal.startswith(f"Can't patch loop of type <class '{loop_name}.")
    assert rest == ["slept"] * 3 + ["False True"]
