"""Asking a running process what its loops do; what ``stacks`` and ``top`` share."""

from __future__ import annotations

import argparse
import json
import os
import pwd
import socket
import struct
from pathlib import Path
from typing import Any, Final

from netloop.hosted.inspection_path import folders, socket_name
from netloop.tools.arguments import duration

__all__ = ["ANSWER_SECONDS", "Unanswered", "add_options", "ask", "printable"]

ANSWER_SECONDS: Final = 10.0
_PEER: Final = struct.Struct("3i")
_seconds: Final = duration(lambda value: 0 < value <= 86_400, "a positive number of seconds, at most 86400")


class Unanswered(Exception):
    """The process does not tell; says why, and what to do."""


def add_options(parser: argparse.ArgumentParser, *, limit: int) -> None:
    """Add what both commands take."""
    parser.add_argument("process", type=_positive, metavar="PID", help="the number of the process")
    parser.add_argument(
        "--limit",
        type=_positive,
        default=limit,
        metavar="N",
        help=f"show so many tasks and connections of a loop (default {limit})",
    )
    parser.add_argument(
        "--timeout",
        type=_seconds,
        default=ANSWER_SECONDS,
        metavar="SECONDS",
        help=f"wait so long for an answer (default {ANSWER_SECONDS:g})",
    )


def ask(process: int, *, limit: int, timeout: float = ANSWER_SECONDS) -> dict[str, Any]:
    """What the loops of a process do.

    Args:
        process: its number.
        limit: how many tasks and connections of each loop it is to tell about.
        timeout: seconds to wait for an answer.

    Raises:
        Unanswered: there is no such process, it is another user's, it does not let itself be inspected, or it does not
            answer.
    """
    user = _owner(process)
    if user != os.geteuid():
        raise Unanswered(f"process {process} belongs to {_user_name(user)}: only that user can inspect it")
    with _connect(process, user) as connection:
        connection.settimeout(timeout)
        try:
            connection.sendall(json.dumps({"limit": limit}).encode() + b"\n")
            answer = connection.makefile("rb").read()
        except TimeoutError:
            raise Unanswered(
                f"process {process} does not answer within {timeout:g} s: it is stopped, or C code in it keeps the "
                "interpreter lock"
            ) from None
        except OSError as error:
            raise Unanswered(f"process {process} does not answer: {error.strerror}") from error
    return _understood(process, answer)


def printable(text: str) -> str:
    """A text for a terminal: whatever would move its cursor or cannot be shown is written as in Python's source.

    Names of tasks and addresses of peers may be whatever a client has sent.
    """
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def _understood(process: int, answer: bytes) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(answer)
    except ValueError:
        raise Unanswered(f"process {process} ended its answer too early; perhaps it is ending") from None
    if "error" in found:
        raise Unanswered(f"process {process} could not describe itself: {found['error']}")
    return found


def _owner(process: int) -> int:
    try:
        return os.stat(f"/proc/{process}").st_uid
    except FileNotFoundError:
        raise Unanswered(f"there is no process {process}") from None


def _connect(process: int, user: int) -> socket.socket:
    """A connection to the process's own socket, wherever its environment has put it."""
    places = [place for runtime in (_runtime_of(process), os.environ.get("XDG_RUNTIME_DIR"), None)
              for place in folders(user, runtime)]  # fmt: skip
    for folder in dict.fromkeys(places):
        connection = _try(folder / socket_name(process))
        if connection is None:
            continue
        answering, owner, _ = _PEER.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
        if (answering, owner) == (process, user):
            return connection
        connection.close()
        raise Unanswered(f"at {folder / socket_name(process)} process {answering} answers, not process {process}")
    children = [
        child for child in _children_of(process) if any((place / socket_name(child)).exists() for place in places)
    ]
    if children:
        others = ", ".join(map(str, children))
        raise Unanswered(f"process {process} runs no loop that lets itself be inspected, but its children do: {others}")
    raise Unanswered(
        f"process {process} does not let itself be inspected: start it with NETLOOP_INSPECT=1 in its environment, or "
        "make its loop with netloop.EventLoop(inspect=True). If it was, its log says why there is no socket"
    )


def _try(path: Path) -> socket.socket | None:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(str(path))
    except OSError:
        # There is no such socket, or one whose process was killed.
        connection.close()
        return None
    return connection


def _children_of(process: int) -> list[int]:
    """The processes that a process has started, the workers of a server for instance."""
    try:
        return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    except OSError:
        return []  # it has ended, or the kernel does not tell


def _runtime_of(process: int) -> str | None:
    """XDG_RUNTIME_DIR as the process was given it when it started."""
    try:
        environment = Path(f"/proc/{process}/environ").read_bytes()
    except OSError:
        return None
    for entry in environment.split(b"\0"):
        name, _, value = entry.partition(b"=")
        if name == b"XDG_RUNTIME_DIR":
            return os.fsdecode(value)
    return None


def _user_name(user: int) -> str:
    try:
        return f"the user {pwd.getpwuid(user).pw_name}"
    except KeyError:
        return f"the user with the number {user}"


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or not 0 < int(text) < 2**31:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return int(text)
