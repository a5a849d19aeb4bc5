"""Where the socket for the inspection of a process is, and how a process takes that place.

``$XDG_RUNTIME_DIR/netloop/PID.sock``, or ``/tmp/netloop-UID/PID.sock`` where there is no such directory or the path
would be too long for a socket. The folder is its user's alone.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import time
from pathlib import Path
from typing import Final

from netloop.hosted.socket_file import is_answered

__all__ = ["claim", "folders", "release", "socket_name"]

# The kernel's sockaddr_un has room for 108 bytes, with the zero at its end.
_LONGEST_PATH: Final = 107
# When a socket that nobody answers at has no owner who is about to listen.
_OLD_SECONDS: Final = 60.0


def folders(user: int, runtime: str | None) -> list[Path]:
    """Where a user's sockets may be, the best place first.

    Args:
        user: the user's number.
        runtime: ``XDG_RUNTIME_DIR`` as the process to be inspected has it, if it has.
    """
    found = []
    if runtime and len(os.fsencode(f"{runtime}/netloop/{2**22}.sock")) <= _LONGEST_PATH:
        found.append(Path(runtime, "netloop"))
    return [*found, Path("/tmp", f"netloop-{user}")]


def socket_name(process: int) -> str:
    """The name of a process's socket in such a folder."""
    return f"{process}.sock"


def claim() -> tuple[socket.socket, str]:
    """Listen on this process's socket; the socket, and its path.

    Raises:
        OSError: there is no place for it; says why.
    """
    problems = []
    for folder in folders(os.geteuid(), os.environ.get("XDG_RUNTIME_DIR")):
        try:
            _make_private(folder)
            _remove_stale(folder)
            path = str(folder / socket_name(os.getpid()))
            return _listen(path), path
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                # Whoever looks for this process would find that other one first.
                raise
            problems.append(f"{folder}: {error.strerror or error}")
    raise OSError(errno.EACCES, "; ".join(problems))


def release(listening: socket.socket, path: str) -> None:
    """Have nobody come any more: wakes whoever accepts, and removes the path."""
    with contextlib.suppress(OSError):
        listening.shutdown(socket.SHUT_RDWR)
    with contextlib.suppress(OSError):
        os.unlink(path)


def _make_private(folder: Path) -> None:
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    # Not followed if it is a link: in /tmp it may be somebody else's.
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise PermissionError(errno.EACCES, "it is no folder that only this user may enter (mode 0700)")


def _listen(path: str) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        try:
            listening.bind(path)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            if is_answered(path):
                raise OSError(errno.EADDRINUSE, f"somebody else answers at {path}") from None
            # Left by a process of this number that was killed.
            os.unlink(path)
            listening.bind(path)
        os.chmod(path, 0o600)
        listening.listen()
    except OSError:
        listening.close()
        raise
    return listening


def _remove_stale(folder: Path) -> None:
    """Remove the sockets of processes that were killed, and so could not do it themselves."""
    for path in folder.glob("*.sock"):
        # Processes of another PID namespace may share the folder; one that has just begun may not listen yet.
        with contextlib.suppress(OSError):
            is_old = time.time() - path.stat().st_mtime > _OLD_SECONDS
            if is_old and not Path("/proc", path.stem).exists() and not is_answered(str(path)):
                path.unlink()
