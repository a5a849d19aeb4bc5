"""Inspection: a UNIX socket where the processes of the same user are told what the loops of this process do.

It is opened only when a loop is asked for it, one socket per process, and answered by a thread of its own: a loop that
is stuck is just the one that somebody wants to look at. ``netloop.tools.stacks`` and ``netloop.tools.top`` ask.
"""

from __future__ import annotations

import atexit
import concurrent.futures
import contextlib
import json
import os
import platform
import socket
import struct
import sys
import threading
import weakref
from asyncio.log import logger
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Final

from netloop._version import __version__
from netloop.hosted.inspection_path import claim, release
from netloop.hosted.loop_mixin import LoopMixin
from netloop.hosted.stalls import StallReports, loop_lines
from netloop.hosted.task_tree import describe_tasks
from netloop.hosted.totals import histograms_of
from netloop.transports.base import Transport

__all__ = ["Inspection"]

# Whoever asks and then does not read is not waited for.
_CLIENT_SECONDS: Final = 2.0
_LONGEST_REQUEST: Final = 4096
# How long a loop may take to describe itself, where nobody else can.
_LOOP_SECONDS: Final = 0.25
_PEER: Final = struct.Struct("3i")  # struct ucred: pid, uid, gid
_SHOWN: Final = 1000


class Inspection(StallReports, LoopMixin):
    """The part of a loop that lets itself be looked at."""

    _inspector: Inspector | None = None

    def _let_inspect(self) -> None:
        """Have this process's socket tell about this loop too. What keeps it from that is logged, and no more."""
        self._take_pulse()
        self._measure()
        try:
            self._inspector = inspector_of_this_process()
            self._inspector.add(self)
        except OSError as error:
            self._inspector = None
            logger.warning("netloop: this process cannot be inspected: %s", error)

    def _end_inspection(self) -> None:
        if self._inspector is not None:
            self._inspector.remove(self)
            self._inspector = None

    def _abandon(self) -> None:
        """After fork, in the child: the socket is the parent's."""
        super()._abandon()
        if self._inspector is not None:
            self._inspector.abandon()
            self._inspector = None

    def _snapshot(self, limit: int) -> dict[str, Any]:
        """What this loop does at this moment, in what JSON knows; any thread."""
        seconds, cpu = self._pulse()
        stack = [str(line) for _, line in loop_lines(self._stack())]
        tasks, connections = self._describe_inside(limit)
        thread = self._thread_id
        return {
            "id": id(self),
            "running": thread is not None,
            "thread": next((each.name for each in threading.enumerate() if each.ident == thread), None),
            # The turn that is under way, if the loop does not wait in the kernel.
            "turn_seconds": seconds,
            "stack": stack,
            "cpu_seconds": cpu,
            "statistics": asdict(self.statistics()),  # type: ignore[attr-defined]
            # How many timers were how late, and how many turns how long at work: by the bounds of buckets, in seconds.
            "durations": {name: counted.by_bound() for name, counted in histograms_of(self).items()},
            "tasks": tasks,
            "connections": connections,
            "stalls": self._slowest(),
        }

    def _describe_inside(self, limit: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """The tasks and the connections, which belong to the loop's thread.

        With the interpreter lock they stand still while this thread looks at them. Without it the loop's thread is
        asked to. Of one that is stuck only what is safe to ask is told: no line of a coroutine, no connection.
        """
        if not _free_threaded() or not self._runs_elsewhere():
            return describe_tasks(self, limit), _connections(self, limit)
        described: concurrent.futures.Future[tuple[dict[str, Any], dict[str, Any]]] = concurrent.futures.Future()
        with contextlib.suppress(RuntimeError):  # it has just been closed
            self.call_soon_threadsafe(_describe_in_thread, self, limit, described)
        try:
            return described.result(_LOOP_SECONDS)
        except TimeoutError:
            if not described.cancel():
                return described.result()  # it has just begun to
        connections = {"count": self.statistics().connections, "shown": []}  # type: ignore[attr-defined]
        return describe_tasks(self, limit, chains=False), connections


class Inspector:
    """The socket of this process, and the thread that answers there."""

    def __init__(self) -> None:
        self._loops: weakref.WeakSet[Inspection] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._path = ""
        self._thread: threading.Thread | None = None
        # Who is being answered.
        self._client: socket.socket | None = None

    def add(self, loop: Inspection) -> None:
        """Tell about this loop too. Raises OSError if there can be no socket."""
        with self._lock:
            if self._socket is None:
                self._socket, self._path = claim()
                self._thread = threading.Thread(
                    target=self._serve, args=(self._socket,), name="netloop-inspection", daemon=True
                )
                self._thread.start()
            self._loops.add(loop)

    def remove(self, loop: Inspection) -> None:
        """Tell no more about this loop; without loops there is no socket."""
        # In one go: a loop that another thread adds finds either a socket that stays, or none and makes one.
        with self._lock:
            self._loops.discard(loop)
            finish = self._shut() if not len(self._loops) else None
        if finish is not None:
            finish()

    def close(self) -> None:
        """Have no socket and no thread any more."""
        with self._lock:
            finish = self._shut()
        if finish is not None:
            finish()

    def _shut(self) -> Callable[[], None] | None:
        """With the lock: have nobody come any more, and tell the thread to end. What is left to do without it."""
        opened, thread = self._socket, self._thread
        self._socket = self._thread = None
        if opened is None or thread is None:
            return None
        release(opened, self._path)
        if self._client is not None:
            # Whoever has not asked yet is not waited for.
            with contextlib.suppress(OSError):
                self._client.shutdown(socket.SHUT_RD)

        def finish() -> None:
            if thread is not threading.current_thread():
                thread.join()
            opened.close()

        return finish

    def abandon(self) -> None:
        """In a forked child: give the parent's socket up, and leave its path alone."""
        self._lock = threading.Lock()
        self._loops.clear()
        if self._socket is not None:
            self._socket.close()
        # Whom the parent is answering waits for the end of the connection. close() would leave it to a file object of
        # the parent's thread.
        descriptor = -1 if self._client is None else self._client.detach()
        if descriptor >= 0:
            os.close(descriptor)
        self._socket = self._thread = self._client = None

    def _serve(self, listening: socket.socket) -> None:
        while True:
            try:
                client, _ = listening.accept()
            except OSError:
                if self._socket is not listening:
                    return  # shut down by remove()
                # Out of descriptors or memory, which may pass.
                threading.Event().wait(_CLIENT_SECONDS)
                continue
            with client:
                with self._lock:
                    if self._socket is not listening:
                        return
                    self._client = client
                # Nothing that a client does, and nothing that it finds, may end this thread.
                with contextlib.suppress(Exception):
                    self._answer(client)
                with self._lock:
                    self._client = None

    def _answer(self, client: socket.socket) -> None:
        client.settimeout(_CLIENT_SECONDS)
        _, user, _ = _PEER.unpack(client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
        if user != os.geteuid():
            return
        request = json.loads(client.makefile("rb").readline(_LONGEST_REQUEST))
        limit = request.get("limit", _SHOWN)
        try:
            answer = self._describe(limit if isinstance(limit, int) and limit >= 0 else _SHOWN)
        except Exception as error:
            logger.exception("netloop: an inspection has failed")
            answer = {"error": f"{type(error).__name__}: {error}"}
        client.sendall(json.dumps(answer).encode() + b"\n")

    def _describe(self, limit: int) -> dict[str, Any]:
        with self._lock:
            loops = [loop for loop in self._loops if not loop.is_closed()]
        return {
            "pid": os.getpid(),
            "netloop": __version__,
            "python": platform.python_version(),
            "loops": [loop._snapshot(limit) for loop in loops],
        }


_the_inspector = Inspector()
# A program may end without closing its loops, and its socket is to go all the same.
atexit.register(_the_inspector.close)


def inspector_of_this_process() -> Inspector:
    """The one that all loops share."""
    return _the_inspector


def _free_threaded() -> bool:
    return not getattr(sys, "_is_gil_enabled", lambda: True)()


def _describe_in_thread(
    loop: Inspection, limit: int, described: concurrent.futures.Future[tuple[dict[str, Any], dict[str, Any]]]
) -> None:
    """Called by the loop."""
    if not described.set_running_or_notify_cancel():
        return
    try:
        described.set_result((describe_tasks(loop, limit), _connections(loop, limit)))
    except Exception as error:
        described.set_exception(error)


def _connections(loop: Inspection, limit: int) -> dict[str, Any]:
    """How many transports there are, and those with the longest queues."""
    transports = [each for each in loop._endpoints() if isinstance(each, Transport)]
    unsent = [(each.get_write_buffer_size(), each) for each in transports]
    unsent.sort(key=lambda pair: -pair[0])
    return {"count": len(transports), "shown": [_connection(transport, size) for size, transport in unsent[:limit]]}


def _connection(transport: Any, unsent: int) -> dict[str, Any]:
    protocol = transport.get_protocol()
    application = getattr(protocol, "_app_protocol", None)  # of TLS
    peer = transport.get_extra_info("peername") if hasattr(transport, "get_extra_info") else None
    return {
        "transport": type(transport).__name__,
        "protocol": type(application or protocol).__qualname__,
        "tls": application is not None,
        "peer": peer if peer is None or isinstance(peer, str) else _address(peer),
        "unsent": unsent,
        "reading": transport.is_reading() if hasattr(transport, "is_reading") else None,
        "closing": transport.is_closing(),
    }


def _address(peer: Any) -> str:
    if isinstance(peer, tuple) and len(peer) >= 2:
        return f"[{peer[0]}]:{peer[1]}" if ":" in str(peer[0]) else f"{peer[0]}:{peer[1]}"
    return peer.decode(errors="replace") if isinstance(peer, bytes) else str(peer)
