"""The result of a run, and its JSON."""

import dataclasses
import json
from typing import Any

from harness.contenders import Availability
from harness.rows import Row
from harness.schedule import Outcome
from harness.settings import Settings
from harness.summary import Cell

FORMAT = 1


@dataclasses.dataclass(frozen=True)
class Report:
    """All that is shown of a run. ``contenders`` holds everybody asked for, those that cannot run here included."""

    command_line: str
    environment: dict[str, Any]
    settings: Settings
    rows: list[Row]
    contenders: dict[str, Availability]
    aiohttp: str | None
    outcome: Outcome
    cells: dict[tuple[str, str], Cell]

    def notes(self) -> list[str]:
        """Return what a reader must know besides the figures: who is missing, what failed, what was not measured."""
        notes = [f"{name}: {found.reason}" for name, found in self.contenders.items() if found.version is None]
        if self.aiohttp is None:
            notes.append("aiohttp is not installed: its rows are left out")
        if self.outcome.cut_short is not None:
            notes.append(f"the run is incomplete: {self.outcome.cut_short}")
        for (row, contender), failures in self.outcome.failures.items():
            notes.append(f"FAILED {row} on {contender}, {len(failures)} times: {failures[0]}")
        reasons = {trace.reason for trace in self.outcome.traces.values() if trace.reason is not None}
        notes += [f"system calls were not counted everywhere: {reason}" for reason in sorted(reasons)]
        if not self.settings.tracing:
            notes.append("system calls were not counted: switched off")
        if self.settings.server_cpu is None:
            notes.append("only one CPU: server and load share it, so throughput and latency mean little")
        return notes

    def to_json(self) -> str:
        """Return the whole report as JSON, single samples included."""
        traces = [
            {"row": row, "contender": contender, **dataclasses.asdict(trace)}
            for (row, contender), trace in self.outcome.traces.items()
        ]
        settings = dataclasses.asdict(self.settings)
        del settings["programs"]
        document = {
            "format": FORMAT,
            "command_line": self.command_line,
            "environment": self.environment,
            "settings": settings,
            "contenders": {name: dataclasses.asdict(found) for name, found in self.contenders.items()},
            "aiohttp": self.aiohttp,
            "rows": [{"name": row.name, **dataclasses.asdict(row)} for row in self.rows],
            "cells": [dataclasses.asdict(cell) for cell in self.cells.values()],
            "traces": traces,
            "samples": [dataclasses.asdict(sample) for sample in self.outcome.samples],
            "notes": self.notes(),
        }
        return json.dumps(document, indent=1, ensure_ascii=False) + "\n"
