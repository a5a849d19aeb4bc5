"""Puts netloop's loop into every Python of a suite, before the suite's own code runs.

The interpreter imports this module when it starts, in the processes that tests start as well. Where the environment
variable SUITES_LOOP says "netloop", asyncio's loops become netloop's as soon as a program imports asyncio, not before:
a program that does without asyncio starts as fast as ever.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
from types import ModuleType
from typing import Any


class BindAfterImport(importlib.abc.MetaPathFinder):
    """Lets asyncio be found as usual, and binds netloop to it once it is there."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if name != "asyncio":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        assert spec is not None and spec.loader is not None
        execute = spec.loader.exec_module

        def execute_and_bind(module: ModuleType) -> None:
            execute(module)
            from conformance.binding import bind

            bind()

        spec.loader.exec_module = execute_and_bind  # type: ignore[method-assign]
        return spec


if os.environ.get("SUITES_LOOP") == "netloop":
    sys.meta_path.insert(0, BindAfterImport())
