"""Showing how far the demo is: a bar with rich in a terminal, a line for each step otherwise."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from netloop.tools.demo.rounds import Step
from netloop.tools.table import has_rich

__all__ = ["progress"]


@contextmanager
def progress() -> Iterator[Step]:
    """A function to be told about the progress; what it shows goes to standard error."""
    if not (has_rich() and sys.stderr.isatty()):
        yield _lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    percentage, what = TextColumn("{task.percentage:3.0f} %"), TextColumn("{task.description}")
    columns = (BarColumn(), percentage, TimeElapsedColumn(), what)
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda what, fraction: bar.update(task, description=what, completed=fraction)


def _lines() -> Step:
    last = ""

    def step(what: str, fraction: float) -> None:
        nonlocal last
        if what != last:
            print(f"{fraction:4.0%}  {what}", file=sys.stderr, flush=True)
            last = what

    return step
