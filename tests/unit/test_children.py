"""The environment of the child processes that the commands start."""

from __future__ import annotations

import statistics
import subprocess
import sys
from pathlib import Path

import pytest

import netloop
from netloop.tools.children import child_environment


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of the user's own, which is on the path."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


def in_child(program: str, directory: Path) -> list[str]:
    """What a program prints that runs as a child of a command."""
    command = [sys.executable, "-c", program]
    done = subprocess.run(
        command, cwd=directory, env=child_environment(), capture_output=True, text=True, timeout=20, check=True
    )
    return done.stdout.split()


def test_a_child_imports_the_netloop_that_runs_here(elsewhere: Path) -> None:
    assert in_child("import netloop; print(netloop.__file__)", elsewhere) == [netloop.__file__]


def test_a_child_imports_what_the_users_path_offers(elsewhere: Path) -> None:
    (elsewhere / "application.py").write_text("print('found')")
    assert in_child("import application", elsewhere) == ["found"]


def test_no_file_of_netloop_stands_in_for_a_module_of_python(elsewhere: Path) -> None:
    assert in_child("import statistics; print(statistics.__file__)", elsewhere) == [statistics.__file__]
