"""Showing the doctor's report to a person."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Sequence
from dataclasses import astuple
from typing import Final, TextIO

import netloop
from netloop.tools.doctor.catalogue import TITLES
from netloop.tools.doctor.report import Finding, Report
from netloop.tools.table import show_table

__all__ = ["show"]

_HEADS: Final = ("feature", "state", "since", "used for", "why, what to do")
_INTERFACE_HEADS: Final = ("name", "driver", "MTU", "UDP cut up", "UDP coalesced", "time stamps", "queueing")
_RUNS: Final = "The loop runs here. A connection on 127.0.0.1 was accepted, sent data and got it back, and was closed."
_WIDTH: Final = 100
_STYLES: Final = {"found": "green", "missing": "yellow", "MISSING": "bold red"}


def show(report: Report, *, stream: TextIO | None = None, plain: bool | None = None) -> None:
    """Print the report.

    Args:
        report: what the doctor found.
        stream: where to; standard output unless given.
        plain: True for aligned text; unless given, that is used where rich is not installed.
    """
    stream = stream or sys.stdout
    print(f"netloop {netloop.__version__} on Python {report.python}, Linux {report.kernel}", file=stream)
    limits = [(limit.name, limit.value, limit.remark) for limit in report.limits]
    show_table("Surroundings", ("what", "value", "remark"), limits, stream=stream, plain=plain)
    interfaces = [astuple(interface) for interface in report.interfaces]
    show_table("Network interfaces", _INTERFACE_HEADS, interfaces, stream=stream, plain=plain, whole=("name",))
    for group in dict.fromkeys(finding.group for finding in report.findings):
        rows = [_row(finding) for finding in report.findings if finding.group == group]
        title = TITLES.get(group, group)
        show_table(title, _HEADS, rows, stream=stream, plain=plain, styles=_STYLES, whole=_HEADS[:3])
    for line in _allowed(report):
        print(line, file=stream)
    print(f"\nSecond opinion: {report.second_opinion}", file=stream)
    for line in _disputes(report.findings):
        print(line, file=stream)
    for line in _costs(report.findings):
        print(line, file=stream)
    print(f"\n{_RUNS}" if report.runs else f"\nThe loop cannot run here. {report.error}", file=stream)


def _row(finding: Finding) -> tuple[str, ...]:
    advice = ". ".join(part for part in (finding.why, finding.todo) if part)
    return (finding.name, _state(finding), finding.since, finding.purpose, advice)


def _state(finding: Finding) -> str:
    if finding.found:
        return "found"
    return "MISSING" if finding.required else "missing"


def _costs(findings: Sequence[Finding]) -> list[str]:
    """What is missing, in words: first what costs something, then what does not."""
    missing = [finding for finding in findings if not finding.found]
    if not missing:
        return []
    lines = ["\nWhat is missing here, and what that costs:"]
    lines += [f"- {_told(finding)}: {finding.cost}" for finding in missing if finding.cost]
    free = [_told(finding) for finding in missing if not finding.cost]
    if free:
        lines.append(f"- nothing: {', '.join(free)}")
    return lines


def _told(finding: Finding) -> str:
    since = f" (Linux {finding.since})" if finding.since else ""
    return finding.full_name + since


def _allowed(report: Report) -> list[str]:
    """What a loop's ring may do, in words; nothing where the kernel does not see to it."""
    if not report.allowed:
        return []
    lines = ["\nWhat a loop's ring may do; the kernel refuses it everything else (EACCES):"]
    for what, names in report.allowed.items():
        lines += textwrap.wrap(f"- {what}: {', '.join(names)}", _WIDTH, subsequent_indent="  ")
    return lines


def _disputes(findings: Sequence[Finding]) -> list[str]:
    return [
        f"They disagree on {finding.name}: netloop says {_state(finding)}, the second opinion the opposite"
        for finding in findings
        if finding.disputed
    ]
