"""The listening sockets: bound here, listened on by the workers, and kept open for as long as the server runs.

At a host and port each worker has a socket of its own, and the kernel spreads connections over them (SO_REUSEPORT). A
worker's successor inherits its socket: one that were closed would take the connections that wait in it along. A UNIX
socket and descriptors that were handed over are shared by all workers; who is idle accepts.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Final, Self

from netloop.hosted.socket_file import is_answered
from netloop.tools.serve.options import SYSTEMD, Address

__all__ = ["CannotListen", "Listeners", "open_listeners"]

_FIRST_OF_SYSTEMD: Final = 3
_SYSTEMD_VARIABLES: Final = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID")


class CannotListen(Exception):
    """There is no socket to serve on; says why."""


class Listeners:
    """The sockets of all workers."""

    def __init__(self, name: str, sockets: Sequence[Sequence[socket.socket]], path: str | None = None) -> None:
        """Args: what people call it, such as a URL; the sockets of each worker, or of all; a UNIX socket's path."""
        self.name = name
        self._sockets = [list(each) for each in sockets]
        self._places = [(sock.family, sock.getsockname()) for sock in sockets[0]]
        self._file = None if path is None else (path, _identity(path))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def are_shared(self) -> bool:
        """Have all workers the same sockets?"""
        return len(self._sockets) == 1

    def of_worker(self, number: int) -> list[socket.socket]:
        """The sockets of that worker, from 0 on."""
        return self._sockets[0 if self.are_shared else number]

    def give_up(self, number: int) -> None:
        """Close a worker's own sockets, so that the kernel leaves what comes to the others."""
        for sock in self._sockets[number]:
            sock.close()
        self._sockets[number] = []

    def take_up(self, number: int) -> None:
        """Bind a worker's own sockets again where they were, if they have been given up.

        Raises:
            OSError: somebody else has the address now.
        """
        if not self.of_worker(number):
            self._sockets[number] = [_bind(family, place, reuse_port=True) for family, place in self._places]

    def close(self) -> None:
        """Close them all in this process; a UNIX socket's file is removed, if it is still the one made here."""
        for each in self._sockets:
            for sock in each:
                sock.close()
        if self._file is not None:
            path, identity = self._file
            self._file = None
            with contextlib.suppress(OSError):
                if _identity(path) == identity:
                    os.unlink(path)


def open_listeners(address: Address, workers: int) -> Listeners:
    """Bind what the command line names.

    Raises:
        CannotListen: the address is taken or forbidden, or a descriptor is no listening socket.
    """
    if address.fd is not None:
        sockets = _from_systemd() if address.fd == SYSTEMD else [_adopted(int(address.fd))]
        return Listeners(", ".join(_name(sock.getsockname()) for sock in sockets), [sockets])
    if address.uds is not None:
        sock = _bind_path(address.uds)
        return Listeners(_name(address.uds), [[sock]], os.path.abspath(address.uds))
    groups = _bind_host(address.host, address.port, workers)
    name = ", ".join(_name(group[0].getsockname()) for group in groups)
    return Listeners(name, list(zip(*groups, strict=True)))


# A host and port ------------------------------------------------------------------------------------------------------


def _bind_host(host: str, port: int, workers: int) -> list[list[socket.socket]]:
    """For each of the host's addresses the sockets of all workers."""
    groups: list[list[socket.socket]] = []
    with contextlib.ExitStack() as unfinished:
        for family, place in _addresses(host, port):
            if groups and not port:
                # With port 0 the first address chooses the port for all.
                place = (place[0], groups[0][0].getsockname()[1], *place[2:])
            try:
                group = _bind_group(family, place, workers)
            except OSError as error:
                if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT) and groups:
                    # A name such as localhost may have addresses of a family that this machine does not use.
                    continue
                reason = (error.strerror or str(error)).lower()
                raise CannotListen(f"error while attempting to bind on address {place!r}: {reason}") from error
            for sock in group:
                unfinished.enter_context(sock)
            groups.append(group)
        unfinished.pop_all()
    return groups


def _addresses(host: str, port: int) -> list[tuple[int, Any]]:
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise CannotListen(f"the host {host!r} is not found: {error}") from error
    # IPv4 first: in a machine without IPv6 a name may still have an address of it.
    return sorted({(int(family), place) for family, _, _, _, place in found})


def _bind_group(family: int, place: Any, workers: int) -> list[socket.socket]:
    """A socket for each worker at one address."""
    first = _bind(family, place, reuse_port=False)
    if workers == 1:
        return [first]
    # Whoever binds with SO_REUSEPORT would share the port of another server that does; the first one has not.
    with first:
        place = first.getsockname()
    group: list[socket.socket] = []
    try:
        while len(group) < workers:
            group.append(_bind(family, place, reuse_port=True))
    except OSError:
        for sock in group:
            sock.close()
        raise
    return group


def _bind(family: int, place: Any, *, reuse_port: bool) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(place)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


# A UNIX socket --------------------------------------------------------------------------------------------------------


def _bind_path(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_stale(path)
        sock.bind(path)
        sock.setblocking(False)
    except (OSError, ValueError) as error:
        sock.close()
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise CannotListen(f"cannot listen at {path!r}: {reason.lower()}") from error
    except BaseException:
        sock.close()
        raise
    return sock


def _remove_stale(path: str) -> None:
    """Remove the file of a server that has ended without doing so; whoever still listens keeps it."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise CannotListen(f"cannot listen at {path!r}: there is a file, which is no socket")
    try:
        answered = is_answered(path)
    except OSError as error:
        if error.errno != errno.EPROTOTYPE:
            raise
        answered = True  # by datagrams, or whatever it is
    if answered:
        raise CannotListen(f"cannot listen at {path!r}: somebody listens there")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def _identity(path: str) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_dev, found.st_ino


# Descriptors that are there -------------------------------------------------------------------------------------------


def _from_systemd() -> list[socket.socket]:
    """The sockets that systemd hands over, as sd_listen_fds(3) finds them; the variables are for this process alone."""
    pid, count = os.environ.get("LISTEN_PID"), os.environ.get("LISTEN_FDS")
    for variable in _SYSTEMD_VARIABLES:
        os.environ.pop(variable, None)
    if not pid or not count:
        raise CannotListen("--fd systemd: LISTEN_PID and LISTEN_FDS are not set, so nothing was handed over")
    if pid != str(os.getpid()):
        raise CannotListen(f"--fd systemd: LISTEN_PID is {pid}, but this is process {os.getpid()}")
    if not (count.isascii() and count.isdigit()) or not 1 <= int(count) <= 1024:
        raise CannotListen(f"--fd systemd: LISTEN_FDS is {count}, which is no number of sockets")
    return [_adopted(number) for number in range(_FIRST_OF_SYSTEMD, _FIRST_OF_SYSTEMD + int(count))]


def _adopted(number: int) -> socket.socket:
    try:
        sock = socket.socket(fileno=number)
    except OSError as error:
        raise CannotListen(
            f"--fd: descriptor {number} is no socket: {(error.strerror or str(error)).lower()}"
        ) from error
    wrong = None
    if sock.family not in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX) or sock.type != socket.SOCK_STREAM:
        wrong = "is no TCP or UNIX stream socket"
    elif not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        wrong = "is a socket that does not listen"
    if wrong is not None:
        # It is whoever's it was.
        sock.detach()
        raise CannotListen(f"--fd: descriptor {number} {wrong}")
    # The workers get it by its number, other programs that they start do not.
    sock.set_inheritable(False)
    sock.setblocking(False)
    return sock


def _name(place: Any) -> str:
    if not isinstance(place, tuple):
        return f"http://unix:{os.fsdecode(place)}:"
    return f"http://[{place[0]}]:{place[1]}" if ":" in place[0] else f"http://{place[0]}:{place[1]}"
