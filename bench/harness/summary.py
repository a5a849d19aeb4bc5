"""From samples to figures: medians per cell, and ratios paired within one repeat."""

import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from harness.measure import FIGURES, Sample

#: Whom everybody is compared with.
BASELINES = ("uvloop", "asyncio")


@dataclass(frozen=True)
class Spread:
    """Median and quartiles of ``count`` values."""

    median: float
    low: float
    high: float
    count: int


@dataclass(frozen=True)
class Cell:
    """One contender in one row: each figure's spread, and its ratio to each baseline (``ratios[baseline][figure]``)."""

    row: str
    contender: str
    figures: dict[str, Spread]
    ratios: dict[str, dict[str, Spread]]


def spread(values: list[float]) -> Spread:
    """Return median and quartiles; of a single value, that value three times."""
    if len(values) == 1:
        return Spread(values[0], values[0], values[0], 1)
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(median, low, high, len(values))


def _paired(own: dict[int, Sample], other: dict[int, Sample], figure: str) -> list[float]:
    pairs = ((getattr(own[repeat], figure), getattr(other[repeat], figure)) for repeat in own if repeat in other)
    return [mine / theirs for mine, theirs in pairs if theirs > 0]


def _ratios(own: dict[int, Sample], other: dict[int, Sample]) -> dict[str, Spread]:
    by_figure = {figure: _paired(own, other, figure) for figure in FIGURES}
    return {figure: spread(values) for figure, values in by_figure.items() if values}


def summarise(samples: Iterable[Sample]) -> dict[tuple[str, str], Cell]:
    """Return the cells by row and contender name."""
    grouped: dict[tuple[str, str], dict[int, Sample]] = {}
    for sample in samples:
        grouped.setdefault((sample.row, sample.contender), {})[sample.repeat] = sample
    cells = {}
    for (row, contender), own in grouped.items():
        figures = {figure: spread([getattr(sample, figure) for sample in own.values()]) for figure in FIGURES}
        ratios = {
            baseline: _ratios(own, grouped[row, baseline]) for baseline in BASELINES if (row, baseline) in grouped
        }
        cells[row, contender] = Cell(row, contender, figures, ratios)
    return cells
