"""The report as tables: the same rows as Markdown, and printed to the terminal."""

import importlib
import importlib.util
from dataclasses import dataclass

from harness.report import Report
from harness.rows import Row
from harness.summary import Cell, Spread

NOTHING = "-"


@dataclass(frozen=True)
class Table:
    """A title, column heads, and rows of text."""

    title: str
    heads: list[str]
    lines: list[list[str]]


def _ratio(cell: Cell | None, baseline: str, figure: str) -> str:
    found = cell.ratios.get(baseline, {}).get(figure) if cell is not None else None
    if found is None or cell is None or cell.contender == baseline:
        return "1" if found is not None else NOTHING
    quartiles = f" [{found.low:.2f}-{found.high:.2f}]" if found.count > 1 else ""
    return f"{found.median:.2f}{quartiles}"


def _number(value: Spread, scale: float = 1.0) -> str:
    number = value.median * scale
    if number >= 1000:
        return f"{number:,.0f}".replace(",", " ")
    return f"{number:.0f}" if number >= 100 else f"{number:.1f}" if number >= 10 else f"{number:.2f}"


def _present(report: Report) -> list[str]:
    return [name for name, found in report.contenders.items() if found.version is not None]


def comparison(report: Report) -> Table:
    """Return the short table: CPU per message as a ratio to uvloop, a line per row and a column per contender."""
    names = _present(report)
    lines = []
    for row in report.rows:
        cells = [report.cells.get((row.name, name)) for name in names]
        lines.append([row.label, *(_ratio(cell, "uvloop", "cpu_us") for cell in cells)])
    title = "Server CPU per message ÷ uvloop, less is better: median [quartiles] of the pairs from the same repeat"
    return Table(title, ["connections x message", *names], lines)


def _calls(report: Report, row: Row, name: str) -> str:
    trace = report.outcome.traces.get((row.name, name))
    if trace is None:
        return "not counted"
    if trace.per_message is None:
        return "no strace" if trace.reason == "strace is not installed" else "not counted"
    return f"{trace.per_message:.2f}" if trace.per_message >= 0.1 else f"{trace.per_message:.3f}"


_DETAIL_HEADS = [
    "connections x message",
    "loop",
    "messages/s",
    "CPU µs/message",
    "CPU ÷ uvloop",
    "CPU ÷ asyncio",
    "rate ÷ uvloop",
    "p50 µs",
    "p99 µs",
    "p99.9 µs",
    "system calls/message",
    "peak RSS MiB",
    "server busy",
]


def _detail_line(report: Report, row: Row, name: str) -> list[str]:
    cell = report.cells.get((row.name, name))
    if cell is None:
        return [row.label, name, "failed", *[NOTHING] * (len(_DETAIL_HEADS) - 3)]
    figures = cell.figures
    return [
        row.label,
        name,
        _number(figures["messages_per_second"]),
        _number(figures["cpu_us"]),
        _ratio(cell, "uvloop", "cpu_us"),
        _ratio(cell, "asyncio", "cpu_us"),
        _ratio(cell, "uvloop", "messages_per_second"),
        _number(figures["p50_us"]),
        _number(figures["p99_us"]),
        _number(figures["p999_us"]),
        _calls(report, row, name),
        _number(figures["memory_mib"]),
        f"{figures['server_busy'].median:.0%}",
    ]


def details(report: Report) -> Table:
    """Return the long table: a line per row and contender, all figures."""
    lines = []
    for row in report.rows:
        for name in _present(report):
            known = (row.name, name) in report.cells or (row.name, name) in report.outcome.failures
            if known:
                lines.append(_detail_line(report, row, name))
    return Table("All figures (medians over the repeats)", _DETAIL_HEADS, lines)


def _markdown_table(table: Table) -> str:
    heads = "| " + " | ".join(table.heads) + " |"
    rule = "|---" * len(table.heads) + "|"
    lines = ["| " + " | ".join(line) + " |" for line in table.lines]
    return "\n".join([f"**{table.title}**", "", heads, rule, *lines])


def _circumstances(report: Report) -> str:
    place = report.environment
    versions = ", ".join(
        f"{name} {found.version}" for name, found in report.contenders.items() if found.version not in (None, "C")
    )
    settings = report.settings
    return "\n".join(
        [
            f"- {place['date'][:10]}, {place['kernel']}, {place['cpu']}, {place['cpus']} CPUs, "
            f"{place['memory_gib']} GiB, load average before the run {place['load_average_before']}",
            f"- {place['python']}, {place['libc']}, {place['compiler']}, TCP congestion control "
            f"{place['congestion_control']}",
            f"- {versions}, aiohttp {report.aiohttp or 'not installed'}",
            f"- repeats: {settings.repeats}, windows of {settings.seconds:g} s after {settings.warmup:g} s of warm-up, "
            f"server on CPU {settings.server_cpu}, load on CPU {settings.load_cpu}, seed {settings.seed}",
            f"- `{report.command_line}`",
        ]
    )


def markdown(report: Report) -> str:
    """Return the report as Markdown."""
    parts = [_circumstances(report), _markdown_table(comparison(report)), _markdown_table(details(report))]
    if notes := report.notes():
        parts.append("Notes:\n\n" + "\n".join(f"- {note}" for note in notes))
    return "\n\n".join(parts) + "\n"


def _print_plain(table: Table) -> None:
    widths = [max(map(len, column)) for column in zip(table.heads, *table.lines, strict=True)]
    print(f"\n{table.title}\n")
    for line in (table.heads, *table.lines):
        print("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())


def _print_rich(table: Table) -> None:
    console = importlib.import_module("rich.console").Console()
    # Square brackets are markup to rich, quartiles to us.
    escape = importlib.import_module("rich.markup").escape
    shown = importlib.import_module("rich.table").Table(title=escape(table.title), title_justify="left")
    for index, head in enumerate(table.heads):
        shown.add_column(head, justify="left" if index == 0 or head == "loop" else "right")
    previous = None
    for line in table.lines:
        if previous is not None and line[0] != previous and "loop" in table.heads:
            shown.add_section()
        shown.add_row(*map(escape, line))
        previous = line[0]
    console.print(shown)


def show(report: Report, wide: bool) -> None:
    """Print the tables and the notes; with rich when it is installed and ``wide`` (somebody looks at a terminal)."""
    printer = _print_rich if wide and importlib.util.find_spec("rich") is not None else _print_plain
    for table in (comparison(report), details(report)):
        printer(table)
    for note in report.notes():
        print(f"note: {note}")
