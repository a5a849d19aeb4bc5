"""The linters that contributors run, with the settings of pyproject.toml, so that one command covers them too."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# The linters are beside the interpreter, even if no environment is active; cython-lint starts another by its name.
PATH = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))


@pytest.mark.limit(60)
@pytest.mark.parametrize(
    "command",
    [
        "ruff check --no-cache --output-format concise .",
        "ruff format --no-cache --check .",
        "cython-lint netloop",
    ],
)
def test_nothing_to_complain_of(command: str) -> None:
    program, *arguments = command.split()
    found = shutil.which(program, path=PATH)
    if found is None:
        pytest.skip(f"{program} is not installed; it comes with `pip install '.[test]'`")
    done = subprocess.run(
        [found, *arguments], cwd=ROOT, env={**os.environ, "PATH": PATH}, capture_output=True, text=True
    )
    if done.returncode:
        pytest.fail(f"{command}\n{done.stdout}{done.stderr}", pytrace=False)
