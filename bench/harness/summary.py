"""From samples to figures: medians per cell, and ratios paired within one repeat."""

import statistics
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from harness.measure import Sample

#: So many starts of a server tell how far starts differ. With fewer the quartiles are hardly more than guesses.
ENOUGH_STARTS = 5


@dataclass(frozen=True)
class Spread:
    """Median and quartiles of ``count`` values. Each is of another start of the server, a ratio's of one of each."""

    median: float
    low: float
    high: float
    count: int

    @property
    def between_starts(self) -> float | None:
        """How far starts differ: the distance between the quartiles as a share of the median; None of one start."""
        return (self.high - self.low) / self.median if self.count > 1 and self.median else None

    @property
    def is_tie(self) -> bool:
        """Of a ratio, whether it is no farther from 1 than its starts differ, in the two digits that are shown.

        A pair's two starts ran right after one another, so that what differs from pair to pair is what a start
        decides, such as the seed of hashes and the layout of memory, and less what the machine does meanwhile.
        """
        low, median, high = (round(100 * value) for value in (self.low, self.median, self.high))
        return abs(median - 100) <= high - low


def spread(values: list[float]) -> Spread:
    """Return median and quartiles; of a single value, that value three times."""
    if len(values) == 1:
        return Spread(values[0], values[0], values[0], 1)
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(median, low, high, len(values))


class Summary:
    """The samples of a run by row and contender. A cell that has failed in any repeat has no figures.

    Args:
        samples: what was measured.
        failed: row and contender names of the cells with errors.
    """

    def __init__(self, samples: Iterable[Sample], failed: Collection[tuple[str, str]] = ()) -> None:
        self._cells: dict[tuple[str, str], dict[int, Sample]] = {}
        for sample in samples:
            if (sample.row, sample.contender) not in failed:
                self._cells.setdefault((sample.row, sample.contender), {})[sample.repeat] = sample

    def contenders(self, row: str) -> list[str]:
        """Return who has figures in a row."""
        return [contender for found, contender in self._cells if found == row]

    def figure(self, row: str, contender: str, figure: str) -> Spread | None:
        """Return the spread of a figure, or None where it was not measured."""
        values = [
            sample.figures[figure]
            for sample in self._cells.get((row, contender), {}).values()
            if figure in sample.figures
        ]
        return spread(values) if values else None

    def ratio(self, row: str, contender: str, baseline: str, figure: str) -> Spread | None:
        """Return the spread of a contender's figure divided by the baseline's of the same repeat, or None."""
        own, other = self._cells.get((row, contender), {}), self._cells.get((row, baseline), {})
        pairs = ((own[repeat].figures, other[repeat].figures) for repeat in own if repeat in other)
        values = [a[figure] / b[figure] for a, b in pairs if figure in a and b.get(figure, 0.0) > 0]
        return spread(values) if values else None

    def distribution(self, row: str, contender: str) -> list[tuple[float, float]]:
        """Return the latency distribution: share of messages and microseconds, each the median of the repeats."""
        samples = [sample.distribution for sample in self._cells.get((row, contender), {}).values()]
        samples = [distribution for distribution in samples if distribution]
        points = zip(*samples, strict=True)
        return [(same[0][0], statistics.median(value for _, value in same)) for same in points]
