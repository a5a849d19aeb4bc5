"""Installing the project from its sources with pip, each time into a fresh environment, on the clock."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path

from harness.errors import BenchError
from harness.processes import server_environment

INSTALL_TIMEOUT = 1200.0
_OTHER_TIMEOUT = 120.0
_LAST_LINES = 12

#: What would have pip or Python look into another environment than the fresh one.
_REMOVED = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")


@dataclass(frozen=True)
class Install:
    """A finished installation: how long it took, the CPU time of pip and all that it started, and the directory that
    ``PYTHONPATH`` has to name to use it.
    """

    seconds: float
    cpu_seconds: float
    packages: Path

    @property
    def module_bytes(self) -> int:
        """The size of all compiled modules together."""
        return sum(path.stat().st_size for path in (self.packages / "netloop").rglob("*.so"))

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to import this netloop and no other."""
        return {"PYTHONPATH": str(self.packages)}


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in _REMOVED}
    return {**kept, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def _run(command: list[str], directory: Path, environment: dict[str, str], limit: float, what: str) -> str:
    # A session of its own, so that its compilers end with it when it is interrupted or takes too long.
    process = subprocess.Popen(
        command,
        cwd=directory,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        said, _ = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        raise BenchError(f"{what} took longer than {limit:.0f} s") from None
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    if process.returncode != 0:
        words = "\n".join(said.strip().splitlines()[-_LAST_LINES:])
        raise BenchError(f"{what} ended with status {process.returncode}:\n{words}")
    return said


def _cpu_of_children() -> float:
    """Return the CPU time of all processes that have ended below this one (getrusage(2))."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _make_environment(directory: Path) -> str:
    """Make a virtual environment and return its interpreter."""
    command = [sys.executable, "-m", "venv", str(directory)]
    _run(command, directory.parent, _environment(), _OTHER_TIMEOUT, "making a virtual environment")
    return str(directory / "bin" / "python")


def fetch_requirements(sources: list[Path], scratch: Path) -> None:
    """Install what the builds need once, somewhere else, so that every build on the clock finds it in pip's cache.

    Raises:
        BenchError: pip cannot install it.
    """
    needed = set()
    for tree in sources:
        needed |= set(tomllib.loads((tree / "pyproject.toml").read_text(encoding="utf-8"))["build-system"]["requires"])
    python = _make_environment(scratch / "requirements")
    command = [python, "-m", "pip", "install", "--quiet", *sorted(needed)]
    _run(command, scratch, _environment(), INSTALL_TIMEOUT, "installing what the build needs")


def install(sources: Path, directory: Path) -> Install:
    """Install a tree with ``pip install .`` into an environment of its own, below a new directory.

    The clock runs for pip alone. It builds in a copy, because a build leaves files that the next one would use.

    Raises:
        BenchError: it cannot be installed, or what is imported then is another netloop.
    """
    directory.mkdir()
    copy = directory / "sources"
    shutil.copytree(sources, copy)
    python = _make_environment(directory / "environment")
    command = [python, "-m", "pip", "install", "--quiet", "--no-deps", "."]
    began, cpu = time.monotonic(), _cpu_of_children()
    _run(command, copy, _environment(), INSTALL_TIMEOUT, "pip install .")
    seconds, cpu_seconds = time.monotonic() - began, _cpu_of_children() - cpu
    shutil.rmtree(copy)
    where = [python, "-c", "import sysconfig; print(sysconfig.get_path('platlib'))"]
    found = _run(where, directory, _environment(), _OTHER_TIMEOUT, "asking where packages are installed")
    done = Install(seconds, cpu_seconds, Path(found.strip()))
    _check(done)
    return done


def _check(done: Install) -> None:
    """Make sure that the interpreter of the servers imports the netloop just installed, and can run it."""
    code = "import netloop; netloop.new_event_loop().close(); print(netloop.__file__)"
    said = _run(
        [sys.executable, "-c", code],
        done.packages.parent,
        server_environment(done.environment),
        _OTHER_TIMEOUT,
        "making a loop of the installed netloop",
    )
    imported = Path(said.strip().splitlines()[-1])
    if not imported.is_relative_to(done.packages):
        raise BenchError(f"netloop is imported from {imported} and not from where it was installed, {done.packages}")
