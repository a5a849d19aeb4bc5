"""Writing a run's figures into README.md and bench/README.md, each between two marks."""

import textwrap
from pathlib import Path

from harness.errors import BenchError
from harness.markdown import markdown
from harness.report import Report
from harness.rows import PEERS
from harness.stress import stress_runs
from harness.tables import ratio_text

BENCH = Path(__file__).resolve().parent.parent


def replace(text: str, new: str, name: str, what: str = "results") -> str:
    """Return the text with what stands between the marks of ``what`` replaced.

    Raises:
        BenchError: a mark is missing; ``name`` says where.
    """
    first, last = f"<!-- {what} -->", f"<!-- end of {what} -->"
    before, begin, rest = text.partition(first)
    _, end, after = rest.partition(last)
    if not begin or not end:
        raise BenchError(f"{name} must have the lines {first} and {last}, in this order")
    return f"{before}{first}\n\n{new.strip()}\n\n{last}{after}"


def overview(report: Report) -> str:
    """Return the short table of the project's README: netloop's ratios to uvloop and asyncio in each row."""
    place, settings = report.environment, report.settings
    kernel = ".".join(place["kernel"].split(".")[:2])
    text = (
        "Server CPU per message, request or operation (idle connections: user-space memory of each) as a ratio; less "
        f"than 1 is better. Medians and quartiles of {settings['repeats']} interleaved repeats, {place['cpus']} CPUs, "
        f"{kernel}, {place['python']} ([method and the whole run](bench/README.md)):"
    )
    heads = ["| row | ratio to uvloop | ratio to asyncio |", "|---|---|---|"]
    lines = [*textwrap.wrap(text, 120, break_on_hyphens=False), "", *heads]
    for row in (row for row in report.rows if row in PEERS):
        figure = "connection_kib" if row.program.driver == "idle" else "cpu_us"
        ratios = [ratio_text(report, row, "netloop", baseline, figure) for baseline in ("uvloop", "asyncio")]
        lines.append(f"| {row.label} | {ratios[0]} | {ratios[1]} |")
    return "\n".join(lines)


def update_all(report: Report) -> list[Path]:
    """Write both files and return their paths.

    Raises:
        BenchError: this is no checkout, or a mark is missing.
    """
    new = {BENCH.parent / "README.md": overview(report), BENCH / "README.md": markdown(report)}
    for path in new:
        if not path.exists():
            raise BenchError(f"there is no {path}: the READMEs are in a checkout of the project")
    texts = {path: replace(path.read_text(encoding="utf-8"), text, str(path)) for path, text in new.items()}
    last = BENCH / "README.md"
    texts[last] = replace(texts[last], stress_runs(BENCH / "results" / "stress"), str(last), "stress")
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")
    return list(texts)
