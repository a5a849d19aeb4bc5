"""From the checkout to wheels: a source distribution, and every wheel out of what that holds."""

from __future__ import annotations

import re
import subprocess
import tarfile
import tomllib
from pathlib import Path

from compiler import check_layout, cross_environment, make_compiler
from targets import ROOT, Target
from tools import Failed, Tools, clean_environment, run

__all__ = ["Builder", "build_sdist", "is_fit"]

_SDIST = "import sys; from setuptools import build_meta; print(build_meta.build_sdist(sys.argv[1]))"
_WHEEL = "import sys; from setuptools import build_meta; print(build_meta.build_wheel(sys.argv[1]))"


def build_sdist(tools: Tools, scratch: Path, out: Path) -> Path:
    """Make the source distribution of the files that git knows, as they are now."""
    sources = scratch / "checkout"
    sources.mkdir()
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True).stdout
    packed = scratch / "checkout.tar"
    command = ["tar", "--null", "--files-from=-", "-cf", str(packed)]
    subprocess.run(command, cwd=ROOT, check=True, input=names)
    with tarfile.open(packed) as archive:
        archive.extractall(sources, filter="data")
    out.mkdir(parents=True, exist_ok=True)
    return out / run([tools.python, "-c", _SDIST, out], cwd=sources).splitlines()[-1]


class Builder:
    """Builds wheels of one source distribution.

    The C that Cython writes is the same for all interpreters and targets. So all builds share the directory for it:
    the first translates, the others find what is newer than its sources.

    Args:
        tools: the compiler and the rest.
        sdist: the source distribution.
        scratch: a directory for what is left over.
        out: where the wheels go.
    """

    def __init__(self, tools: Tools, sdist: Path, scratch: Path, out: Path) -> None:
        self.tools = tools
        self.scratch = scratch
        self.out = out
        with tarfile.open(sdist) as archive:
            archive.extractall(scratch, filter="data")
        self.sources = scratch / sdist.name.removesuffix(".tar.gz")

    def make_environment(self, version: str, python: Path) -> Path:
        """A new environment of an interpreter, with what the project says a build requires; its interpreter."""
        directory = self.scratch / f"build-{version}"
        run([python, "-m", "venv", "--without-pip", directory])
        required = tomllib.loads((self.sources / "pyproject.toml").read_text())["build-system"]["requires"]
        python = directory / "bin" / "python"
        # The versions that the tools have, so that all wheels are made by the same ones.
        constraint = Path(__file__).with_name("requirements.txt")
        self.tools.pip("install", "--constraint", constraint, *required, python=python)
        return python

    def build(self, version: str, python: Path, target: Target) -> Path:
        """Build the wheel of an environment's interpreter for a target."""
        work = self.scratch / f"{version}-{target.name}"
        compiler = make_compiler(self.tools, target, self.scratch)
        check_layout(compiler, python, self.scratch)
        work.mkdir()
        settings = work / "build.cfg"
        settings.write_text(f"[build]\nbuild_base={work}/build\nbuild_temp={self.scratch}/translated\n")
        environment = clean_environment() | cross_environment(python, target, compiler, work / "sysconfig")
        environment["DIST_EXTRA_CONFIG"] = str(settings)
        printed = run([python, "-c", _WHEEL, work], cwd=self.sources, environment=environment)
        return self._repair(work / printed.splitlines()[-1], target)

    def _repair(self, wheel: Path, target: Target) -> Path:
        """Have auditwheel find out which platforms the wheel is fit for, and write that into it.

        It is left to choose the tag, since it takes the name of one only for a machine like this; the choice must be
        the target's tag or one for older systems.
        """
        repaired = wheel.parent / "repaired"
        auditwheel = self.tools.command("auditwheel")
        # It wants to see each library that is linked to, and a machine with glibc has no libc.so that is a library.
        excluded = ["--exclude", "libc.so"] if target.libc == "musl" else []
        words = ["repair", "--plat", "auto", *excluded, "--wheel-dir", str(repaired), str(wheel)]
        run([auditwheel, *words], environment=self.tools.environment())
        (found,) = repaired.glob("*.whl")
        tags = found.stem.rpartition("-")[2].split(".")
        if not any(is_fit(tag, target) for tag in tags):
            raise Failed(f"auditwheel finds {found.name} fit for {', '.join(tags)} and not for {target.tag}")
        return found.replace(self.out / found.name)


def is_fit(tag: str, target: Target) -> bool:
    """Whether a platform tag promises that a wheel works on a target."""
    pattern = r"(manylinux|musllinux)_(\d+)_(\d+)_(\w+)"
    given, wanted = re.fullmatch(pattern, tag), re.fullmatch(pattern, target.tag)
    if given is None or wanted is None or given[1] != wanted[1] or given[4] != wanted[4]:
        return False
    return (int(given[2]), int(given[3])) <= (int(wanted[2]), int(wanted[3]))
