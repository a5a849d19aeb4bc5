"""The C files depend one way: no file reaches itself again through the headers it includes."""

from __future__ import annotations

import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
INCLUDE = re.compile(r'^\s*#\s*include\s+"(\w+)\.h"', re.MULTILINE)


@pytest.mark.parametrize("directory", ["cext", "bench/c", "tests/c"])
def test_no_file_includes_one_that_needs_it(directory: str) -> None:
    """A source and the header of the same name are one thing; a circle of these raises, and is named."""
    needed: dict[str, set[str]] = {}
    for path in (ROOT / directory).glob("*.[ch]"):
        included = INCLUDE.findall(path.read_text(encoding="utf-8"))
        needed.setdefault(path.stem, set()).update(name for name in included if name != path.stem)
    order = list(TopologicalSorter(needed).static_order())
    assert set(needed) <= set(order)
