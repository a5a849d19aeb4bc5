"""What the command tells whoever started it: one line on standard error, from whichever process."""

from __future__ import annotations

import contextlib
import os
import sys

__all__ = ["say"]


def say(message: str) -> None:
    """Print a line about the server, in one write, so that lines of several processes do not mix."""
    # Whether there is a standard error, a closed one or a terminal that is gone must not matter to the server.
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stderr.flush()
        os.write(sys.stderr.fileno(), f"netloop serve: {message}\n".encode(errors="backslashreplace"))
