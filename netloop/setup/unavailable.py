"""Why io_uring cannot be set up here, with the evidence for it and the remedy.

The kernel says no with one bare errno. What a person needs to know is who said no (the kernel, a sysctl, a
container's seccomp profile, a resource limit), how we can tell, and what to do about it.
"""

from __future__ import annotations

import errno as errnos
import os
from collections.abc import Callable
from typing import Final, NamedTuple

from netloop.setup.surroundings import FLOOR, Surroundings

__all__ = ["Diagnosis", "Unavailable", "explain"]

_CAP_SYS_ADMIN: Final = 21
_CAP_IPC_LOCK: Final = 14

_SECCOMP_REMEDY: Final = (
    "let the container's seccomp profile allow io_uring_setup, io_uring_enter and io_uring_register: "
    "`python -m netloop doctor --seccomp > profile.json` writes one, with which Docker or Podman start the container "
    "by --security-opt seccomp=profile.json (seccomp=unconfined is a quick way to try it); on Kubernetes use a "
    "securityContext.seccompProfile of type Localhost, and for a systemd unit SystemCallFilter="
)


class Unavailable(OSError):
    """io_uring cannot be set up on this machine, or in this container.

    Attributes:
        errno: what ``io_uring_setup(2)`` or a registration that the loop cannot do without answered.
        cause: the likely cause, one sentence without a full stop.
        remedy: what to do about it, one sentence without a full stop.
        evidence: what the cause was concluded from, one short statement each.
    """

    cause: str
    remedy: str
    evidence: tuple[str, ...]

    def __init__(self, errno: int, cause: str, remedy: str, evidence: tuple[str, ...] = ()) -> None:
        self.cause = cause
        self.remedy = remedy
        self.evidence = tuple(evidence)
        super().__init__(errno, _paragraph(errno, cause, remedy, self.evidence))

    def __reduce__(self) -> tuple[type[Unavailable], tuple[int | None, str, str, tuple[str, ...]]]:
        # OSError would pickle (errno, message) and lose the parts that the message was made from.
        return (type(self), (self.errno, self.cause, self.remedy, self.evidence))


class Diagnosis(NamedTuple):
    """A likely cause, what to do about it, and what it was concluded from."""

    cause: str
    remedy: str
    evidence: tuple[str, ...] = ()


def explain(errno: int, *, surroundings: Surroundings | None = None) -> Unavailable:
    """The exception that says why setting up io_uring failed with ``errno``.

    Args:
        errno: the (positive) error number.
        surroundings: where the evidence is read; this machine's /proc unless given.

    Returns:
        An :class:`Unavailable`, to be raised by the caller with the original error as its cause.
    """
    diagnose = _DIAGNOSES.get(errno, _anything_else)
    return Unavailable(errno, *diagnose(surroundings or Surroundings()))


def _paragraph(errno: int, cause: str, remedy: str, evidence: tuple[str, ...]) -> str:
    name = errnos.errorcode.get(errno, str(errno))
    because = f" (evidence: {'; '.join(evidence)})" if evidence else ""
    return (
        f"io_uring cannot be set up: {name}, {os.strerror(errno)}. Likely cause: {cause}{because}. "
        f"Remedy: {remedy}. `python -m netloop doctor` shows more; fallback='uvloop' or 'asyncio' "
        "(or NETLOOP_FALLBACK) runs on another loop instead."
    )


def _not_implemented(around: Surroundings) -> Diagnosis:
    kernel = f"the kernel's release is {around.release}"
    if around.gvisor:
        return Diagnosis(
            "this is a gVisor sandbox, whose kernel does not offer io_uring",
            "run on a Linux kernel (another container runtime than runsc), or use a fallback",
            (f"/proc/version says {around.read('/proc/version')!r}",),
        )
    if around.seccomp_mode == 2 and not around.older_than_floor:
        return Diagnosis(
            "a seccomp filter, as containers have it, answers io_uring_setup as if the kernel did not know it",
            _SECCOMP_REMEDY,
            (*_seccomp_evidence(around), kernel),
        )
    if around.older_than_floor:
        return _old_kernel(around)
    return Diagnosis(
        "the kernel was built without io_uring",
        "use a kernel built with CONFIG_IO_URING=y, as the distributions' are",
        (kernel, *_seccomp_evidence(around)),
    )


def _not_permitted(around: Surroundings) -> Diagnosis:
    disabled = around.io_uring_disabled
    if disabled == 2:
        return Diagnosis(
            "the system's administrator has switched io_uring off for everybody",
            "as root on the host: sysctl kernel.io_uring_disabled=0",
            ("/proc/sys/kernel/io_uring_disabled is 2",),
        )
    if disabled == 1 and around.capable(_CAP_SYS_ADMIN) is not True:
        return _only_one_group(around)
    if around.seccomp_mode == 2:
        return Diagnosis(
            "a seccomp filter refuses io_uring_setup, as Docker's default profile does",
            _SECCOMP_REMEDY,
            _seccomp_evidence(around),
        )
    return Diagnosis(
        "something other than a sysctl or seccomp refuses io_uring, for instance a security module",
        "look for a denial in the kernel's log (dmesg, or the audit log)",
        (f"kernel.io_uring_disabled is {_or_absent(disabled)}", *_seccomp_evidence(around)),
    )


def _only_one_group(around: Surroundings) -> Diagnosis:
    group = around.io_uring_group
    has_group = group is not None and group >= 0
    join = f"add the user to the group {group}" if has_group else "name a group in kernel.io_uring_group and join it"
    return Diagnosis(
        "only root and the members of one group may use io_uring here",
        f"{join}, or as root on the host: sysctl kernel.io_uring_disabled=0",
        (
            "/proc/sys/kernel/io_uring_disabled is 1",
            f"/proc/sys/kernel/io_uring_group is {_or_absent(group)}",
            f"this process's groups are {around.status('Groups') or 'none'}",
        ),
    )


def _access_denied(around: Surroundings) -> Diagnosis:
    enforcing = around.read("/sys/fs/selinux/enforce")
    context = around.read("/proc/self/attr/current")
    evidence = [f"SELinux enforcing is {_or_absent(enforcing)}"]
    if context:
        evidence.append(f"the process's security context is {context!r}")
    return Diagnosis(
        "a security module, most often SELinux, refuses io_uring to this process",
        "look for the denial with `ausearch -m avc` or in the kernel's log, and allow io_uring for this context",
        tuple(evidence),
    )


def _no_memory(around: Surroundings) -> Diagnosis:
    limit = around.limit("Max locked memory")
    if limit is None or limit[0] == "unlimited" or around.capable(_CAP_IPC_LOCK) is True:
        return Diagnosis(
            "the kernel has no memory left for the ring, or the control group's memory limit is used up",
            "free memory, or raise the container's or service's memory limit",
            (f"locked memory is not limited here (RLIMIT_MEMLOCK is {limit[0] if limit else 'unknown'})",),
        )
    return Diagnosis(
        "the limit on locked memory, which all processes of a user share, is used up",
        "raise it with `ulimit -l`, in /etc/security/limits.conf, with LimitMEMLOCK= of a systemd service or with "
        "`docker run --ulimit memlock=...`; or close loops that are no longer used, or make them with fewer "
        "completion_entries and buffers",
        (f"RLIMIT_MEMLOCK is {limit[0]} bytes (at most {limit[1]})", "the process lacks CAP_IPC_LOCK"),
    )


def _process_descriptors(around: Surroundings) -> Diagnosis:
    soft, hard = around.limit("Max open files") or ("unknown", "unknown")
    return Diagnosis(
        "this process has no descriptor left, and a ring needs one",
        "close descriptors that are no longer used, or raise the limit with `ulimit -n` or LimitNOFILE=",
        (f"RLIMIT_NOFILE is {soft} (at most {hard})",),
    )


def _system_descriptors(around: Surroundings) -> Diagnosis:
    return Diagnosis(
        "the whole system has no open-file entry left",
        "close programs that hold many files, or as root: sysctl fs.file-max to a larger number",
        (f"/proc/sys/fs/file-nr (in use, free, most) is {around.read('/proc/sys/fs/file-nr') or 'not readable'}",),
    )


def _invalid(around: Surroundings) -> Diagnosis:
    if around.older_than_floor:
        return _old_kernel(around)
    return Diagnosis(
        "the kernel does not know a flag or accept a size that the loop was made with",
        "make the loop without arguments; if that fails too, report it with the output of "
        "`python -m netloop doctor --json`",
        (f"the kernel's release is {around.release}",),
    )


def _old_kernel(around: Surroundings) -> Diagnosis:
    floor = ".".join(map(str, FLOOR))
    return Diagnosis(
        f"the kernel is older than Linux {floor}, the oldest that netloop runs on",
        f"boot Linux {floor} or later",
        (f"the kernel's release is {around.release}",),
    )


def _anything_else(around: Surroundings) -> Diagnosis:
    if around.older_than_floor:
        return _old_kernel(around)
    return Diagnosis(
        "the kernel refused to set up the ring for a reason netloop does not know",
        "report it with the output of `python -m netloop doctor --json`",
        (f"the kernel's release is {around.release}", *_seccomp_evidence(around)),
    )


def _seccomp_evidence(around: Surroundings) -> tuple[str, ...]:
    mode = around.seccomp_mode
    evidence = [f"/proc/self/status says Seccomp: {_or_absent(mode)}"]
    if around.container:
        evidence.append(f"the process runs in {around.container}")
    return tuple(evidence)


def _or_absent(value: object) -> str:
    return "absent" if value is None else str(value)


_DIAGNOSES: Final[dict[int, Callable[[Surroundings], Diagnosis]]] = {
    errnos.ENOSYS: _not_implemented,
    errnos.EPERM: _not_permitted,
    errnos.EACCES: _access_denied,
    errnos.ENOMEM: _no_memory,
    errnos.EMFILE: _process_descriptors,
    errnos.ENFILE: _system_descriptors,
    errnos.EINVAL: _invalid,
}
