"""For which interpreters and machines there are wheels."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["FREE_THREADED", "ROOT", "TARGETS", "VERSIONS", "Target", "find_python", "versions_of"]

ROOT: Final = Path(__file__).resolve().parents[2]

# Interpreters without the global lock, such as "3.14t". One belongs here when netloop's tests pass on it.
FREE_THREADED: Final[tuple[str, ...]] = ()


@dataclass(frozen=True)
class Target:
    """A kind of machine that wheels are made for.

    Attributes:
        machine: the processor, as ``uname -m`` calls it.
        libc: ``gnu`` or ``musl``.
        compiler: what the compiler calls it, with the oldest C library that will do.
        tag: the platform tag that the wheel must deserve.
    """

    machine: str
    libc: str
    compiler: str
    tag: str

    @property
    def name(self) -> str:
        """Its name on the command line and in file names."""
        return f"{self.machine}-{self.libc}"

    @property
    def native(self) -> bool:
        """Whether this machine runs its programs, given the C library."""
        return os.uname().machine == self.machine


TARGETS: Final = (
    Target("x86_64", "gnu", "x86_64-linux-gnu.2.28", "manylinux_2_28_x86_64"),
    Target("aarch64", "gnu", "aarch64-linux-gnu.2.28", "manylinux_2_28_aarch64"),
    Target("x86_64", "musl", "x86_64-linux-musl", "musllinux_1_2_x86_64"),
    Target("aarch64", "musl", "aarch64-linux-musl", "musllinux_1_2_aarch64"),
)


def versions_of(project: Path) -> tuple[str, ...]:
    """The versions of Python that a project's classifiers promise."""
    classifiers = tomllib.loads((project / "pyproject.toml").read_text())["project"]["classifiers"]
    found = (re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", line) for line in classifiers)
    return tuple(match[1] for match in found if match)


VERSIONS: Final = (*versions_of(ROOT), *FREE_THREADED)

_USABLE: Final = """
import os, sys, sysconfig
version = "%d.%d" % sys.version_info[:2] + ("t" if sysconfig.get_config_var("Py_GIL_DISABLED") else "")
header = os.path.join(sysconfig.get_path("include"), "Python.h")
sys.exit(version != sys.argv[1] or not os.path.exists(header))
"""


def find_python(version: str) -> Path | None:
    """The first interpreter of a version that has its headers, from the path or from pyenv, as ``.ci/run`` finds it."""
    for candidate in _candidates(version):
        if os.access(candidate, os.X_OK):
            done = subprocess.run([candidate, "-I", "-c", _USABLE, version], capture_output=True)
            if done.returncode == 0:
                return candidate
    return None


def _candidates(version: str) -> Iterator[Path]:
    for name in (f"python{version}", "python3", "python"):
        for directory in os.get_exec_path():
            yield Path(directory, name)
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    yield from sorted(pyenv.glob(f"versions/*/bin/python{version}"))
