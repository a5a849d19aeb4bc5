"""The loop without a network: callbacks, wake-ups from another thread, timers, tasks, child processes.

Runs one of them for ``--seconds`` and prints a line of JSON: operations, wall time, and the CPU time of all threads of
this process (not of its children), in nanoseconds.
"""

import argparse
import asyncio
import json
import subprocess
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

from serving import add_options, new_runner

BATCH = 1000
TASKS = 100
#: Far enough away never to come.
TIMEOUT = 60.0


def _nothing() -> None:
    pass


async def call_soon() -> int:
    """A thousand callbacks in one turn."""
    loop = asyncio.get_running_loop()
    for _ in range(BATCH):
        loop.call_soon(_nothing)
    await asyncio.sleep(0)
    return BATCH


def _call_from_thread(loop: asyncio.AbstractEventLoop) -> None:
    done = threading.Event()
    for _ in range(BATCH):
        loop.call_soon_threadsafe(_nothing)
    loop.call_soon_threadsafe(done.set)
    done.wait()


async def call_soon_threadsafe() -> int:
    """A thousand callbacks from another thread, which then waits until the last of them has run."""
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, _call_from_thread, loop)
    return BATCH


async def call_later() -> int:
    """A thousand timers, each cancelled before it is due, as the timeouts of a server are."""
    loop = asyncio.get_running_loop()
    handles = [loop.call_later(TIMEOUT, _nothing) for _ in range(BATCH)]
    await asyncio.sleep(0)
    for handle in handles:
        handle.cancel()
    await asyncio.sleep(0)
    return BATCH


async def _switch() -> None:
    for _ in range(BATCH // TASKS):
        await asyncio.sleep(0)


async def task_switch() -> int:
    """A hundred tasks that take turns."""
    await asyncio.gather(*(_switch() for _ in range(TASKS)))
    return BATCH


async def subprocess_spawn() -> int:
    """One child process, from its start to its end."""
    process = await asyncio.create_subprocess_exec("/bin/true", stdin=subprocess.DEVNULL)
    if await process.wait() != 0:
        raise RuntimeError("/bin/true failed")
    return 1


MEASURES: dict[str, Callable[[], Awaitable[int]]] = {
    function.__name__: function for function in (call_soon, call_soon_threadsafe, call_later, task_switch)
}
MEASURES["subprocess"] = subprocess_spawn


async def measure(operation: Callable[[], Awaitable[int]], seconds: float, warmup: float) -> dict[str, Any]:
    """Repeat an operation for a time, after some that are not counted."""
    warm = time.perf_counter() + warmup
    await operation()
    while time.perf_counter() < warm:
        await operation()
    operations = 0
    began, cpu = time.perf_counter(), time.process_time_ns()
    while (elapsed := time.perf_counter() - began) < seconds:
        operations += await operation()
    return {"operations": operations, "seconds": elapsed, "cpu_ns": time.process_time_ns() - cpu}


def main() -> None:
    """Measure what the command line says and print the result."""
    parser = argparse.ArgumentParser(description="Measures a loop without a network.")
    add_options(parser)
    parser.add_argument("--what", choices=sorted(MEASURES), required=True)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--warmup", type=float, default=0.1)
    options = parser.parse_args()
    with new_runner(parser, options.loop) as runner:
        print(json.dumps(runner.run(measure(MEASURES[options.what], options.seconds, options.warmup))), flush=True)


if __name__ == "__main__":
    main()
