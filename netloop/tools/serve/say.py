"""What the command tells whoever started it: one line on standard error, from whichever process."""

from __future__ import annotations

import contextlib
import os
import sys

__all__ = ["say"]


def say(message: str) -> None:
    """Print a line about the server, in one write, so that lines of several processes do not mix."""
    # A terminal that is gone must not end the server.
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.flush()
        os.write(sys.stderr.fileno(), f"netloop serve: {message}\n".encode(errors="backslashreplace"))
