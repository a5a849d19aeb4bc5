"""Pythons for other C libraries and processors than this machine's, put together in a directory of their own.

No package registry has them ready. But the wheels of ``freeze-core`` hold, for each version and target, a program with
the whole interpreter in it, CPython's own extension modules, and the libraries these need. The rest of the standard
library is the same everywhere and comes from this machine's Python of that version. The C libraries and qemu are
Debian's, from the mirror that this machine uses; they are unpacked, not installed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from compiler import make_compiler
from targets import Target
from tools import HERE, Failed, Tools, run

__all__ = ["Foreign", "Unobtainable", "Workshop"]

_FREEZE_CORE: Final = "freeze-core==0.8.1"
_PLATFORMS: Final = {"gnu": "manylinux_2_17_{}", "musl": "musllinux_1_2_{}"}
_PACKAGES: Final = ("qemu-user", "musl:amd64", "musl:arm64", "libc6:arm64", "zlib1g:arm64")
_DEBIAN: Final = {"x86_64": "amd64", "aarch64": "arm64"}
_ABOUT: Final = "import sysconfig; print(sysconfig.get_path('stdlib'))"
# What belongs to the machine or is not needed; sitecustomize.py is a distribution's and may be a link to nowhere.
_LEFT_OUT: Final = (
    "lib-dynload",
    "site-packages",
    "dist-packages",
    "test",
    "config-*",
    "idlelib",
    "__pycache__",
    "sitecustomize.py",
)


class Unobtainable(Exception):
    """This machine cannot get what a foreign Python is made of; the message says what."""


@dataclass(frozen=True)
class Foreign:
    """An interpreter that this machine's own loader cannot run.

    Attributes:
        version: its version.
        target: what it runs on.
        prefix: where it is.
        entry: a library that makes the program of freeze-core an interpreter.
        root: where the C library and the emulator were unpacked.
    """

    version: str
    target: Target
    prefix: Path
    entry: Path
    root: Path

    def command(self, arguments: Sequence[str | Path], search: Path) -> list[str | Path]:
        """The command line that runs it.

        Args:
            arguments: its own.
            search: a directory to look for modules in.
        """
        variables = {
            "PYTHONHOME": self.prefix,
            "PYTHONPATH": search,
            "PYTHONDONTWRITEBYTECODE": "1",
            "LD_LIBRARY_PATH": self.prefix / "lib" / "freeze_core.libs",
            "LD_PRELOAD": self.entry,
        }
        program = self.prefix / "bin" / "python"
        here = self.root / _DEBIAN[os.uname().machine]
        there = self.root / _DEBIAN[self.target.machine]
        settings = [f"{name}={value}" for name, value in variables.items()]
        if self.target.native:
            (loader,) = there.glob("usr/lib/ld-musl-*.so.1")
            return ["/usr/bin/env", *settings, loader, "--argv0", program, program, *arguments]
        flags = [word for setting in settings for word in ("-E", setting)]
        return [here / f"usr/bin/qemu-{self.target.machine}", "-L", there, *flags, program, *arguments]


class Workshop:
    """Puts foreign Pythons together.

    Args:
        tools: the compiler and pip.
        scratch: a directory for them.
        root: a directory for Debian's part, which is kept if it is there.
    """

    def __init__(self, tools: Tools, scratch: Path, root: Path) -> None:
        self.tools = tools
        self.scratch = scratch
        self.root = root
        self.entries: dict[str, Path] = {}

    def make(self, version: str, target: Target, python: Path) -> Foreign:
        """Put together a Python of a version for a target; `python` is this machine's of that version.

        Raises:
            Unobtainable: a part of it cannot be had here.
        """
        self._unpack_debian()
        unpacked = self._unpack_freeze_core(version, target)
        prefix = self.scratch / f"python{version}-{target.name}"
        library = prefix / "lib" / f"python{version}"
        standard = Path(run([python, "-c", _ABOUT]).strip())
        shutil.copytree(standard, library, ignore=shutil.ignore_patterns(*_LEFT_OUT))
        shutil.copytree(unpacked / "freeze_core" / "lib", library / "lib-dynload")
        _write_sysconfig(library, version, target)
        libraries = prefix / "lib" / "freeze_core.libs"
        shutil.copytree(unpacked / "freeze_core.libs", libraries)
        if target.libc == "musl":
            self._compile(target, HERE / "stub_zlib.c", libraries / "libz.so.1")
        (program,) = (unpacked / "freeze_core" / "bases").glob("console-*")
        (prefix / "bin").mkdir()
        shutil.copy(program, prefix / "bin" / "python")
        return Foreign(version, target, prefix, self._entry(target), self.root)

    def _entry(self, target: Target) -> Path:
        if target.name not in self.entries:
            output = self.scratch / f"entry-{target.name}.so"
            self._compile(target, HERE / "entry.c", output)
            self.entries[target.name] = output
        return self.entries[target.name]

    def _compile(self, target: Target, source: Path, output: Path) -> None:
        compiler = make_compiler(self.tools, target, self.scratch)
        run([compiler, "-O2", "-fPIC", "-shared", f"-Wl,-soname,{output.name}", source, "-o", output])

    def _unpack_freeze_core(self, version: str, target: Target) -> Path:
        where = self.scratch / f"freeze-core-{version}-{target.name}"
        abi = f"cp{version.replace('.', '')}"
        platform = _PLATFORMS[target.libc].format(target.machine)
        which = ["--platform", platform, "--python-version", version.rstrip("t"), "--implementation", "cp"]
        try:
            self.tools.pip(
                *("install", "--no-deps", "--only-binary", ":all:", *which, "--abi", abi),
                *("--target", where, "--no-compile", _FREEZE_CORE),
            )
        except Failed as failed:
            raise Unobtainable(f"{_FREEZE_CORE} for {platform}") from failed
        return where

    def _unpack_debian(self) -> None:
        """Unpack Debian's packages of both architectures below ``root``, each in a directory of its own."""
        if self.root.exists():
            return
        if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
            raise Unobtainable("Debian's C libraries and qemu: there is no apt-get")
        with tempfile.TemporaryDirectory(dir=self.root.parent) as scratch:
            apt, unpacked = Path(scratch, "apt"), Path(scratch, "debian")
            environment = {**os.environ, "APT_CONFIG": str(_configure_apt(apt))}
            try:
                run(["apt-get", "update", "-qq"], environment=environment)
                run(["apt-get", "download", "-qq", *_PACKAGES], environment=environment, cwd=apt / "packages")
            except Failed as failed:
                raise Unobtainable("Debian's C libraries and qemu") from failed
            for architecture in _DEBIAN.values():
                _unpack(sorted((apt / "packages").glob(f"*_{architecture}.deb")), unpacked / architecture)
            unpacked.rename(self.root)


def _unpack(packages: Sequence[Path], directory: Path) -> None:
    directory.mkdir(parents=True)
    for package in packages:
        run(["dpkg-deb", "-x", package, directory])
    # The packages rely on a link that a Debian system has from the beginning.
    (directory / "lib").symlink_to("usr/lib")


def _write_sysconfig(library: Path, version: str, target: Target) -> None:
    """Write what sysconfig reads, with the only value that netloop asks for when it runs."""
    free_threaded = version.endswith("t")
    name = f"_sysconfigdata_{'t' if free_threaded else ''}_linux_{target.machine}-linux-{target.libc}.py"
    (library / name).write_text(f"build_time_vars = {{'Py_GIL_DISABLED': {int(free_threaded)}}}\n")


def _configure_apt(directory: Path) -> Path:
    """Write the configuration of an apt that knows nothing of this system but its mirror and its keys.

    It takes Debian's stable release, whatever release this is: musl before 1.2.5 cannot load these interpreters.
    """
    for name in ("lists/partial", "cache/archives/partial", "state", "packages"):
        (directory / name).mkdir(parents=True)
    (directory / "status").touch()
    (directory / "sources.list").write_text(f"deb [signed-by={_KEYS}] {_mirror()} stable main\n")
    configuration = directory / "apt.conf"
    configuration.write_text(
        'APT::Architectures { "amd64"; "arm64"; };\n'
        f'Dir::Etc::SourceList "{directory}/sources.list";\n'
        'Dir::Etc::SourceParts "/dev/null";\n'
        'Dir::Etc::PreferencesParts "/dev/null";\n'
        f'Dir::State "{directory}/state";\n'
        f'Dir::State::Lists "{directory}/lists";\n'
        f'Dir::State::status "{directory}/status";\n'
        f'Dir::Cache "{directory}/cache";\n'
        'APT::Sandbox::User "root";\n'
        'Acquire::Languages "none";\n'
    )
    return configuration


_KEYS: Final = "/usr/share/keyrings/debian-archive-keyring.gpg"


def _mirror() -> str:
    """Where this system's own packages come from."""
    printed = subprocess.run(["apt-get", "indextargets", "--format", "$(REPO_URI)"], capture_output=True, text=True)
    for line in printed.stdout.splitlines():
        if re.fullmatch(r"\S+/debian/?", line):
            return line
    raise Unobtainable("a mirror of Debian: this system's sources name none")
