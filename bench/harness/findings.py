"""What came of comparing two states of netloop: a figure of each, their ratio, and whether that is good enough."""

from collections.abc import Iterable
from dataclasses import dataclass

from harness.summary import Spread, spread
from harness.tables import NOTHING, Table, number, spread_text

#: Building has to take half of the time and of the space, what is built must not be slower.
HALF, NOT_MORE = 0.5, 1.0


@dataclass(frozen=True)
class Finding:
    """One figure before and after. Less is better, and ``ratio`` is after ÷ before, of the pairs where there are pairs.

    ``bound`` is the largest ratio that is good enough, or None where the figure is only told. ``tolerant`` findings are
    met also when the bound lies within the spread of the ratio.
    """

    what: str
    before: Spread
    after: Spread
    ratio: Spread
    bound: float | None
    tolerant: bool = False

    @property
    def met(self) -> bool:
        """Whether the ratio is good enough."""
        return self.bound is None or (self.ratio.low if self.tolerant else self.ratio.median) <= self.bound

    @property
    def target(self) -> str:
        """The bound in words."""
        if self.bound is None:
            return NOTHING
        return f"≤ {self.bound:.2f}" + (" within the spread" if self.tolerant else "")

    @property
    def verdict(self) -> str:
        """``met``, or by which share of the bound it is missed."""
        if self.bound is None:
            return NOTHING
        if not self.met:
            return f"missed by {self.ratio.median / self.bound - 1:.0%}"
        return "met" if self.ratio.median <= self.bound else "met within the spread"


def paired(what: str, before: list[float], after: list[float], bound: float | None) -> Finding:
    """Return a finding of figures that were measured in pairs, one right after the other."""
    ratios = [new / old for old, new in zip(before, after, strict=True)]
    return Finding(what, spread(before), spread(after), spread(ratios), bound)


def _text(found: Spread) -> str:
    if found.low == found.high:
        return number(found.median)
    return f"{number(found.median)} [{number(found.low)}-{number(found.high)}]"


def table(title: str, findings: Iterable[Finding]) -> Table:
    """Return the findings as a table."""
    lines = [
        [one.what, _text(one.before), _text(one.after), spread_text(one.ratio), one.target, one.verdict]
        for one in findings
    ]
    return Table(title, ["figure", "before", "after", "after ÷ before", "target", "verdict"], lines)
