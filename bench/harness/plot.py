"""Plots of a report: CPU per message, throughput and latency as ratios to uvloop. Needs matplotlib."""

import importlib
from pathlib import Path
from typing import Any

from harness.errors import BenchError
from harness.report import Report
from harness.summary import Spread

BASELINE = "uvloop"

#: File name, figure, and what the axis says.
PLOTS = (
    ("cpu-per-message.png", "cpu_us", "server CPU per message ÷ uvloop (less is better)"),
    ("messages-per-second.png", "messages_per_second", "messages per second ÷ uvloop (more is better)"),
    ("latency-p50.png", "p50_us", "median latency ÷ uvloop (less is better)"),
    ("latency-p99.png", "p99_us", "p99 latency ÷ uvloop (less is better)"),
)


def _load_matplotlib() -> Any:
    try:
        # By name, so that the sources can be type-checked where matplotlib is not installed.
        importlib.import_module("matplotlib").use("Agg")
        return importlib.import_module("matplotlib.pyplot")
    except ImportError:
        raise BenchError("--plot needs matplotlib (pip install matplotlib)") from None


def check() -> None:
    """Raise BenchError now, before a long run, when plotting will not be possible."""
    _load_matplotlib()


def _bars(axes: Any, report: Report, figure: str, name: str, offset: float, width: float) -> None:
    places: list[float] = []
    found: list[Spread] = []
    for index, row in enumerate(report.rows):
        cell = report.cells.get((row.name, name))
        ratio = cell.ratios.get(BASELINE, {}).get(figure) if cell is not None else None
        if ratio is not None:
            places.append(index + offset)
            found.append(ratio)
    errors = [[ratio.median - ratio.low for ratio in found], [ratio.high - ratio.median for ratio in found]]
    axes.bar(places, [ratio.median for ratio in found], width, yerr=errors, capsize=2, label=name)


def _plot(pyplot: Any, report: Report, figure: str, caption: str, path: Path) -> None:
    names = [name for name, found in report.contenders.items() if found.version is not None and name != BASELINE]
    drawing, axes = pyplot.subplots(figsize=(max(7.0, 1.4 * len(report.rows)), 4.5))
    width = 0.8 / max(len(names), 1)
    for index, name in enumerate(names):
        _bars(axes, report, figure, name, (index - (len(names) - 1) / 2) * width, width)
    axes.axhline(1.0, color="black", linewidth=0.8)
    axes.set_ylabel(caption)
    axes.set_xticks(range(len(report.rows)), [row.label for row in report.rows], rotation=30, ha="right")
    axes.legend(fontsize="small")
    drawing.tight_layout()
    drawing.savefig(path, dpi=120)
    pyplot.close(drawing)


def plot(report: Report, directory: Path) -> list[Path]:
    """Write the plots into a directory, made when missing, and return their paths.

    Raises:
        BenchError: matplotlib is not installed.
    """
    pyplot = _load_matplotlib()
    directory.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, figure, caption in PLOTS:
        _plot(pyplot, report, figure, caption, directory / name)
        paths.append(directory / name)
    return paths
