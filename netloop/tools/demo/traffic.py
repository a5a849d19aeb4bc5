"""The demo's client process: drives traffic at one server for a while, checks it, and prints what came of it."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from netloop.tools.children import die_with_parent, pin
from netloop.tools.cpu_time import cpu_seconds
from netloop.tools.demo.client import HttpConnection, Traffic, connect_once, keep_busy

__all__ = ["main"]

_LONGEST_COUNTED_RUN: Final = 30.0
_LONGEST_END: Final = 15.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Drive traffic and print one line of JSON: ``requests``, ``kinds``, ``seconds``, ``cpu_seconds`` of the server,
    ``p50`` and ``p99`` in seconds (null without requests), ``error_count`` and the first ``errors``.

    Returns:
        0; errors of the server are results, not failures of this process.
    """
    parser = argparse.ArgumentParser(prog="python -m netloop.tools.demo.traffic")
    parser.add_argument("--parent", type=int, required=True, help="the process to end with")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--server-pid", type=int, required=True)
    parser.add_argument("--connections", type=int, required=True)
    parser.add_argument("--requests", type=int, help="stop after so many exchanges instead of after --seconds")
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--warm-up", type=float, default=0.3, help="seconds of traffic that are not counted")
    parser.add_argument("--cpu", type=int)
    options = parser.parse_args(arguments)
    die_with_parent(options.parent)
    pin(options.cpu)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        print(json.dumps(runner.run(_drive(options))), flush=True)
    return 0


async def _drive(options: argparse.Namespace) -> dict[str, Any]:
    traffic = Traffic(options.requests)
    _end_on_own_mistakes()
    # asyncio asks the C library for a new block per receive until a first connection has been closed; after that it
    # costs a third. A server that has been up for a minute is past that, so each gets there before it is measured.
    await connect_once(HttpConnection, 0, traffic, options.port, 0)
    tasks = [asyncio.ensure_future(keep_busy(n, traffic, options.port)) for n in range(options.connections)]
    watch = asyncio.ensure_future(_watch(traffic))
    if options.requests is None:
        await asyncio.sleep(options.warm_up)
    traffic.recording = True
    began, cpu_before = time.perf_counter(), cpu_seconds(options.server_pid)
    await asyncio.wait(tasks, timeout=options.seconds if options.requests is None else _LONGEST_COUNTED_RUN)
    traffic.recording = False
    seconds, cpu_after = time.perf_counter() - began, cpu_seconds(options.server_pid)
    traffic.stop()
    _, stuck = await asyncio.wait(tasks, timeout=_LONGEST_END)
    for task in stuck:
        traffic.fail("a connection did not end")
        task.cancel()
    watch.cancel()
    cpu = None if cpu_before is None or cpu_after is None else cpu_after - cpu_before
    return {
        "requests": len(traffic.latencies),
        "kinds": dict(traffic.kinds),
        "seconds": seconds,
        "cpu_seconds": cpu,
        **_percentiles(traffic),
        "error_count": traffic.error_count,
        "errors": traffic.errors,
    }


def _end_on_own_mistakes() -> None:
    # An exception in the client's own protocols says nothing about the server: end, and let the demo show it.
    drive = asyncio.current_task()

    def end(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        loop.default_exception_handler(context)
        if drive is not None:
            drive.cancel()

    asyncio.get_running_loop().set_exception_handler(end)


async def _watch(traffic: Traffic) -> None:
    while True:
        await asyncio.sleep(1.0)
        traffic.fail_stalled()


def _percentiles(traffic: Traffic) -> dict[str, float | None]:
    latencies: Sequence[float | None] = sorted(traffic.latencies) or [None]
    return {f"p{percent}": latencies[(len(latencies) - 1) * percent // 100] for percent in (50, 99)}


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    # The client should not be what limits the server, so it takes the faster of the loops that are not on trial for
    # correctness here. It is the same one whatever the server runs on.
    try:
        factory: Callable[[], asyncio.AbstractEventLoop] = importlib.import_module("uvloop").new_event_loop
    except ImportError:
        return asyncio.SelectorEventLoop
    return factory


if __name__ == "__main__":
    sys.exit(main())
