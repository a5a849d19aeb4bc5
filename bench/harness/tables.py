"""The report as tables of text; ``markdown.py`` and ``terminal.py`` show them."""

from collections.abc import Callable
from dataclasses import dataclass

from harness.figures import FIGURES
from harness.report import Report
from harness.rows import Row
from harness.summary import Spread
from harness.targets import BASELINE, Verdict, best_peer, judge

NOTHING, ERROR, TIE = "-", "error", "tie: "
BASELINES = ("uvloop", "asyncio")


#: The head of a column, and what it says of a row and a contender.
Column = tuple[str, Callable[[Report, Row, str], str]]


@dataclass(frozen=True)
class Table:
    """A title, column heads, and rows of text."""

    title: str
    heads: list[str]
    lines: list[list[str]]


def number(value: float) -> str:
    """Return a number with about three significant digits."""
    if value >= 1000:
        return f"{value:,.0f}".replace(",", " ")
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 0.1 else f"{value:.3f}"


def spread_text(found: Spread) -> str:
    """Return median and quartiles of ratios."""
    quartiles = f" [{found.low:.2f}-{found.high:.2f}]" if found.count > 1 else ""
    return f"{found.median:.2f}{quartiles}"


def ratio_text(report: Report, row: Row, name: str, baseline: str, figure: str) -> str:
    """Return a contender's ratio to a baseline, with its quartiles, and whether it is a tie."""
    if (row.name, name) in report.outcome.failures:
        return ERROR
    found = report.summary.ratio(row.name, name, baseline, figure)
    if found is None:
        return NOTHING
    return "1" if name == baseline else f"{TIE if found.is_tie else ''}{spread_text(found)}"


def comparison(report: Report) -> Table:
    """Return the short table: CPU per message as a ratio to uvloop, a line per row and a column per contender."""
    names = report.present()
    lines = []
    for row in report.rows:
        lines.append([row.label, *(ratio_text(report, row, name, BASELINE, row.program.figure) for name in names)])
    title = (
        "Server CPU per message (idle connections: user-space memory of each; herds: time until the last is served) ÷ "
        f"{BASELINE}, less is better: "
        "median [quartiles] of the pairs from the same repeat; a tie is nearer to 1 than the quartiles to each other"
    )
    return Table(title, ["row", *names], lines)


def _verdict_text(verdict: Verdict) -> str:
    text = "met" if verdict.met else f"missed by {verdict.missed_by:.0%}"
    return f"{text}, within the spread" if verdict.open and verdict.measured.count > 1 else text


def _bound_text(verdict: Verdict) -> str:
    return f"{'≤' if verdict.at_most else '≥'} {verdict.bound:.2f}"


def targets(report: Report) -> Table:
    """Return what netloop is to reach in each row, and whether it does."""
    labels = {row.name: row.label for row in report.rows}
    lines = []
    for verdict in judge(report.rows, report.summary, report.calls):
        measured = spread_text(verdict.measured) if verdict.against else number(verdict.measured.median)
        figure = FIGURES[verdict.figure].caption + (f" ÷ {verdict.against}" if verdict.against else "")
        lines.append([labels[verdict.row], figure, _bound_text(verdict), measured, _verdict_text(verdict)])
    return Table("Targets for netloop", ["row", "figure", "target", "measured", "verdict"], lines)


def peers(report: Report) -> Table:
    """Return how netloop compares with the best of the other loops in each row."""
    lines = []
    for row in report.rows:
        if (verdict := best_peer(row, report.summary)) is not None:
            caption = FIGURES[verdict.figure].caption
            measured = spread_text(verdict.measured)
            target = _bound_text(verdict)
            lines.append([row.label, str(verdict.against), caption, target, measured, _verdict_text(verdict)])
    heads = ["row", "best peer", "figure", "target", "netloop ÷ best peer", "verdict"]
    return Table("Against the best of the other loops", heads, lines)


def _calls(report: Report, row: Row, name: str) -> str:
    calls = report.calls.get((row.name, name))
    return NOTHING if calls is None else number(calls)


def _percent(value: float) -> str:
    return f"{value:.0%}"


def _median(figure: str, show: Callable[[float], str] = number) -> Column:
    def cell(report: Report, row: Row, name: str) -> str:
        found = report.summary.figure(row.name, name, figure)
        return NOTHING if found is None else show(found.median)

    return FIGURES[figure].caption, cell


def _ratio(baseline: str) -> Column:
    def cell(report: Report, row: Row, name: str) -> str:
        return ratio_text(report, row, name, baseline, row.program.figure)

    return f"÷ {baseline}", cell


def _between_starts(report: Report, row: Row, name: str) -> str:
    found = report.summary.figure(row.name, name, row.program.figure)
    return NOTHING if found is None or found.between_starts is None else _percent(found.between_starts)


_COLUMNS = (
    *(_median("messages_per_second"), _median("cpu_us")),
    *map(_ratio, BASELINES),
    ("between starts", _between_starts),
    *(_median("loop_cpu_us"), _median("kernel_share", _percent)),
    *map(_median, ("last_ms", "p50_us", "p99_us", "p999_us", "resident_p99_us")),
    (FIGURES["calls"].caption, _calls),
    *(_median("pss_mib"), _median("connection_kib"), _median("server_busy", _percent)),
)


def _detail(report: Report, row: Row, name: str) -> list[str]:
    if (row.name, name) in report.outcome.failures:
        return [row.label, name, ERROR, *[NOTHING] * (len(_COLUMNS) - 1)]
    return [row.label, name, *(cell(report, row, name) for _, cell in _COLUMNS)]


def details(report: Report) -> Table:
    """Return the long table: a line per row and contender, without the columns that have nothing in any line."""
    lines = []
    for row in report.rows:
        found = report.summary.contenders(row.name)
        names = [name for name in report.present() if name in found or (row.name, name) in report.outcome.failures]
        lines += [_detail(report, row, name) for name in names]
    heads = ["row", "loop", *(caption for caption, _ in _COLUMNS)]
    kept = [place for place in range(len(heads)) if place < 2 or any(line[place] != NOTHING for line in lines)]
    title = "All figures (medians over the starts; between starts: the quartiles' distance, as a share of the median)"
    return Table(title, [heads[place] for place in kept], [[line[place] for place in kept] for line in lines])
