"""What a run is to measure: which contenders in which rows, and why others are left out."""

import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass, field

from harness import http3, wrk
from harness.contenders import Availability, Contender
from harness.rows import Row, too_many

#: What a measurement takes beside its windows, roughly, in seconds: starting and ending the processes, each connection,
#: and each byte of the messages that every connection exchanges before and after its window; tracing needs time too.
_START, _PER_CONNECTION, _PER_BYTE, _ATTACH = 0.25, 1e-4, 0.6e-9, 0.3
#: Until the last of a herd is served, and what a cold start takes beyond its window.
_HERD, _COLD = 3.0, 1.0
#: Each byte of a body that one Python program sends to another by QUIC, in seconds.
_PER_HTTP3_BYTE = 150e-9
#: Above so many bytes under way at once, system calls are not counted.
TRACED_BYTES = 128 * 1024 * 1024


@dataclass
class Plan:
    """``cells`` holds the contenders of each row; ``omitted`` says why rows are left out."""

    cells: dict[Row, list[Contender]] = field(default_factory=dict)
    omitted: dict[str, str] = field(default_factory=dict)

    def count(self) -> int:
        """How many measurements one repeat has."""
        return sum(map(len, self.cells.values()))

    def seconds(self, repeats: int, window: float, trace_window: float | None) -> float:
        """Estimate how long a run takes, in seconds; tracing where ``trace_window`` is given."""
        total = 0.0
        for row, able in self.cells.items():
            overhead = _START + row.connections * (_PER_CONNECTION + 2 * row.size * row.depth * _PER_BYTE)
            if row.program.driver == "http3":
                overhead += row.size * _PER_HTTP3_BYTE
            overhead += {"herd": _HERD, "cold": row.program.seconds - window + _COLD}.get(row.program.driver, 0.0)
            once = 0.0
            if traced(row) and trace_window is not None:
                once = trace_window + overhead + _ATTACH
            total += len(able) * (repeats * (window + overhead) + once)
        return total


def traced(row: Row) -> bool:
    """Whether system calls are counted in a row. Under strace the last message of every connection must come back,
    which takes many seconds where that is much, and fewer connections tell as well.
    """
    return row.program.driver == "load" and row.connections * row.size <= TRACED_BYTES


def omission(row: Row) -> str | None:
    """Return why a row cannot be measured here by anybody, or None."""
    missing = [name for name in row.program.needs if importlib.util.find_spec(name) is None]
    if missing:
        return f"{' and '.join(missing)} not installed"
    if row.program.driver == "wrk" and (reason := wrk.unavailable()) is not None:
        return reason
    if row.program.driver == "http3" and (reason := http3.unavailable()) is not None:
        return reason
    return too_many(row)


def make(
    rows: Iterable[Row],
    contenders: Iterable[Contender],
    available: dict[str, Availability],
    only_in: dict[str, tuple[Row, ...]],
) -> Plan:
    """Return the plan for these rows and contenders; those named in ``only_in`` are measured in its rows only."""
    plan = Plan()
    running = [contender for contender in contenders if available[contender.name].version is not None]
    for row in rows:
        if (reason := omission(row)) is not None:
            plan.omitted[row.name] = reason
            continue
        able = [one for one in running if one.runs(row) and row in only_in.get(one.name, (row,))]
        if able:
            plan.cells[row] = able
    return plan
