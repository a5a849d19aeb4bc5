"""Debian's cloud kernels, from the package archive that this machine's apt is set up for.

Nothing is installed: apt works on lists and a configuration of its own, in the work folder, because the kernels are
those of several releases of Debian.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from kernels.unavailable import UnavailableError

__all__ = ["Kernel", "fetch_kernel", "newest"]

RELEASES = ("bookworm", "trixie", "trixie-backports")
KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
# Later kernels come as two packages, of which "image" only names the other two.
PARTS = ("image", "binary", "modules")


@dataclass(frozen=True)
class Kernel:
    """One kernel, unpacked.

    Attributes:
        name: its release, for example ``6.1.0-50-cloud-amd64``.
        folder: where its packages are unpacked.
        image: the file that is booted.
    """

    name: str
    folder: Path
    image: Path


def fetch_kernel(version: str, work: Path) -> Kernel:
    """Get the newest kernel of a version, ``6.1`` for example, or take what an earlier call has left in the folder.

    Raises:
        UnavailableError: the archive cannot be reached from here, or has no such kernel.
    """
    folder = work / "kernels" / version
    if not folder.exists():
        _download(version, folder, work)
    images = [path for path in folder.rglob("vmlinuz*") if path.is_file()]
    names = [path.name for path in folder.glob("**/lib/modules/*")]
    if len(images) != 1 or len(names) != 1:
        raise UnavailableError(f"the packages of kernel {version} hold no kernel, or several: look into {folder}")
    return Kernel(names[0], folder, images[0])


def newest(names: list[str], version: str) -> str | None:
    """Of the names of packages, the newest cloud kernel of a version, without what tells the packages apart."""
    pattern = re.compile(rf"linux-(?:{'|'.join(PARTS)})-({re.escape(version)}(?![0-9])[^-]*(?:-[0-9]+)?-cloud-amd64)")
    found = {match[1] for name in names if (match := pattern.fullmatch(name))}
    return max(found, key=_numbers, default=None)


def _numbers(name: str) -> list[int]:
    return [int(number) for number in re.findall(r"[0-9]+", name)]


def _download(version: str, folder: Path, work: Path) -> None:
    if platform.machine() != "x86_64":
        raise UnavailableError(f"the kernels are for x86-64, and this machine is {platform.machine()}")
    if shutil.which("apt-get") is None or not KEYS.exists():
        raise UnavailableError(f"the kernels are Debian's, and this machine has not got apt and {KEYS}")
    environment = {**os.environ, "APT_CONFIG": str(_configure(work / "apt"))}
    _run(["apt-get", "--quiet=2", "update"], work, environment)
    names = _run(["apt-cache", "pkgnames", "linux-"], work, environment).split()
    name = newest(names, version)
    if name is None:
        known = sorted({".".join(map(str, _numbers(each)[:2])) for each in names if each.endswith("-cloud-amd64")})
        raise UnavailableError(f"the archive has no cloud kernel {version}; it has {', '.join(known) or 'none'}")
    parts = [part for part in (f"linux-{part}-{name}" for part in PARTS) if part in names]
    debs, partial = work / "debs", folder.with_suffix(".partial")
    for fresh in (debs, partial):
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
    _run(["apt-get", "--quiet=2", "download", *parts], debs, environment)
    for deb in sorted(debs.iterdir()):
        _run(["dpkg-deb", "--extract", str(deb), str(partial)], work, environment)
    partial.rename(folder)


def _configure(folder: Path) -> Path:
    """Write a configuration that keeps apt in this folder, and return its path."""
    for name in ("lists/partial", "cache/archives/partial", "state"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    archive = _archive()
    lines = [f"deb [signed-by={KEYS}] {archive} {release} main\n" for release in RELEASES]
    (folder / "sources.list").write_text("".join(lines))
    settings = {
        "Dir::Etc::SourceList": folder / "sources.list",
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::Etc::PreferencesParts": "/dev/null",
        "Dir::State": folder / "state",
        "Dir::State::Lists": folder / "lists",
        "Dir::State::Status": "/dev/null",
        "Dir::Cache": folder / "cache",
        # The user that apt would change to may not write here.
        "APT::Sandbox::User": "root",
    }
    path = folder / "apt.conf"
    path.write_text("".join(f'{name} "{value}";\n' for name, value in settings.items()))
    return path


def _archive() -> str:
    """The address of the Debian archive that this machine uses."""
    command = ["apt-get", "indextargets", "--no-release-info", "--format", "$(REPO_URI)"]
    addresses = subprocess.run(command, capture_output=True, text=True).stdout.split()
    for address in addresses:
        if address.rstrip("/").endswith("/debian"):
            return address
    raise UnavailableError("apt is not set up for an archive of Debian's here")


def _run(command: list[str], folder: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise UnavailableError(f"`{' '.join(command)}` failed: {(done.stderr or done.stdout).strip()}")
    return done.stdout
