"""The types: mypy over everything, and the stubs against the compiled modules they describe."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

import netloop

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 240
COMPILED = sorted(source.relative_to(ROOT).with_suffix("") for source in (ROOT / "netloop").rglob("*.pyx"))

# What Cython adds to every compiled module and class, and nobody calls.
ALLOWED = r"""
.*\.__pyx_capi__  # what other compiled modules import
.*\.__test__  # its doctest table
"""
if sys.version_info < (3, 12):
    # By these a type checker knows what has the buffer protocol; the interpreter itself has them from Python 3.12 on.
    ALLOWED += r"""
netloop\.core\.pool\.Lease\.__(buffer|release_buffer)__
"""

pytestmark = [
    pytest.mark.limit(SECONDS),
    pytest.mark.skipif(
        importlib.util.find_spec("mypy") is None,
        reason="mypy is not installed; it comes with `pip install '.[test]'`",
    ),
]


def run(*command: str, cwd: Path) -> None:
    """Run a Python program; the test fails with what it said if it does not succeed."""
    environment = {**os.environ, "PYTHONPATH": str(Path(netloop.__path__[0]).parent)}
    done = subprocess.run([sys.executable, "-m", *command], cwd=cwd, env=environment, capture_output=True, text=True)
    if done.returncode:
        pytest.fail(f"{' '.join(command)}\n{done.stdout}{done.stderr}", pytrace=False)


@pytest.mark.parametrize("module", COMPILED, ids=str)
def test_every_compiled_module_has_a_stub(module: Path) -> None:
    assert (ROOT / module).with_suffix(".pyi").is_file()


def test_the_annotations_hold(tmp_path: Path) -> None:
    run("mypy", "--config-file", str(ROOT / "pyproject.toml"), "--cache-dir", str(tmp_path / "mypy"), cwd=ROOT)


def test_the_stubs_agree_with_the_compiled_modules(tmp_path: Path) -> None:
    allowed = tmp_path / "allowed"
    allowed.write_text(ALLOWED)
    modules = [".".join(module.parts) for module in COMPILED]
    run("mypy.stubtest", "--concise", "--allowlist", str(allowed), *modules, cwd=tmp_path)
