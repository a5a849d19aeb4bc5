"""``python -m netloop top PID``: what the loops of a running process do, again and again."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import sys
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Final

from netloop.tools.arguments import duration
from netloop.tools.inspection import Unanswered, add_options, ask, printable
from netloop.tools.table import has_rich, show_table

__all__ = ["Table", "main", "tables_of"]

_seconds: Final = duration(lambda value: 0.05 <= value <= 3600, "a number of seconds from 0.05 to 3600")
_HOME_AND_CLEAR: Final = "\033[H\033[J"


@dataclass(frozen=True)
class Table:
    """One table of the screen."""

    title: str
    heads: tuple[str, ...]
    rows: list[tuple[str, ...]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Show a process until it ends, or until Ctrl-C.

    Args:
        arguments: the command line after ``top``.

    Returns:
        0, or 1 if the process does not tell.
    """
    options = _parse(arguments)
    try:
        with contextlib.suppress(KeyboardInterrupt), _screen(options.json) as show:
            _follow(options, show)
    except Unanswered as reason:
        print(f"netloop top: {reason}", file=sys.stderr)
        return 1
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m netloop top",
        description="Show what the netloop event loops of a running process do, until it ends.",
    )
    add_options(parser, limit=10)
    parser.add_argument("--interval", type=_seconds, default=1.0, metavar="SECONDS", help="between looks (default 1)")
    parser.add_argument("--count", type=int, default=0, metavar="N", help="end after so many looks")
    parser.add_argument("--json", action="store_true", help="print each look as a line of JSON")
    return parser.parse_args(arguments)


def _follow(options: argparse.Namespace, show: Callable[[dict[str, Any], dict[str, Any], float], None]) -> None:
    before: dict[str, Any] = {}
    asked = 0.0
    looks = 0
    while True:
        now = time.monotonic()
        try:
            answer = ask(options.process, limit=options.limit, timeout=options.timeout)
        except Unanswered:
            if before:
                return  # it was there, and has ended
            raise
        show(answer, before, now - asked if before else 0.0)
        before, asked = answer, now
        looks += 1
        if looks == options.count:
            return
        time.sleep(options.interval)


@contextlib.contextmanager
def _screen(as_json: bool) -> Iterator[Callable[[dict[str, Any], dict[str, Any], float], None]]:
    """A function that shows an answer: in place with rich in a terminal, one after the other elsewhere."""
    if as_json:
        yield lambda answer, before, seconds: print(json.dumps(answer), flush=True)
        return
    terminal = sys.stdout.isatty()
    if not (terminal and has_rich()):
        yield lambda answer, before, seconds: print(
            (_HOME_AND_CLEAR if terminal else "") + _text(answer, before, seconds), flush=True
        )
        return
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    with Live(console=Console(), auto_refresh=False, screen=True) as live:
        yield lambda answer, before, seconds: live.update(Text(_text(answer, before, seconds)), refresh=True)


def _text(answer: dict[str, Any], before: dict[str, Any], seconds: float) -> str:
    stream = io.StringIO()
    print(f"process {answer['pid']}, netloop {answer['netloop']} on Python {answer['python']}", file=stream)
    for table in tables_of(answer, before, seconds):
        rows = [tuple(map(printable, row)) for row in table.rows]
        show_table(printable(table.title), table.heads, rows, stream=stream, plain=True)
    return stream.getvalue()


def tables_of(answer: dict[str, Any], before: dict[str, Any], seconds: float) -> list[Table]:
    """What there is to show of an answer.

    Args:
        answer: what the process tells.
        before: what it told the last time; empty for the first time.
        seconds: how long ago that was.
    """
    tables = []
    # Loops come and go, and have no order.
    previous = {loop["id"]: loop for loop in before.get("loops", [])}
    for number, loop in enumerate(answer["loops"]):
        old = previous.get(loop["id"], loop)
        name = f"Loop {number + 1}" + (f" in {loop['thread']}" if loop["thread"] else "")
        tables.append(Table(name, ("figure", "now", "per second"), _figures(loop, old, seconds)))
        if loop["stack"]:
            tables.append(Table("What it runs", ("call",), [(line,) for line in loop["stack"]]))
        if loop["stalls"]:
            tables.append(Table("Callbacks that have blocked it", _SLOW_HEADS, _slow(loop["stalls"])))
        if loop["connections"]["shown"]:
            tables.append(Table("Connections, longest queue first", _CONNECTION_HEADS, _connections(loop)))
    return tables


_SLOW_HEADS: Final = ("callback", "times", "longest", "in all", "where")
_CONNECTION_HEADS: Final = ("peer", "protocol", "transport", "unsent", "state")


def _figures(loop: dict[str, Any], old: dict[str, Any], seconds: float) -> list[tuple[str, ...]]:
    now, then = loop["statistics"], old["statistics"]

    def rate(name: str) -> str:
        return f"{(now[name] - then[name]) / seconds:,.0f}" if seconds else ""

    enters = now["enters"] - then["enters"] if seconds else now["enters"]
    completions = now["completions"] - then["completions"] if seconds else now["completions"]
    busy = f"{(loop['cpu_seconds'] - old['cpu_seconds']) / seconds:.0%} of a CPU" if seconds else ""
    return [
        ("turn under way", f"{loop['turn_seconds']:.3f} s" if loop["turn_seconds"] else "none: it waits", ""),
        ("CPU time of its thread", f"{loop['cpu_seconds']:.2f} s", busy),
        ("turns at work, p50; p99", _quantiles(loop, old, "turn"), ""),
        ("timers late by, p50; p99", _quantiles(loop, old, "lag"), ""),
        ("turns", f"{now['turns']:,}", rate("turns")),
        ("system calls", f"{now['enters']:,}", rate("enters")),
        ("completions", f"{now['completions']:,}", rate("completions")),
        ("completions per system call", f"{completions / enters:.1f}" if enters else "-", ""),
        ("callbacks ready; timers", f"{now['ready']:,}; {now['timers']:,}", ""),
        ("tasks", f"{loop['tasks']['count']:,}", ""),
        (
            "connections",
            f"{now['connections']:,}",
            rate("connections_accepted") and f"{rate('connections_accepted')} new",
        ),
        ("receive buffers in use", f"{now['buffers_in_use']:,} of {now['buffers_total']:,}", ""),
        ("stalls; seconds in them", f"{now['stalls']:,}; {now['stall_seconds']:.2f}", rate("stalls")),
    ]


def _quantiles(loop: dict[str, Any], old: dict[str, Any], name: str) -> str:
    """What half of the durations since the last look did not exceed, and what 99 % did not; the first time, of all."""
    counts = Counter(loop["durations"][name])
    if loop is not old:
        counts.subtract(old["durations"][name])
    found = sorted((float(bound), count) for bound, count in counts.items() if count > 0)
    if not found:
        return "-"
    ranks = list(accumulate(count for _, count in found))
    return "; ".join(f"{found[bisect_left(ranks, share * ranks[-1])][0] * 1e3:g} ms" for share in (0.5, 0.99))


def _slow(stalls: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    return [
        (each["callback"], str(each["count"]), f"{each['longest']:.3f} s", f"{each['seconds']:.3f} s", each["where"])
        for each in stalls[:10]
    ]


def _connections(loop: dict[str, Any]) -> list[tuple[str, ...]]:
    return [
        (
            each["peer"] or "-",
            each["protocol"] + (" over TLS" if each["tls"] else ""),
            each["transport"],
            f"{each['unsent']:,}",
            "closing" if each["closing"] else "paused" if each["reading"] is False else "open",
        )
        for each in loop["connections"]["shown"]
    ]
