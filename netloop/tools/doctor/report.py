"""Putting the doctor's report together: what was found, what is missing, why, and whether the loop runs."""

from __future__ import annotations

import importlib
import platform
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import netloop
from netloop.setup.loops import load_event_loop
from netloop.setup.surroundings import Surroundings
from netloop.setup.unavailable import Unavailable, explain
from netloop.tools.doctor.catalogue import CATALOGUE, PREFIXES, TITLES, Feature
from netloop.tools.doctor.interfaces import Interface, read_interfaces
from netloop.tools.doctor.limits import Limit, read_limits
from netloop.tools.doctor.pollers import try_poller
from netloop.tools.doctor.trial import TrialError, try_loop

__all__ = ["Finding", "Probe", "Report", "examine", "second_opinion"]

Probe = Mapping[str, Mapping[str, bool]]
"""Groups of features (the keys of the catalogue), each a mapping from name to whether the kernel offers it."""

_UNKNOWN: Final = Feature("?", "", "unknown")


@dataclass(frozen=True)
class Finding:
    """One feature of the kernel.

    Attributes:
        group: the probe's group, one of the catalogue's keys.
        name: the kernel's name without its prefix.
        found: whether it is there.
        required: whether the loop cannot run without it.
        since: the first Linux release that has it.
        purpose: what netloop uses it for.
        why: the likely reason that it is missing; empty when found.
        todo: what to do about it, and what its absence costs; empty when found.
        cost: what its absence costs a program; empty when found, or when that is nothing.
        second_opinion: what the liburing bindings say, or None when they were not asked.
    """

    group: str
    name: str
    found: bool
    required: bool
    since: str
    purpose: str
    why: str
    todo: str
    cost: str
    second_opinion: bool | None

    @property
    def full_name(self) -> str:
        """The kernel's name for it."""
        return PREFIXES.get(self.group, "") + self.name

    @property
    def disputed(self) -> bool:
        """Whether netloop's probe and the liburing bindings disagree."""
        return self.second_opinion is not None and self.second_opinion != self.found


@dataclass(frozen=True)
class Report:
    """Everything the doctor found.

    Attributes:
        kernel: the kernel's release.
        python: the Python version.
        limits: settings and limits around this process, and, where the loop runs, whether it may have a poller.
        interfaces: the network interfaces that are up.
        findings: the kernel's features; empty when the probe was refused.
        error: why the loop cannot run, or None.
        second_opinion: which liburing bindings were asked, or why not.
        allowed: what a loop's ring may do, and nothing else: names of operations, of their flags, and of registrations;
            empty where a ring cannot be restricted.
    """

    kernel: str
    python: str
    limits: tuple[Limit, ...]
    interfaces: tuple[Interface, ...]
    findings: tuple[Finding, ...]
    error: str | None
    second_opinion: str
    allowed: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def runs(self) -> bool:
        """Whether the loop can run here."""
        return self.error is None

    def as_json(self) -> dict[str, Any]:
        """The report as JSON takes it."""
        return {"netloop": netloop.__version__, "runs": self.runs, **asdict(self)}


def examine(
    *,
    probe: Callable[[], Probe] | None = None,
    attempt: Callable[[], None] | None = None,
    oracle: Callable[[], tuple[str, Mapping[str, bool]]] | None = None,
    surroundings: Surroundings | None = None,
    interfaces: Callable[[], tuple[Interface, ...]] = read_interfaces,
    poller: Callable[[], Limit] = try_poller,
) -> Report:
    """Probe the kernel, ask for a second opinion and try a real loop.

    Args:
        probe: returns what the kernel offers, or raises OSError; the ring's own probe unless given.
        attempt: runs a loop, or raises; :func:`netloop.tools.doctor.trial.try_loop` unless given.
        oracle: the second opinion; :func:`second_opinion` unless given.
        surroundings: where /proc is read.
        interfaces: returns the network interfaces.
        poller: tells whether a loop may have a poller; asked where loops run.
    """
    around = surroundings or Surroundings()
    offered, error = _ask(probe or _probe_ring, around)
    opinion, operations = (oracle or second_opinion)()
    findings = tuple(_findings(offered, operations, around))
    if error is None:
        error = _missing(findings)
    if error is None:
        _, error = _ask(lambda: (attempt or try_loop)() or {}, around)
    limits, allowed = read_limits(around), _allowed(offered)
    if error is None:
        limits += (poller(),)
    return Report(around.release, platform.python_version(), limits, interfaces(), findings, error, opinion, allowed)


def second_opinion() -> tuple[str, Mapping[str, bool]]:
    """What the ``liburing`` bindings say of the operations, by name without ``IORING_OP_``; and who was asked."""
    try:
        liburing = importlib.import_module("liburing")
    except ImportError:
        return "not asked: `pip install liburing` for a second opinion", {}
    try:
        operations = liburing.probe() or {}
    except (OSError, RuntimeError) as refused:
        return f"refused: {refused}", {}
    version = getattr(liburing, "__version__", "of unknown version")
    return f"liburing bindings {version}", {name.removeprefix("IORING_OP_"): ok for name, ok in operations.items()}


def _probe_ring() -> Probe:
    load_event_loop()
    offered: Probe = importlib.import_module("netloop.core.probe").probe()
    return offered


def _allowed(offered: Probe) -> Mapping[str, Sequence[str]]:
    if not offered.get("registrations", {}).get("RESTRICTIONS"):
        return {}
    allowed: Mapping[str, Sequence[str]] = importlib.import_module("netloop.core.ring").list_allowed()
    return allowed


def _ask(question: Callable[[], Probe], around: Surroundings) -> tuple[Probe, str | None]:
    try:
        return question(), None
    except Unavailable as refused:
        return {}, str(refused.strerror)
    except OSError as refused:
        return {}, str(explain(refused.errno or 0, surroundings=around).strerror)
    except (ImportError, TrialError) as failed:
        return {}, str(failed)


def _findings(offered: Probe, operations: Mapping[str, bool], around: Surroundings) -> list[Finding]:
    found = []
    groups = [*TITLES, *(group for group in offered if group not in TITLES)]
    for group in groups:
        known = CATALOGUE.get(group, {})
        for name, present in offered.get(group, {}).items():
            feature = known.get(name, _UNKNOWN)
            why, todo = ("", "") if present else _explain_missing(feature, around)
            opinion = operations.get(name) if group == "operations" else None
            found.append(
                Finding(
                    group=group,
                    name=name,
                    found=bool(present),
                    required=feature.required,
                    since=feature.since,
                    purpose=feature.purpose,
                    why=why,
                    todo=todo,
                    cost="" if present else feature.cost,
                    second_opinion=opinion,
                )
            )
    return found


def _explain_missing(feature: Feature, around: Surroundings) -> tuple[str, str]:
    since = re.fullmatch(r"(\d+)\.(\d+)", feature.since)
    if since is None:
        return "unknown to this version of netloop", ""
    if around.version is not None and around.version < (int(since[1]), int(since[2])):
        return f"Linux {feature.since} and later; this is {around.release}", f"upgrade, or else: {feature.without}"
    return "the kernel was built without it or a policy blocks it", f"nothing to do: {feature.without}"


def _missing(findings: tuple[Finding, ...]) -> str | None:
    missing = [finding for finding in findings if finding.required and not finding.found]
    if not missing:
        return None
    names = ", ".join(finding.name for finding in missing)
    return f"the kernel lacks what the loop cannot do without: {names}. {missing[0].why}"
