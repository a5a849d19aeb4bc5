"""Plots of a report, as SVG and PNG. Needs matplotlib."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness import overview
from harness.canvas import COLOURS, load_matplotlib, save
from harness.figures import FIGURES
from harness.report import Report
from harness.rows import Row
from harness.summary import Spread

#: The rows whose latencies are drawn, as far as they were measured.
_LATENCY_ROWS = ("protocol:1x64", "protocol:100x64", "protocol:1000x64", "aiohttp:100", "tls:100")


class _Canvas:
    """One picture of a row of panels."""

    def __init__(self, pyplot: Any, panels: int, width: float = 4.2, height: float = 4.0) -> None:
        self._pyplot = pyplot
        self._picture, axes = pyplot.subplots(1, panels, figsize=(max(width * panels, 5.0), height), squeeze=False)
        self.axes: list[Any] = list(axes[0])

    def save(self, directory: Path, name: str, title: str) -> list[Path]:
        self._picture.suptitle(title, fontsize=11)
        self._picture.tight_layout()
        paths = save(self._picture, directory, name)
        self._pyplot.close(self._picture)
        return paths


def _line(axes: Any, points: list[tuple[int, Spread]], name: str) -> None:
    places = [place for place, _ in points]
    medians = [found.median for _, found in points]
    errors = [[found.median - found.low for _, found in points], [found.high - found.median for _, found in points]]
    axes.errorbar(
        places, medians, yerr=errors, label=name, color=COLOURS.get(name), marker="o", markersize=3, capsize=2
    )


def _curves(
    report: Report,
    figure: str,
    along: Callable[[Row], int],
    panel_of: Callable[[Row], tuple[int, str]],
    kind: str,
    pyplot: Any,
) -> _Canvas | None:
    """Draw a figure of one kind of row against connections or size, a panel for each value of the other."""
    names = report.present()
    rows = [row for row in report.rows if row.kind == kind and row.depth == 1]
    rows = [row for row in rows if any(report.summary.figure(row.name, name, figure) for name in names)]
    panels: dict[tuple[int, str], list[Row]] = {}
    for row in rows:
        panels.setdefault(panel_of(row), []).append(row)
    drawn = {panel: fitting for panel, fitting in sorted(panels.items()) if len(fitting) > 1}
    if not drawn:
        return None
    canvas = _Canvas(pyplot, len(drawn))
    for axes, ((_, title), fitting) in zip(canvas.axes, drawn.items(), strict=True):
        for name in names:
            points = [(along(row), report.summary.figure(row.name, name, figure)) for row in fitting]
            known = sorted((place, found) for place, found in points if found is not None)
            if known:
                _line(axes, known, name)
        axes.set(title=title, xscale="log", yscale="log", ylabel=FIGURES[figure].caption)
        places = sorted({along(row) for row in fitting})
        axes.set_xticks(places, [f"{place:,}" for place in places], fontsize=7)
        axes.minorticks_off()
        axes.yaxis.set_major_locator(pyplot.matplotlib.ticker.LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter("{x:,g}")
        axes.grid(linewidth=0.3)
    canvas.axes[0].legend(fontsize="x-small")
    return canvas


def _against(report: Report, directory: Path, pyplot: Any) -> list[Path]:
    paths: list[Path] = []
    for figure, name in (("cpu_us", "cpu"), ("messages_per_second", "throughput")):
        caption = FIGURES[figure].caption
        by_count = _curves(
            report,
            figure,
            lambda row: row.connections,
            lambda row: (row.size, f"{row.size:,} bytes"),
            "protocol",
            pyplot,
        )
        if by_count is not None:
            paths += by_count.save(directory, f"{name}-connections", f"Protocol echo: {caption} by connections")
        by_size = _curves(
            report,
            figure,
            lambda row: row.size,
            lambda row: (row.connections, f"{row.connections:,} connections"),
            "protocol",
            pyplot,
        )
        if by_size is not None:
            paths += by_size.save(directory, f"{name}-size", f"Protocol echo: {caption} by message size in bytes")
    return paths


def _memory(report: Report, directory: Path, pyplot: Any) -> list[Path]:
    canvas = _curves(
        report, "pss_mib", lambda row: row.connections, lambda row: (0, "idle connections"), "idle", pyplot
    )
    if canvas is None:
        return []
    return canvas.save(directory, "memory-connections", "User-space memory of the server by idle connections")


def _latency(report: Report, directory: Path, pyplot: Any) -> list[Path]:
    rows = [row for row in report.rows if row.name in _LATENCY_ROWS]
    rows = [row for row in rows if any(report.summary.distribution(row.name, name) for name in report.present())]
    if not rows:
        return []
    canvas = _Canvas(pyplot, len(rows))
    for axes, row in zip(canvas.axes, rows, strict=True):
        for name in report.present():
            points = report.summary.distribution(row.name, name)
            if points:
                # The share that took longer, so that each step to the right is a tenth as many messages.
                places, values = [1 / (1 - share) for share, _ in points], [us for _, us in points]
                axes.plot(places, values, label=name, color=COLOURS.get(name))
        axes.set(title=row.label, xscale="log", yscale="log", ylabel="µs")
        axes.set_xticks([2, 10, 100, 1000, 10_000], ["50 %", "90 %", "99 %", "99.9 %", "99.99 %"], fontsize=7)
        axes.grid(linewidth=0.3)
    canvas.axes[0].legend(fontsize="x-small")
    return canvas.save(directory, "latency", "Latency within which a share of all messages was answered")


def plot(report: Report, directory: Path) -> list[Path]:
    """Write the plots into a directory, made when missing, and return their paths.

    Raises:
        BenchError: matplotlib is not installed.
    """
    pyplot = load_matplotlib()
    directory.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = []
    for draw in (overview.plot, _against, _latency, _memory):
        paths += draw(report, directory, pyplot)
    return paths
