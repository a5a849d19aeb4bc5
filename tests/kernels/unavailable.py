"""What it is called when a machine cannot boot another kernel."""

from __future__ import annotations

__all__ = ["UnavailableError"]


class UnavailableError(Exception):
    """A program, a package or a privilege is missing here; the message says which, and what would help."""
