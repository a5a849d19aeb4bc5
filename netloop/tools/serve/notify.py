"""Telling systemd how the server is, as sd_notify(3) does: a datagram to the socket that NOTIFY_SOCKET names."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping

from netloop.tools.serve.say import say

__all__ = ["Notifier"]

_VARIABLE = "NOTIFY_SOCKET"


class Notifier:
    """Whoever started this process and wants to be told; nobody, if NOTIFY_SOCKET is not set."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._path = environment.get(_VARIABLE)

    def ready(self) -> None:
        """The server serves, or it has finished reloading."""
        self._send("READY=1")

    def reloading(self) -> None:
        """New workers are being started."""
        # systemd compares this with the time of its own request (Type=notify-reload).
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        """The server has begun to stop."""
        self._send("STOPPING=1")

    def _send(self, state: str) -> None:
        if not self._path:
            return
        # A name that begins with @ is one in the abstract name space.
        address = "\0" + self._path[1:] if self._path.startswith("@") else self._path
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
                # Whoever listens but does not read must not hold up the server.
                sock.setblocking(False)
                sock.sendto(os.fsencode(state), os.fsencode(address))
        except (OSError, ValueError) as refused:
            say(f"{state.partition(chr(10))[0]} could not be told to {_VARIABLE} {self._path}: {refused}")
