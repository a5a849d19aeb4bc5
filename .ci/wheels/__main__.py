"""``python3 .ci/wheels``: build a source distribution and the wheels, check each, and print what was seen.

Needs Linux on x86-64 or arm64, git, readelf, this repository, and package registries. Interpreters with their headers
are taken from the path and from pyenv; the versions that are not found are said.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from building import Builder, build_sdist
from checking import check_files, check_foreign, check_native
from foreign import Unobtainable, Workshop
from targets import ROOT, TARGETS, VERSIONS, Target, find_python
from tools import Failed, Tools, install_tools

_STARTED = time.monotonic()


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Attributes:
        name: the file's.
        size: in bytes.
        seen: what was checked.
    """

    name: str
    size: int
    seen: str


def say(words: str) -> None:
    """Tell how far it has come."""
    print(f"== {words} ({time.monotonic() - _STARTED:.0f} s since the start)", flush=True)


def check(tools: Tools, workshop: Workshop, wheel: Path, version: str, python: Path, target: Target) -> str:
    """Check a wheel as far as this machine can; what was seen."""
    work = workshop.scratch / f"check-{version}-{target.name}"
    seen = [check_files(wheel, target, work / "files")]
    if target.native and target.libc == "gnu":
        return "; ".join([*seen, check_native(tools, wheel, python, work / "environment")])
    try:
        foreign = workshop.make(version, target, python)
    except Unobtainable as missing:
        return "; ".join([*seen, f"not run, for want of {missing}"])
    return "; ".join([*seen, check_foreign(tools, wheel, foreign, work / "installed")])


class Release:
    """What is built in one go; a wheel that fails does not keep the others from being built.

    Attributes:
        rows: the table so far.
        failed: whether something did not succeed.
    """

    def __init__(self, tools: Tools, scratch: Path, out: Path) -> None:
        sdist = build_sdist(tools, scratch, out)
        self.tools = tools
        self.builder = Builder(tools, sdist, scratch, out)
        (scratch / "foreign").mkdir()
        self.workshop = Workshop(tools, scratch / "foreign", scratch.parent / "debian")
        self.rows = [Row(sdist.name, sdist.stat().st_size, "every wheel below was built from it")]
        self.failed = False

    def add_version(self, version: str, targets: Sequence[Target]) -> None:
        """Build and check the wheels for a version of Python."""
        python = find_python(version)
        if python is None:
            say(f"Python {version}: no interpreter with headers found")
            self.rows.append(Row(f"(Python {version})", 0, "not built: no interpreter with headers found"))
            return
        environment = self.builder.make_environment(version, python)
        for target in targets:
            say(f"Python {version} for {target.name}")
            try:
                self.add_wheel(version, python, environment, target)
            except Failed as failed:
                self.failed = True
                say(f"FAILED: {failed}")
                self.rows.append(Row(f"(Python {version}, {target.name})", 0, "FAILED, see above"))

    def add_wheel(self, version: str, python: Path, environment: Path, target: Target) -> None:
        """Build a wheel and check it."""
        wheel = self.builder.build(version, environment, target)
        seen = check(self.tools, self.workshop, wheel, version, python, target)
        self.rows.append(Row(wheel.name, wheel.stat().st_size, seen))
        say(f"{wheel.name}: {seen}")


def show(rows: Sequence[Row]) -> None:
    """Print the table."""
    width = max(len(row.name) for row in rows)
    print(f"\n{'file':<{width}}  {'KiB':>5}  what was checked")
    for row in rows:
        print(f"{row.name:<{width}}  {row.size / 1024:5.0f}  {row.seen}")


def main() -> int:
    """Follow the command line; the exit status."""
    names = [target.name for target in TARGETS]
    parser = argparse.ArgumentParser(prog="python3 .ci/wheels", description="Build wheels and check them.")
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="where they go; dist unless given")
    parser.add_argument("--scratch", type=Path, help="keep the tools and the compiler's cache in this directory")
    parser.add_argument("--versions", nargs="+", default=VERSIONS, choices=VERSIONS, metavar="VERSION")
    parser.add_argument("--targets", nargs="+", default=names, choices=names, metavar="TARGET", help=", ".join(names))
    options = parser.parse_args()
    targets = [target for target in TARGETS if target.name in options.targets]
    kept = (options.scratch or Path(tempfile.mkdtemp())).resolve()
    try:
        tools = install_tools(kept)
        with tempfile.TemporaryDirectory(dir=kept) as scratch:
            release = Release(tools, Path(scratch), options.out.resolve())
            for version in options.versions:
                release.add_version(version, targets)
            show(release.rows)
    except Failed as failed:
        print(failed, file=sys.stderr)
        return 1
    finally:
        if options.scratch is None:
            shutil.rmtree(kept, ignore_errors=True)
    return int(release.failed)


if __name__ == "__main__":
    sys.exit(main())
