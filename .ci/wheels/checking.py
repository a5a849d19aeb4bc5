"""What a wheel must be: the files it links to, and that it works where there is nothing but its Python."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Final

from foreign import Foreign
from targets import Target
from tools import HERE, Failed, Tools, clean_environment, run

__all__ = ["check_files", "check_foreign", "check_native"]

_MACHINES: Final = {"x86_64": "X86-64", "aarch64": "AArch64"}
_LIBRARIES: Final = {
    "gnu": {"libc.so.6", "libm.so.6", "libpthread.so.0", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"},
    "musl": {"libc.so"},
}
_SECONDS: Final = 60


def check_files(wheel: Path, target: Target, directory: Path) -> str:
    """Look into each compiled module; what was found, in words.

    Each is for the target's processor, links to nothing but its C library, needs no symbol of another or of a later
    one, and has the name that the target's interpreters look for.
    """
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(directory)
    modules = sorted(directory.rglob("*.so"))
    if not modules:
        raise Failed(f"{wheel.name} holds no compiled module")
    for module in modules:
        _check_module(module, target)
    return f"{len(modules)} modules link to the C library only"


def _check_module(module: Path, target: Target) -> None:
    if not module.name.endswith(f"-{target.machine}-linux-{target.libc}.so"):
        raise Failed(f"{module.name} has not the name that Python looks for on {target.name}")
    told = run(["readelf", "--wide", "--file-header", "--dynamic", "--version-info", module])
    if not re.search(rf"Machine:.*{_MACHINES[target.machine]}", told):
        raise Failed(f"{module.name} is not for {target.machine}")
    needed = set(re.findall(r"\(NEEDED\).*\[(.*)\]", told))
    if not needed <= _LIBRARIES[target.libc]:
        raise Failed(f"{module.name} links to {', '.join(sorted(needed - _LIBRARIES[target.libc]))}")
    versions = {tuple(map(int, found.split("."))) for found in re.findall(r"GLIBC_([\d.]+)", told)}
    allowed = re.search(r"manylinux_(\d+)_(\d+)_", target.tag)
    limit = (int(allowed[1]), int(allowed[2])) if allowed else (0, 0)
    if versions and max(versions) > limit:
        raise Failed(f"{module.name} needs glibc {'.'.join(map(str, max(versions)))}")


def check_native(tools: Tools, wheel: Path, python: Path, directory: Path) -> str:
    """Install the wheel in a new environment of its Python and have data go through it; what was seen, in words."""
    run([python, "-m", "venv", "--without-pip", directory])
    installed = directory / "bin" / "python"
    tools.pip("install", "--no-index", "--no-deps", wheel, python=installed)
    environment = {"PATH": str(installed.parent), "HOME": str(directory)}
    return _told(
        run(
            [installed, "-W", "error", HERE / "echo.py", directory, "echo"],
            environment=environment,
            cwd=directory,
            seconds=_SECONDS,
        )
    )


def check_foreign(tools: Tools, wheel: Path, python: Foreign, directory: Path) -> str:
    """Install the wheel for a Python of another C library or processor and use it there; what was seen, in words."""
    version, tag = python.version.rstrip("t"), python.target.tag
    abi = f"cp{python.version.replace('.', '')}"
    which = ["--platform", tag, "--python-version", version, "--implementation", "cp", "--abi", abi]
    tools.pip("install", "--no-index", "--no-deps", "--only-binary", ":all:", *which, "--target", directory, wheel)
    # qemu hands no io_uring call on, so what it runs can be imported and no more.
    what = "echo" if python.target.native else "import"
    environment = clean_environment() | {"PATH": str(directory)}
    program = python.command([HERE / "echo.py", directory, what], search=directory)
    told = _told(run(program, environment=environment, cwd=directory, seconds=5 * _SECONDS))
    return told if python.target.native else f"{told}, in qemu"


def _told(printed: str) -> str:
    return ", ".join(printed.splitlines())
