"""Writing a run's figures into README.md and bench/README.md, each between two marks."""

import textwrap
from pathlib import Path

from harness.errors import BenchError
from harness.markdown import markdown
from harness.report import Report
from harness.rows import OVERVIEW
from harness.stress import stress_runs
from harness.tables import BASELINES, ERROR, NOTHING, ratio_text
from harness.targets import SUBJECT

BENCH = Path(__file__).resolve().parent.parent
PICTURE = "![Server CPU of netloop as a ratio to uvloop's](bench/results/overview.png)"


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
    """Return what the project's README shows: netloop's ratios to uvloop and asyncio in a few rows, and a picture.

    Raises:
        BenchError: the run lacks one of these rows, or has no figures of it.
    """
    place, settings = report.environment, report.settings
    kernel = ".".join(place["kernel"].split(".")[:2])
    text = (
        "Server CPU per message, request or connection (the last row: user-space memory of one) as a ratio; less than "
        "1 is better. `100 x 64 B` are 100 connections with messages of 64 bytes. Medians and quartiles of "
        f"{settings['repeats']} interleaved repeats, {place['cpus']} CPUs, {kernel}, {place['python']}; every repeat "
        "starts its servers anew, and a ratio that is no farther from 1 than its quartiles from each other is a tie."
    )
    heads = ["| row | ratio to uvloop | ratio to asyncio |", "|---|---|---|"]
    lines = [*textwrap.wrap(text, 120, break_on_hyphens=False), "", *heads]
    for row in OVERVIEW:
        ratios = [ratio_text(report, row, SUBJECT, baseline, row.program.figure) for baseline in BASELINES]
        if NOTHING in ratios or ERROR in ratios:
            raise BenchError(f"the README shows {row.name}, of which this run has no figures; measure --profile full")
        lines.append(f"| {row.label} | {' | '.join(ratios)} |")
    return "\n".join([*lines, "", PICTURE])


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
