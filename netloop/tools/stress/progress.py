"""Showing how far the stress test is: a line that renews itself with rich in a terminal, lines otherwise."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from netloop.tools.table import has_rich

__all__ = ["Show", "progress"]

#: Told what is going on, and which share of it is done.
Show = Callable[[str, float], None]

_PLAIN_SECONDS: Final = 2.0


@contextmanager
def progress() -> Iterator[Show]:
    """A function to be told about the progress; what it shows goes to standard error."""
    if not (has_rich() and sys.stderr.isatty()):
        yield _lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (BarColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda what, share: bar.update(task, description=what, completed=share)


def _lines() -> Show:
    last_time = 0.0

    def show(what: str, share: float) -> None:
        nonlocal last_time
        now = time.monotonic()
        if now - last_time >= _PLAIN_SECONDS:
            print(f"{share:4.0%}  {what}", file=sys.stderr, flush=True)
            last_time = now

    return show
