"""How often something took how long, as it is counted natively, in numbers that can be added, subtracted and asked."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Histogram"]


@dataclass(frozen=True)
class Histogram:
    """Counts of times by bucket.

    Args:
        bounds: the longest time of each bucket but the last, which has no bound; seconds.
        counts: how many times fell into each bucket, by its number; those that hold nothing are left out.
        nanoseconds: all times together. As an integer, because sums that are made in another order must not differ:
            a total that is a rounding error less than the last one would be taken for one that began anew.
    """

    bounds: tuple[float, ...]
    counts: Mapping[int, int] = field(default_factory=dict)
    nanoseconds: int = 0

    @property
    def seconds(self) -> float:
        """All times together."""
        return self.nanoseconds * 1e-9

    @property
    def count(self) -> int:
        """How many times were counted."""
        return sum(self.counts.values())

    def __add__(self, other: Histogram) -> Histogram:
        """Both together; they must have the same bounds."""
        numbers = {*self.counts, *other.counts}
        counts = {number: self.counts.get(number, 0) + other.counts.get(number, 0) for number in numbers}
        return Histogram(self.bounds, counts, self.nanoseconds + other.nanoseconds)

    def __sub__(self, earlier: Histogram) -> Histogram:
        """What has been counted since an earlier look at the same thing."""
        since = {number: count - earlier.counts.get(number, 0) for number, count in self.counts.items()}
        return Histogram(self.bounds, {n: c for n, c in since.items() if c > 0}, self.nanoseconds - earlier.nanoseconds)

    def at_most(self, bound: float) -> int:
        """How many times were not longer than one of the bounds."""
        end = bisect_right(self.bounds, bound)
        return sum(count for number, count in self.counts.items() if number < end)

    def by_bound(self) -> dict[str, int]:
        """The counts by the bound of their bucket in seconds, as JSON can hold them; "inf" for the last bucket."""
        bounds = (*self.bounds, math.inf)
        return {repr(bounds[number]): count for number, count in sorted(self.counts.items())}

    def quantile(self, share: float) -> float:
        """The time that this share of all, from 0 to 1, did not exceed; nan if there are none.

        Within a bucket it is interpolated. What is beyond the last bound is told as that bound.
        """
        rank = share * self.count
        passed = 0
        for number in sorted(self.counts):
            count = self.counts[number]
            if passed + count >= rank:
                if number == len(self.bounds):
                    return self.bounds[-1]
                low = self.bounds[number - 1] if number else 0.0
                return low + (self.bounds[number] - low) * max(rank - passed, 0) / count
            passed += count
        return math.nan
