"""The result of a run: all that is shown of it, its JSON, and the way back from that."""

import dataclasses
import functools
import json
from typing import Any, Self

from harness.contenders import Availability
from harness.errors import BenchError
from harness.measure import Sample
from harness.rows import Row, parse
from harness.schedule import Outcome
from harness.summary import ENOUGH_STARTS, Summary
from harness.trace import Trace

FORMAT = 2


@dataclasses.dataclass(frozen=True)
class Report:
    """All that is shown of a run. ``contenders`` holds everybody asked for, those that cannot run here included;
    ``packages`` the versions of what is served; ``omitted`` the rows that cannot be measured here, and why.
    """

    command_line: str
    environment: dict[str, Any]
    settings: dict[str, Any]
    rows: list[Row]
    contenders: dict[str, Availability]
    packages: dict[str, str | None]
    omitted: dict[str, str]
    outcome: Outcome

    @functools.cached_property
    def summary(self) -> Summary:
        """The figures."""
        return Summary(self.outcome.samples, self.outcome.failures)

    @property
    def calls(self) -> dict[tuple[str, str], float]:
        """System calls per message by row and contender, where they were counted."""
        traces = self.outcome.traces.items()
        return {cell: trace.per_message for cell, trace in traces if trace.per_message is not None}

    def present(self) -> list[str]:
        """Return the names of the contenders that can run here."""
        return [name for name, found in self.contenders.items() if found.version is not None]

    def notes(self) -> list[str]:
        """Return what a reader must know besides the figures: who is missing, what failed, what was not measured."""
        notes = [f"{name}: {found.reason}" for name, found in self.contenders.items() if found.version is None]
        notes += [f"{row} is left out: {reason}" for row, reason in self.omitted.items()]
        if self.outcome.cut_short is not None:
            notes.append(f"the run is incomplete: {self.outcome.cut_short}")
        for (row, contender), failure in self.outcome.failures.items():
            notes.append(f"ERROR {row} on {contender}: {failure}")
        for (row, contender), trace in self.outcome.traces.items():
            if trace.reason is not None:
                notes.append(f"system calls of {row} on {contender} were not counted: {trace.reason}")
        if self.settings["repeats"] < ENOUGH_STARTS:
            notes.append(
                f"fewer than {ENOUGH_STARTS} starts of each server: the next may change what is a tie and what is not"
            )
        if not self.settings["tracing"]:
            notes.append("system calls were not counted: switched off")
        if self.settings["server_cpu"] is None:
            notes.append("only one CPU: server and load share it, so throughput and latency mean little")
        return list(dict.fromkeys(notes))

    def to_json(self) -> str:
        """Return the whole report as JSON, single samples included."""
        cells = self.outcome.traces.items()
        traces = [{"row": row, "contender": name, **dataclasses.asdict(trace)} for (row, name), trace in cells]
        errors = [{"row": row, "contender": name, "error": why} for (row, name), why in self.outcome.failures.items()]
        document = {
            "format": FORMAT,
            "command_line": self.command_line,
            "environment": self.environment,
            "settings": self.settings,
            "contenders": {name: dataclasses.asdict(found) for name, found in self.contenders.items()},
            "packages": self.packages,
            "omitted": self.omitted,
            "rows": [row.name for row in self.rows],
            "cut_short": self.outcome.cut_short,
            "errors": errors,
            "traces": traces,
            "samples": [dataclasses.asdict(sample) for sample in self.outcome.samples],
        }
        return _compact(document)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what :meth:`to_json` has written.

        Raises:
            BenchError: it is something else.
        """
        try:
            document = json.loads(text)
            if document["format"] != FORMAT:
                raise BenchError(f"the results have format {document['format']}, and this program reads {FORMAT}")
            return cls(
                command_line=document["command_line"],
                environment=document["environment"],
                settings=document["settings"],
                rows=[parse(name) for name in document["rows"]],
                contenders={name: Availability(**found) for name, found in document["contenders"].items()},
                packages=document["packages"],
                omitted=document["omitted"],
                outcome=_outcome(document),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise BenchError(f"these are no results of this benchmark: {error!r}") from None


def _outcome(document: dict[str, Any]) -> Outcome:
    traces = {}
    for trace in document["traces"]:
        cell = trace["row"], trace["contender"]
        traces[cell] = Trace(trace["per_message"], trace["by_name"], trace["reason"])
    return Outcome(
        samples=[Sample(**sample) for sample in document["samples"]],
        traces=traces,
        failures={(error["row"], error["contender"]): error["error"] for error in document["errors"]},
        cut_short=document["cut_short"],
    )


def _compact(document: dict[str, Any]) -> str:
    """One line for each entry of a list or a dictionary, so that two runs can be compared line by line."""
    parts = []
    for key, value in document.items():
        if isinstance(value, list) and value:
            lines = ",\n  ".join(json.dumps(entry, ensure_ascii=False) for entry in value)
            text = f"[\n  {lines}\n ]"
        else:
            text = json.dumps(value, ensure_ascii=False)
        parts.append(f' "{key}": {text}')
    return "{\n" + ",\n".join(parts) + "\n}\n"
