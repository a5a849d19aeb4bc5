"""What there is to say of a suite: where its tests come from, how they are run, and which of them netloop may fail."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Service", "Suite", "no_service"]

Service = Callable[[], contextlib.AbstractContextManager[tuple[str, ...]]]
"""Runs what the tests need beside them, and gives the options of pytest that tell them of it."""


@contextlib.contextmanager
def no_service() -> Iterator[tuple[str, ...]]:
    """Nothing runs beside the tests."""
    yield ()


@dataclass(frozen=True)
class Suite:
    """The tests of one project.

    Args:
        name: of the project on the package index.
        version: that is tested, exactly.
        requirements: of its tests, with their versions.
        content: the files and folders of the source package that are unpacked. What is tested is the installed
            package, so its sources are left out where the tests do not need them.
        modules: patterns of the modules of tests, relative to the unpacked content.
        options: of pytest.
        environment: variables to set.
        service: what runs beside the tests, anew for each module.
        quiet_seconds: how long a test may say nothing before it counts as hung.
        left_out: modules or tests that are not run on any loop, and why.
        expected: tests that pass on asyncio's loop and need not pass on netloop's, and why.
    """

    name: str
    version: str
    requirements: tuple[str, ...]
    content: tuple[str, ...]
    modules: tuple[str, ...]
    options: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    service: Service = no_service
    quiet_seconds: float = 60.0
    left_out: Mapping[str, str] = field(default_factory=dict)
    expected: Mapping[str, str] = field(default_factory=dict)

    def find_modules(self, folder: Path) -> list[str]:
        """The modules of tests below a folder, as pytest names them, without those that are left out."""
        found = {str(path.relative_to(folder)) for pattern in self.modules for path in folder.glob(pattern)}
        return sorted(found - self.left_out.keys())
