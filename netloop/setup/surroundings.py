"""What surrounds this process: the kernel, the limits, the container.

All of it is read from /proc and a few marker files, so a test describes a machine with a directory of its own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["FLOOR", "Surroundings"]

FLOOR: Final = (6, 1)
"""The oldest kernel netloop runs on, as (major, minor)."""

# What /proc/self/uid_map says in the first user namespace, where every user is mapped to itself.
_FIRST_USER_NAMESPACE: Final = ["0", "0", "4294967295"]

# The build date that gVisor's own kernel has always reported, whatever release it pretends to be.
_GVISOR_BUILD: Final = "Sun Jan 10 15:06:54 PST 2016"


@dataclass(frozen=True)
class Surroundings:
    """What /proc and a few marker files tell about the kernel, the limits and the container around this process.

    Args:
        root: the directory that /proc, /sys and the marker files are read under. Tests give one of their own.

    Nothing here raises: a file that cannot be read counts as absent, because containers hide parts of /proc.
    """

    root: Path = Path("/")

    def read(self, path: str) -> str | None:
        """The stripped text of the file at ``path`` (absolute), or None when it cannot be read."""
        try:
            return (self.root / path.lstrip("/")).read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            return None

    def exists(self, path: str) -> bool:
        """Whether there is a file at ``path`` (absolute)."""
        return (self.root / path.lstrip("/")).exists()

    @property
    def release(self) -> str:
        """The kernel's release, as ``uname -r`` prints it; "unknown" when /proc hides it."""
        return self.read("/proc/sys/kernel/osrelease") or "unknown"

    @property
    def version(self) -> tuple[int, int] | None:
        """The kernel's (major, minor) version, or None when the release does not begin with one."""
        match = re.match(r"(\d+)\.(\d+)", self.release)
        return (int(match[1]), int(match[2])) if match else None

    @property
    def older_than_floor(self) -> bool:
        """Whether the kernel is known to be older than netloop's floor."""
        return self.version is not None and self.version < FLOOR

    @property
    def io_uring_disabled(self) -> int | None:
        """kernel.io_uring_disabled (Linux 6.6 and later): 0, 1 or 2; None when the kernel has no such setting."""
        return self._setting("io_uring_disabled")

    @property
    def io_uring_group(self) -> int | None:
        """kernel.io_uring_group: the group that may use io_uring when io_uring_disabled is 1; -1 for none."""
        return self._setting("io_uring_group")

    @property
    def seccomp_mode(self) -> int | None:
        """``Seccomp`` of /proc/self/status: 0 off, 1 strict, 2 a filter (proc(5)); None when unknown."""
        value = self.status("Seccomp")
        return int(value) if value is not None and value.isdigit() else None

    @property
    def gvisor(self) -> bool:
        """Whether the kernel around this process is gVisor's, not Linux."""
        version = self.read("/proc/version") or ""
        return "gvisor" in version.lower() or _GVISOR_BUILD in version

    @property
    def container(self) -> str | None:
        """The kind of container this process seems to run in, or None."""
        if self.gvisor:
            return "gVisor"
        if self.exists("/.dockerenv"):
            return "Docker"
        if self.exists("/run/.containerenv"):
            return "Podman"
        groups = self.read("/proc/1/cgroup") or ""
        for marker, name in (("kubepods", "Kubernetes"), ("docker", "Docker"), ("lxc", "LXC")):
            if marker in groups:
                return name
        return None

    def status(self, field: str) -> str | None:
        """A field of /proc/self/status, or None."""
        match = re.search(rf"^{field}:[ \t]*(.*)$", self.read("/proc/self/status") or "", re.MULTILINE)
        return match[1].strip() if match else None

    def limit(self, name: str) -> tuple[str, str] | None:
        """The soft and hard limit called ``name`` in /proc/self/limits, for instance "Max locked memory"."""
        match = re.search(rf"^{name}\s+(\S+)\s+(\S+)", self.read("/proc/self/limits") or "", re.MULTILINE)
        return (match[1], match[2]) if match else None

    def capable(self, capability: int) -> bool | None:
        """Whether the process holds the capability with this number for the whole system; None when unknown.

        io_uring asks for capabilities in the first user namespace, so those held in another one do not count.
        """
        try:
            held = bool(int(self.status("CapEff") or "", 16) >> capability & 1)
        except ValueError:
            return None
        mapping = (self.read("/proc/self/uid_map") or "").split()
        return held and mapping == _FIRST_USER_NAMESPACE

    def _setting(self, name: str) -> int | None:
        try:
            return int(self.read(f"/proc/sys/kernel/{name}") or "")
        except ValueError:
            return None
