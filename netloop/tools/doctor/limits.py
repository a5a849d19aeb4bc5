"""The settings and limits around this process that decide what a loop may do."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from netloop.setup.surroundings import Surroundings

__all__ = ["Limit", "read_limits"]

_FEW_FILES: Final = 4096
_LITTLE_LOCKED_MEMORY: Final = 1 << 20
_SECCOMP_MODES: Final = {0: "off", 1: "strict", 2: "a filter is on"}


@dataclass(frozen=True)
class Limit:
    """One setting or limit.

    Attributes:
        name: what it is called.
        value: its value, as text.
        remark: what that means for netloop; empty when there is nothing to say.
    """

    name: str
    value: str
    remark: str = ""


def read_limits(around: Surroundings) -> tuple[Limit, ...]:
    """The settings and limits as they stand now; what cannot be read is called unknown."""
    return (
        _kernel(around),
        _disabled(around),
        _seccomp(around),
        _open_files(around),
        _locked_memory(around),
        Limit("container", around.container or "none seen"),
        Limit("virtual machine", _hypervisor(around) or "none seen"),
    )


def _kernel(around: Surroundings) -> Limit:
    remark = "older than Linux 6.1, the oldest that netloop runs on" if around.older_than_floor else ""
    return Limit("kernel", around.release, remark)


def _disabled(around: Surroundings) -> Limit:
    value = around.io_uring_disabled
    if value is None:
        return Limit("kernel.io_uring_disabled", "absent", "this kernel has no such switch")
    remark = {
        0: "",
        1: f"only root and the group {around.io_uring_group} may use io_uring",
        2: "io_uring is switched off; as root: sysctl kernel.io_uring_disabled=0",
    }
    return Limit("kernel.io_uring_disabled", str(value), remark.get(value, ""))


def _seccomp(around: Surroundings) -> Limit:
    mode = around.seccomp_mode
    if mode is None:
        return Limit("seccomp", "unknown")
    remark = "it must allow io_uring_setup, io_uring_enter and io_uring_register" if mode else ""
    return Limit("seccomp", _SECCOMP_MODES.get(mode, str(mode)), remark)


def _open_files(around: Surroundings) -> Limit:
    soft, hard = around.limit("Max open files") or ("unknown", "unknown")
    remark = ""
    if soft.isdigit() and int(soft) < _FEW_FILES:
        remark = "bounds the fixed-file table, and with it the connections of a loop: raise it with `ulimit -n`"
    return Limit("RLIMIT_NOFILE", f"{soft} (at most {hard})", remark)


def _locked_memory(around: Surroundings) -> Limit:
    soft, hard = around.limit("Max locked memory") or ("unknown", "unknown")
    remark = ""
    if soft.isdigit() and int(soft) < _LITTLE_LOCKED_MEMORY:
        remark = "rings of an ordinary user count against it: raise it with `ulimit -l`"
    return Limit("RLIMIT_MEMLOCK", f"{soft} (at most {hard})", remark)


def _hypervisor(around: Surroundings) -> str | None:
    if "microsoft" in around.release.lower():
        return "WSL 2"
    kind = around.read("/sys/hypervisor/type")
    vendor = around.read("/sys/class/dmi/id/sys_vendor")
    if re.search(r"^flags\s*:.*\bhypervisor\b", around.read("/proc/cpuinfo") or "", re.MULTILINE):
        return kind or vendor or "yes, of unknown kind"
    return kind
