"""Latencies, counted in buckets that are 1.6 % wide, so that children can hand theirs over and they can be added up."""

from __future__ import annotations

from collections import Counter
from typing import Final

__all__ = ["Histogram"]

_SUB_BITS: Final = 6
_SUBS: Final = 1 << _SUB_BITS


class Histogram:
    """Counts of latencies, in microseconds."""

    def __init__(self) -> None:
        self._buckets: Counter[int] = Counter()
        self.count = 0
        self.greatest = 0.0

    def add(self, seconds: float) -> None:
        """Count one latency."""
        value = int(seconds * 1e6)
        shift = max(value.bit_length() - _SUB_BITS - 1, 0)
        self._buckets[(shift << (_SUB_BITS + 1)) + (value >> shift)] += 1
        self.count += 1
        self.greatest = max(self.greatest, seconds)

    def merge(self, packed: dict[str, int], greatest: float) -> None:
        """Add what another one has packed."""
        for bucket, count in packed.items():
            self._buckets[int(bucket)] += count
            self.count += count
        self.greatest = max(self.greatest, greatest)

    def pack(self) -> dict[str, int]:
        """The counts by bucket, as JSON can hold them."""
        return {str(bucket): count for bucket, count in self._buckets.items()}

    def clear(self) -> None:
        """Forget everything."""
        self._buckets.clear()
        self.count = 0
        self.greatest = 0.0

    def quantile(self, share: float) -> float | None:
        """The latency in seconds below which that share of all lies; None when there is none."""
        points = self.quantiles([share])
        return points[0] if points else None

    def quantiles(self, shares: list[float]) -> list[float]:
        """The latencies for several shares, in ascending order of both; none when the histogram is empty."""
        if not self.count:
            return []
        found: list[float] = []
        seen = 0
        ordered = sorted(self._buckets.items())
        for bucket, count in ordered:
            seen += count
            while len(found) < len(shares) and seen >= shares[len(found)] * self.count:
                found.append(min(_middle(bucket), self.greatest))
        return found + [self.greatest] * (len(shares) - len(found))


def _middle(bucket: int) -> float:
    shift, mantissa = bucket >> (_SUB_BITS + 1), bucket & (2 * _SUBS - 1)
    return ((mantissa << shift) + ((1 << shift) / 2 if shift else 0)) / 1e6
