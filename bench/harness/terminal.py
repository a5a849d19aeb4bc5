"""The report on a terminal: with rich where somebody looks and it is installed, as aligned text otherwise."""

import importlib
import importlib.util

from harness.report import Report
from harness.tables import Table, comparison, details, peers, targets


def _print_plain(table: Table) -> None:
    widths = [max(map(len, column)) for column in zip(table.heads, *table.lines, strict=True)]
    print(f"\n{table.title}\n")
    for line in (table.heads, *table.lines):
        print("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())


def _style(text: str) -> str:
    if text == "error" or text.startswith("missed"):
        return "yellow" if "within the spread" in text else "red"
    return "green" if text.startswith("met") else ""


def _print_rich(table: Table) -> None:
    console = importlib.import_module("rich.console").Console()
    make_text = importlib.import_module("rich.text").Text
    box = importlib.import_module("rich.box").SIMPLE_HEAD
    shown = importlib.import_module("rich.table").Table(
        title=make_text(table.title), title_justify="left", box=box, padding=(0, 1, 0, 0)
    )
    for index, head in enumerate(table.heads):
        shown.add_column(head, justify="left" if index == 0 or head in ("loop", "verdict") else "right")
    previous = None
    for line in table.lines:
        if previous is not None and line[0] != previous and "loop" in table.heads:
            shown.add_section()
        shown.add_row(*(make_text(text, style=_style(text)) for text in line))
        previous = line[0]
    console.print(shown)


def show_table(table: Table, wide: bool) -> None:
    """Print a table, with rich when ``wide``."""
    if wide and importlib.util.find_spec("rich") is not None:
        _print_rich(table)
    else:
        _print_plain(table)


def show(report: Report, wide: bool, everything: bool) -> None:
    """Print the tables and the notes, with rich when ``wide``; the long table only when ``everything`` is wanted."""
    tables = [comparison(report), targets(report), peers(report)]
    for table in [*tables, details(report)] if everything else tables:
        if table.lines:
            show_table(table, wide)
    for note in report.notes():
        print(f"note: {note}")
