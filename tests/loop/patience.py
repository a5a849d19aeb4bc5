"""How long a test may wait: on a machine that is ten times slower, ten times as long.

An environment variable says how much slower, so that the programs that tests start know it too.
"""

from __future__ import annotations

import os

__all__ = ["VARIABLE", "stretched"]

VARIABLE = "NETLOOP_TESTS_STRETCH"


def stretched(seconds: float) -> float:
    """The seconds that are enough on an ordinary machine, for this one."""
    return float(seconds) * float(os.environ.get(VARIABLE, "1"))
