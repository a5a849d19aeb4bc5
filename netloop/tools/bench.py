"""``python -m netloop bench``: finds the benchmark and runs it.

The benchmark is the directory ``bench`` of a checkout, beside this package, and ``netloop/bench`` where the package is
installed. It is a program of its own, with its modules under ``harness`` and its servers in processes of their own.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

import netloop

__all__ = ["main"]

_MISSING = (
    "The benchmark is not here: it comes with `pip install 'netloop[bench]'`, or in a checkout of the sources, where "
    "`python bench/run.py` runs it."
)


def find() -> Path | None:
    """The directory of the benchmark, or None if neither the package nor what is beside it holds one."""
    packages = [Path(place) for place in netloop.__path__]
    for candidate in (
        *(package.parent / "bench" for package in packages),
        *(package / "bench" for package in packages),
    ):
        if (candidate / "harness" / "main.py").is_file() and (candidate / "c").is_dir():
            return candidate
    return None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark.

    Args:
        arguments: the command line after ``bench``.

    Returns:
        0; 1 when a measurement failed or the run was cut short; 2 when it could not begin.
    """
    directory = find()
    if directory is None:
        print(_MISSING, file=sys.stderr)
        return 2
    sys.path.insert(0, str(directory))
    status: int = importlib.import_module("harness.main").main(arguments)
    return status
