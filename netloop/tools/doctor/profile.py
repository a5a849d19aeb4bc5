"""A container's seccomp profile that allows io_uring: Docker's default profile and three calls more.

A profile is an allow list, and the one given replaces the default one: so it has to hold all that the default allows.
There are two formats. Docker's and Podman's has conditions (``includes`` and ``excludes``: a capability, a processor, a
kernel), which they evaluate for each container. The OCI runtime specification's has none; that is what containerd reads
for Kubernetes, and it ignores conditions: each conditional rule would then hold for every container.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from typing import Any, Final

from netloop.setup.surroundings import Surroundings
from netloop.tools.doctor.container_calls import (
    ALWAYS,
    ARCHITECTURES,
    FAMILIES,
    NAMESPACES,
    PERSONALITIES,
    SINCE_LINUX_4_8,
    WITH_ARCHITECTURE,
    WITH_CAPABILITY,
)

__all__ = ["FORMATS", "IO_URING", "default_profile", "installed_profile", "make_profile", "resolved", "with_io_uring"]

FORMATS: Final = ("docker", "oci")
"""The formats of a profile: with conditions, and without."""

IO_URING: Final = ("io_uring_enter", "io_uring_register", "io_uring_setup")
"""The three calls a loop cannot do without."""

Profile = dict[str, Any]
"""A profile as JSON takes it."""

_ENOSYS: Final = 38
_DAEMON: Final = "/etc/docker/daemon.json"
# The capabilities of a container that asked for none which change the profile.
_CAPABILITIES: Final = frozenset({"CAP_SYS_CHROOT"})
# How uname(2), Docker's conditions and libseccomp call the processors that netloop runs on.
_MACHINES: Final = {"x86_64": ("amd64", "X86_64"), "aarch64": ("arm64", "AARCH64")}


def make_profile(form: str, around: Surroundings, machine: str | None = None) -> tuple[Profile, str]:
    """The profile for containers that run netloop.

    Args:
        form: one of :data:`FORMATS`.
        around: where the profile of an installed Docker is looked for.
        machine: the processor that a profile without conditions is for, as ``uname -m`` calls it; this one if None.

    Returns:
        The profile, and what it was derived from, in words.

    Raises:
        ValueError: an installed Docker's profile cannot be used; or no profile without conditions can be made for the
            processor.
    """
    installed = installed_profile(around)
    base, origin = installed or (default_profile(), "Docker's default profile as netloop knows it")
    profile = with_io_uring(base)
    if form == "oci":
        profile = resolved(profile, machine or os.uname().machine)
    return profile, origin


def installed_profile(around: Surroundings) -> tuple[Profile, str] | None:
    """The default profile that Docker's daemon was configured with, and its path; None where it has its own.

    Raises:
        ValueError: a profile is configured and cannot be read.
    """
    try:
        path = json.loads(around.read(_DAEMON) or "{}").get("seccomp-profile", "")
        if path in ("", "builtin", "unconfined"):
            return None
        profile: Profile = json.loads(around.read(path) or "")
        if not isinstance(profile["syscalls"], list) or "defaultAction" not in profile:
            raise TypeError("there are no rules in it")
    except (AttributeError, KeyError, TypeError, ValueError) as unusable:
        raise ValueError(f"{_DAEMON}, or the seccomp profile that it names, is not usable: {unusable}") from unusable
    return profile, path


def default_profile() -> Profile:
    """Docker's default profile, in Docker's format. It does not allow io_uring."""
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 1,
        "archMap": [
            {"architecture": f"SCMP_ARCH_{name}", "subArchitectures": [f"SCMP_ARCH_{sub}" for sub in subs] or None}
            for name, subs in ARCHITECTURES.items()
        ],
        "syscalls": list(_default_rules()),
    }


def with_io_uring(base: Profile) -> Profile:
    """A copy of a profile that allows io_uring, whatever the profile said of it."""
    rules = [_without(rule, IO_URING) for rule in base["syscalls"]]
    added = _allow(*IO_URING) | {"comment": "io_uring, for netloop"}
    return {**base, "syscalls": [*(rule for rule in rules if _names(rule)), added]}


def resolved(profile: Profile, machine: str) -> Profile:
    """A profile without conditions: those of a container on such a machine, with the usual capabilities, are met.

    Raises:
        ValueError: netloop does not run on such a machine.
    """
    if machine not in _MACHINES:
        raise ValueError(f"netloop has no profile for {machine}: it runs on {' and '.join(_MACHINES)}")
    name, architecture = _MACHINES[machine]
    rules = []
    for rule in profile["syscalls"]:
        if _met(rule.get("includes"), name, True) and not _met(rule.get("excludes"), name, False):
            rules.append({key: value for key, value in rule.items() if key not in ("includes", "excludes", "comment")})
    return {
        "defaultAction": profile["defaultAction"],
        "defaultErrnoRet": profile.get("defaultErrnoRet", 1),
        "architectures": [f"SCMP_ARCH_{each}" for each in (architecture, *ARCHITECTURES[architecture])],
        "syscalls": rules,
    }


def _met(condition: Mapping[str, Any] | None, name: str, nothing_said: bool) -> bool:
    """Whether a condition is met: all of one that includes, any of one that excludes, as Docker reads them.

    A condition on the kernel is met by every kernel that netloop runs on: there are none on later ones.
    """
    answers = []
    if condition:
        if condition.get("arches"):
            answers.append(name in condition["arches"])
        if condition.get("caps"):
            answers.append(_CAPABILITIES.issuperset(condition["caps"]))
        if condition.get("minKernel"):
            answers.append(True)
    if not answers:
        return nothing_said
    return all(answers) if nothing_said else any(answers)


def _default_rules() -> Iterator[dict[str, Any]]:
    yield _allow(*(name for names in ALWAYS.values() for name in names.split()))
    yield _allow(*SINCE_LINUX_4_8.split(), includes={"minKernel": "4.8"})
    # The container's runtime takes several comparisons of one argument for alternatives: a range with two ends cannot
    # be said in one rule.
    gap = next(number for number in range(1, 46) if number not in FAMILIES)
    yield _allow("socket", argument=(0, "LT", gap))
    for family in FAMILIES:
        if family > gap:
            yield _allow("socket", argument=(0, "EQ", family))
    for personality in PERSONALITIES:
        yield _allow("personality", argument=(0, "EQ", personality))
    for architectures, names in WITH_ARCHITECTURE.items():
        yield _allow(*names.split(), includes={"arches": list(architectures)})
    for capability, names in WITH_CAPABILITY.items():
        yield _allow(*names.split(), includes={"caps": [capability]})
    yield from _clone_rules()


def _clone_rules() -> Iterator[dict[str, Any]]:
    """Processes and threads may be made without CAP_SYS_ADMIN, namespaces may not."""
    unprivileged, swapped = {"caps": ["CAP_SYS_ADMIN"]}, ["s390", "s390x"]
    yield _allow("clone", argument=(0, "MASKED_EQ", NAMESPACES), excludes=unprivileged | {"arches": swapped})
    # There the flags are the second argument.
    yield _allow(
        "clone", argument=(1, "MASKED_EQ", NAMESPACES), includes={"arches": swapped}, excludes=dict(unprivileged)
    )
    # A filter cannot read the flags of clone3, which are in memory. The C library falls back to clone on this answer.
    yield {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": _ENOSYS, "excludes": dict(unprivileged)}


def _allow(*names: str, argument: tuple[int, str, int] | None = None, **conditions: dict[str, Any]) -> dict[str, Any]:
    rule: dict[str, Any] = {"names": sorted(names), "action": "SCMP_ACT_ALLOW"}
    if argument is not None:
        index, comparison, value = argument
        rule["args"] = [{"index": index, "value": value, "op": f"SCMP_CMP_{comparison}"}]
    return rule | conditions


def _names(rule: Mapping[str, Any]) -> list[str]:
    # An old profile has one name in each rule.
    return list(rule.get("names") or filter(None, [rule.get("name")]))


def _without(rule: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    kept = [name for name in _names(rule) if name not in names]
    return {**{key: value for key, value in rule.items() if key != "name"}, "names": kept}
