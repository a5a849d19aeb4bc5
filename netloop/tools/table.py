"""Showing tables in a terminal: with rich where it is installed, as aligned text otherwise."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from typing import TextIO

__all__ = ["has_rich", "show_table"]


def has_rich() -> bool:
    """Whether rich is installed."""
    return importlib.util.find_spec("rich") is not None


def show_table(
    title: str,
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    stream: TextIO,
    plain: bool | None = None,
    numbers: bool = False,
    styles: Mapping[str, str] | None = None,
    whole: Sequence[str] = (),
) -> None:
    """Print one table.

    Args:
        title: printed above the table.
        heads: the columns' heads.
        rows: the cells, as many in each row as there are heads.
        stream: where to print.
        plain: True for aligned text; unless given, that is used where rich is not installed.
        numbers: align every column but the first to the right.
        styles: rich's style for cells with exactly this text.
        whole: the heads of the columns that are never wrapped.
    """
    if plain is None:
        plain = not has_rich()
    if plain:
        _show_plain(title, heads, rows, stream, numbers)
    else:
        _show_rich(title, heads, rows, stream, numbers, styles or {}, whole)


def _show_plain(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]], stream: TextIO, numbers: bool) -> None:
    widths = [max(len(row[column]) for row in (heads, *rows)) for column in range(len(heads))]
    print(f"\n{title}", file=stream)
    for row in (heads, *rows):
        cells = [
            cell.rjust(width) if numbers and column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("  " + "  ".join(cells).rstrip(), file=stream)


def _show_rich(
    title: str,
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    stream: TextIO,
    numbers: bool,
    styles: Mapping[str, str],
    whole: Sequence[str],
) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column, head in enumerate(heads):
        shown.add_column(head, justify="right" if numbers and column else "left", no_wrap=head in whole)
    for row in rows:
        shown.add_row(*(Text(cell, style=styles.get(cell, "")) for cell in row))
    Console(file=stream).print(shown)
