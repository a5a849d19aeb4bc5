"""``python -m netloop demo``: one aiohttp application on netloop, uvloop and asyncio, checked and compared.

The application is ordinary aiohttp. Each loop serves it in a process of its own; another process drives HTTP and
websocket traffic at them in turns and checks every response down to the last byte.

It uses ``netloop`` as every program does, and what the commands share in ``tools``.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

from netloop.tools.demo.child import ChildFailed
from netloop.tools.demo.loops import LOOPS, installed
from netloop.tools.demo.progress import progress
from netloop.tools.demo.rounds import Plan, Result, measure
from netloop.tools.demo.script import PAGE, page
from netloop.tools.table import show_table

__all__ = ["main"]

_FIRST_ERRORS: Final = 10
_EXTRA: Final = "pip install 'netloop[demo]'"
_HEADS: Final = ("loop", "requests/s", "CPU µs/req", "system calls/req", "p50 ms", "p99 ms", "errors")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo and print its table.

    Args:
        arguments: the command line after ``demo``.

    Returns:
        0; 1 when a response was wrong, a loop could not be made or the demo was interrupted; 2 when something that
        was asked for is not installed.
    """
    options = _parse(arguments)
    loops, missing = _available(options.loops)
    if missing:
        print(missing, file=sys.stderr)
        return 2
    # A supervisor's SIGTERM must not leave children behind any more than Ctrl-C does.
    previous = signal.signal(signal.SIGTERM, _interrupted)
    try:
        results = _measure(options, loops)
    except KeyboardInterrupt:
        print("interrupted; the servers are stopped", file=sys.stderr)
        return 1
    except ChildFailed as failed:
        print(f"The demo could not go on: {failed}", file=sys.stderr)
        return 1
    finally:
        signal.signal(signal.SIGTERM, previous)
    _show(results, options)
    return 1 if any(result.error_count for result in results) else 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m netloop demo",
        description="Serve an aiohttp application on netloop, uvloop and asyncio, check every response and compare.",
    )
    parser.add_argument("--seconds", type=_positive(float), default=6.0, help="measured traffic per loop (default 6)")
    parser.add_argument("--connections", type=_positive(int), default=50, help="open connections (default 50)")
    parser.add_argument("--loops", help=f"names separated by commas (default: those installed of {','.join(LOOPS)})")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    return parser.parse_args(arguments)


def _positive(kind: type[int] | type[float]) -> Callable[[str], int | float]:
    def positive(text: str) -> int | float:
        number = kind(text)
        if not 0 < number < 100_000:
            raise argparse.ArgumentTypeError(f"{text} is not between 0 and 100000")
        return number

    return positive


def _available(chosen: str | None) -> tuple[list[str], str | None]:
    """The loops to run, and what is missing for them."""
    if importlib.util.find_spec("aiohttp") is None:
        return [], f"The demo needs aiohttp: {_EXTRA}"
    if chosen is None:
        found = [name for name in LOOPS if installed(name)]
        for name in set(LOOPS) - set(found):
            print(f"{name} is not installed, so it is left out ({_EXTRA})", file=sys.stderr)
        return found, None
    names = list(dict.fromkeys(chosen.split(",")))
    for name in names:
        if name not in LOOPS:
            return [], f"There is no loop called {name!r}: choose from {', '.join(LOOPS)}"
        if not installed(name):
            return [], f"{name} is not installed: {_EXTRA}"
    return names, None


def _measure(options: argparse.Namespace, loops: list[str]) -> list[Result]:
    with tempfile.TemporaryDirectory(prefix="netloop-demo-") as directory, progress() as step:
        files = Path(directory)
        (files / PAGE).write_bytes(page())
        return measure(Plan(loops, options.seconds, options.connections, files), step)


def _interrupted(signum: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _show(results: Sequence[Result], options: argparse.Namespace) -> None:
    if options.json:
        print(json.dumps({"connections": options.connections, "results": [result.as_json() for result in results]}))
    else:
        title = f"One aiohttp application, {options.connections} connections, medians of rounds that took turns"
        rows = [_row(result) for result in results]
        show_table(title, _HEADS, rows, stream=sys.stdout, numbers=True, whole=_HEADS)
        print(f"{sum(result.requests for result in results):,} responses and websocket messages were checked.")
        if any(result.system_calls for result in results):
            print("System calls are those that strace counts, without futex, which Python's thread pool makes.")
        for reason in dict.fromkeys(result.uncounted for result in results if result.uncounted):
            print(f"System calls were not counted: {reason}")
    for result in results:
        for error in result.errors[:_FIRST_ERRORS]:
            print(f"{result.loop}: {error}", file=sys.stderr)


def _row(result: Result) -> tuple[str, ...]:
    return (
        result.loop,
        _number(result.requests_per_second, 0),
        _number(result.cpu_seconds_per_request, 1, 1e6),
        "not counted" if result.uncounted else _number(result.system_calls_per_request, 2),
        _number(result.p50, 2, 1e3),
        _number(result.p99, 2, 1e3),
        str(result.error_count),
    )


def _number(value: float | None, digits: int, factor: float = 1.0) -> str:
    return "-" if value is None else f"{value * factor:,.{digits}f}"
