"""Progress on standard error: a bar when ``rich`` is installed and someone is watching, else a line per step."""

import importlib
import sys
from types import TracebackType
from typing import Any, Self


def _rich_bar() -> Any:
    """Return a rich progress bar that draws only when told to, or None when rich is not installed."""
    try:
        progress = importlib.import_module("rich.progress")
        console = importlib.import_module("rich.console").Console(stderr=True)
    except ImportError:
        return None
    return progress.Progress(
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeRemainingColumn(),
        progress.TextColumn("{task.description}"),
        console=console,
        auto_refresh=False,
        transient=True,
    )


class Progress:
    """Shows which measurement is running. It draws between measurements only, so as not to disturb them."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0
        self._bar = _rich_bar() if sys.stderr.isatty() else None
        if self._bar is not None:
            self._task = self._bar.add_task("", total=total)

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def step(self, what: str) -> None:
        """Say what begins now."""
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done, description=what, refresh=True)
        else:
            print(f"[{self._done + 1}/{self._total}] {what}", file=sys.stderr, flush=True)
        self._done += 1

    def say(self, text: str) -> None:
        """Show a line that stays."""
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            print(text, file=sys.stderr, flush=True)
