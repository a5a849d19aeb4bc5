"""Whether somebody listens at the path of a UNIX socket, or whoever made the file has ended without removing it."""

from __future__ import annotations

import socket

__all__ = ["is_answered"]


def is_answered(path: str) -> bool:
    """Does somebody listen there?

    Raises:
        OSError: there is no such file, or it is no stream socket (EPROTOTYPE), or may not be connected to.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        # Whoever has a full queue listens, even if it is stopped and never answers.
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return False
        except BlockingIOError:
            return True
    return True
