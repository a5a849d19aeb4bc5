"""Programs that are run, and the environment that holds those which no system brings."""

from __future__ import annotations

import os
import subprocess
import venv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

__all__ = ["HERE", "Failed", "Tools", "install_tools", "run"]

HERE: Final = Path(__file__).resolve().parent
_SECONDS: Final = 1800
_WORDS: Final = 4000


class Failed(Exception):
    """A program failed; the message has its name and the end of what it said."""


def run(
    command: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    seconds: float = _SECONDS,
) -> str:
    """Run a program that has to succeed; what it printed.

    Args:
        command: the program and its arguments.
        cwd: where; here unless given.
        environment: all of its environment; this process's, without what would mislead a Python, unless given.
        seconds: how long it may take.
    """
    if environment is None:
        environment = clean_environment()
    words = list(map(str, command))
    try:
        done = subprocess.run(
            words, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds
        )
    except subprocess.TimeoutExpired as late:
        raise Failed(f"{' '.join(words)}\ndid not end within {seconds:.0f} s") from late
    if done.returncode:
        said = (done.stdout + done.stderr)[-_WORDS:]
        raise Failed(f"{' '.join(words)}\nended with {done.returncode}:\n{said}")
    return done.stdout


def clean_environment() -> dict[str, str]:
    """This process's environment without the variables that tell a Python where to look."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}


class Tools:
    """The environment of the tools.

    Args:
        directory: where it is.
        cache: where the compiler may keep what it has built for itself, such as the C library of a target.
    """

    def __init__(self, directory: Path, cache: Path) -> None:
        self.python = directory / "bin" / "python"
        self.cache = cache

    def pip(self, *arguments: str | Path, python: Path | None = None) -> None:
        """Run pip for the tools' own environment, or for that of another interpreter."""
        whose = ["--python", str(python)] if python else []
        quiet = ["--quiet", "--disable-pip-version-check"]
        run([self.python, "-m", "pip", *whose, arguments[0], *quiet, *arguments[1:]])

    def command(self, name: str) -> Path:
        """A program that a package of the tools has brought."""
        return self.python.with_name(name)

    def environment(self) -> dict[str, str]:
        """An environment in which the tools find each other."""
        environment = clean_environment()
        environment["PATH"] = f"{self.python.parent}{os.pathsep}{environment['PATH']}"
        return environment


def install_tools(scratch: Path) -> Tools:
    """Install what ``requirements.txt`` names, unless it is there already."""
    tools = Tools(scratch / "tools", scratch / "zig")
    wanted = (HERE / "requirements.txt").read_text()
    done = scratch / "tools" / "installed.txt"
    if not done.exists() or done.read_text() != wanted:
        venv.create(scratch / "tools", clear=True, with_pip=True)
        # The pip that comes with an old Python cannot install for a new one.
        pip = next(line for line in wanted.splitlines() if line.startswith("pip=="))
        tools.pip("install", pip)
        tools.pip("install", "-r", HERE / "requirements.txt")
        done.write_text(wanted)
    return tools
