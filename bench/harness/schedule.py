"""The order of measurements: every repeat visits all rows, every row all contenders, each time in a new random order.

Machines drift: the same program can cost half as much again a minute later. So contenders are compared only within one
visit of a row, where they ran one right after the other.
"""

import random
import time
from dataclasses import dataclass, field

from harness.contenders import Contender
from harness.errors import BenchError
from harness.measure import Sample, measure
from harness.plan import Plan, traced
from harness.progress import Progress
from harness.rows import Row
from harness.settings import Settings
from harness.trace import Trace, trace


@dataclass
class Outcome:
    """Everything that was measured. ``failures`` and ``traces`` are by row and contender name."""

    samples: list[Sample] = field(default_factory=list)
    traces: dict[tuple[str, str], Trace] = field(default_factory=dict)
    failures: dict[tuple[str, str], str] = field(default_factory=dict)
    cut_short: str | None = None


class _Stop(Exception):
    """No further measurement is to begin."""


class Schedule:
    """Runs all measurements of a benchmark, within the time budget.

    A cell that has failed once is not measured again: it is an error, whatever the other repeats would give.
    """

    def __init__(self, plan: Plan, settings: Settings, progress: Progress) -> None:
        self._cells = plan.cells
        self._settings = settings
        self._progress = progress
        self._random = random.Random(settings.seed)
        self._deadline = time.monotonic() + settings.budget
        self._outcome = Outcome()

    @staticmethod
    def steps(plan: Plan, settings: Settings) -> int:
        """Return how many measurements there will be."""
        traces = sum(len(able) for row, able in plan.cells.items() if settings.tracing and traced(row))
        return plan.count() * settings.repeats + traces

    def run(self) -> Outcome:
        """Measure; on an interrupt or at the end of the budget return what there is so far."""
        try:
            for repeat in range(self._settings.repeats):
                self._visit_all(repeat)
                # After the first repeat, so that a run cut short still has both kinds of figures.
                if repeat == 0 and self._settings.tracing:
                    self._trace_all()
        except _Stop:
            self._outcome.cut_short = f"the time budget of {self._settings.budget:.0f} s was used up"
        except KeyboardInterrupt:
            self._outcome.cut_short = "interrupted"
        return self._outcome

    def _begin(self, what: str) -> None:
        if time.monotonic() >= self._deadline:
            raise _Stop
        self._progress.step(what)

    def _visit_all(self, repeat: int) -> None:
        for row in self._random.sample(list(self._cells), len(self._cells)):
            able = self._cells[row]
            for contender in self._random.sample(able, len(able)):
                self._begin(f"repeat {repeat + 1}: {row.name} on {contender.name}")
                if (row.name, contender.name) not in self._outcome.failures:
                    self._measure(contender, row, repeat)

    def _measure(self, contender: Contender, row: Row, repeat: int) -> None:
        try:
            self._outcome.samples.append(measure(contender, row, repeat, self._settings))
        except BenchError as error:
            self._progress.say(f"{row.name} on {contender.name}: {error}")
            self._outcome.failures[row.name, contender.name] = str(error)

    def _trace_all(self) -> None:
        for row, able in self._cells.items():
            for contender in able if traced(row) else ():
                self._begin(f"system calls: {row.name} on {contender.name}")
                if (row.name, contender.name) not in self._outcome.failures:
                    self._outcome.traces[row.name, contender.name] = trace(contender, row, self._settings)
