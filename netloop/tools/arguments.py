"""What the commands' options share in reading what was written on the command line."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable

__all__ = ["duration"]


def duration(is_allowed: Callable[[float], bool], allowed: str) -> Callable[[str], float]:
    """The ``type`` of an option that is a time.

    Args:
        is_allowed: says whether a number of seconds may be given; nan, which stands for whatever is no number, may not.
        allowed: what may be given, for the message: "a number of seconds from 0 to 60".
    """

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not is_allowed(value):
            raise argparse.ArgumentTypeError(f"{text} is not {allowed}")
        return value

    return read
