"""What a suite needs to run: an environment with the packages, and its tests, unpacked from the source package."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import venv
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import netloop
from suites.suite import Suite

__all__ = ["Environment", "environment_in", "prepare"]

_TESTS = Path(__file__).resolve().parent.parent
_INJECTED = Path(__file__).resolve().parent / "injected"
# What every Python of a suite can import beside the suite's own environment.
_SHARED = {"netloop": Path(netloop.__file__).resolve().parent, "conformance": _TESTS / "conformance"}


@dataclass(frozen=True)
class Environment:
    """Where a suite is run.

    Args:
        python: the interpreter, with the packages that the tests need.
        folder: what was unpacked from the source package.
        paths: folders for PYTHONPATH, which bring the loop under test.
    """

    python: Path
    folder: Path
    paths: tuple[Path, ...]


def prepare(suite: Suite, work: Path) -> Environment:
    """Make the environment of a suite in a folder, or take what is there from an earlier time.

    Raises:
        SystemExit: the package index does not answer, or has not got a package.
    """
    place = work / f"{suite.name}-{suite.version}-{sys.version_info.major}.{sys.version_info.minor}"
    python, tests = place / "env" / "bin" / "python", place / "tests"
    package = f"{suite.name}=={suite.version}"
    wanted = "\n".join((package, *suite.requirements, *suite.content))
    done = place / "complete"
    if not done.exists() or done.read_text() != wanted:
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        venv.create(place / "env", with_pip=True, symlinks=True)
        _pip(python, "install", package, *suite.requirements)
        _pip(python, "download", "--no-deps", "--no-binary", suite.name, "--dest", str(place), package)
        (archive,) = place.glob("*.tar.gz")
        _unpack(archive, suite.content, tests)
        done.write_text(wanted)
    return environment_in(python, tests, place / "shared")


def environment_in(python: Path, folder: Path, links: Path) -> Environment:
    """An environment of an interpreter that is there and a folder of tests; ``links`` is made, for what it shares."""
    _link(links)
    return Environment(python, folder, (_INJECTED, links))


def _pip(python: Path, *arguments: str) -> None:
    command = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise SystemExit(f"pip {' '.join(arguments)} failed:\n{done.stdout}")


def _unpack(archive: Path, content: tuple[str, ...], folder: Path) -> None:
    """Unpack some files and folders of a source package, without the folder that all of it is in."""
    with tarfile.open(archive) as opened:
        members = []
        for member in opened.getmembers():
            parts = PurePosixPath(member.name).parts[1:]
            if parts and parts[0] in content:
                members.append(member.replace(name=str(PurePosixPath(*parts)), deep=False))
        opened.extractall(folder, members, filter="data")


def _link(folder: Path) -> None:
    """Make what is shared importable from a folder that holds nothing else."""
    folder.mkdir(exist_ok=True)
    for name, target in _SHARED.items():
        link = folder / name
        link.unlink(missing_ok=True)
        link.symlink_to(target)
