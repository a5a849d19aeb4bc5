"""Subprocesses, whose end the ring reports: no thread waits for children, and no signal handler is needed.

A process descriptor (pidfd, Linux 5.3) becomes readable when its process has ended. It works in whatever thread the
loop runs, and leaves the children of others alone. Where there is none to be had, because a sandbox refuses the call or
the process has no descriptor to spare, the child is asked after at growing intervals instead.

A child's standard input is a pipe and not a socket, as in asyncio on Linux: a pipe can be opened again through
/dev/stdin, and its writing end notices when the reader has gone.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import struct
import subprocess
from asyncio import base_subprocess
from asyncio.log import logger
from typing import Any

from netloop.hosted.loop_mixin import LoopMixin
from netloop.operations.operation import Poll, pidfd_open

__all__ = ["Subprocesses"]

# What is reported for a child whose status somebody else has collected and the kernel has not kept; as asyncio.
_UNKNOWN = 255

# linux/pidfd.h: _IOWR(0xFF, 11, struct pidfd_info), of 64 bytes: a mask of what is asked for and told, the process's
# numbers, and last the status as wait(2) has it.
_PIDFD_GET_INFO = 0xC040FF0B
_PIDFD_INFO_EXIT = 1 << 3
_PIDFD_INFO = struct.Struct("Q52xi")

# How often to ask after a child without a process descriptor, in seconds: first, and at most.
_FIRST_PAUSE = 0.002
_LONGEST_PAUSE = 0.1


class Subprocesses(LoopMixin):
    """The subprocess methods of a loop, except for what asyncio.BaseEventLoop makes of them."""

    def __init__(self) -> None:
        super().__init__()
        self._children: set[_Child] = set()

    async def _make_subprocess_transport(
        self,
        protocol: asyncio.SubprocessProtocol,
        args: Any,
        shell: bool,
        stdin: Any,
        stdout: Any,
        stderr: Any,
        bufsize: int,
        extra: dict[str, Any] | None = None,
        **options: Any,
    ) -> asyncio.SubprocessTransport:
        waiter = self.create_future()
        transport = _SubprocessTransport(
            self, protocol, args, shell, stdin, stdout, stderr, bufsize, waiter=waiter, extra=extra, **options
        )
        child = _Child(self, transport)
        self._children.add(child)
        try:
            await waiter
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException:
            transport.close()
            await child.ended
            raise
        return transport

    def _forget_children(self) -> None:
        """The loop is being closed: nobody will hear of the children that are still there."""
        for child in self._children:
            child.close_pidfd()
        self._children.clear()


class _SubprocessTransport(base_subprocess.BaseSubprocessTransport):
    """A subprocess and the pipes to it."""

    _proc: subprocess.Popen[bytes]

    def _start(
        self, args: Any, shell: bool, stdin: Any, stdout: Any, stderr: Any, bufsize: int, **options: Any
    ) -> None:
        self._proc = subprocess.Popen(
            args, shell=shell, stdin=stdin, stdout=stdout, stderr=stderr, bufsize=bufsize, **options
        )

    async def _connect_pipes(self, waiter: asyncio.Future[None] | None) -> None:
        """Make the pipes' transports, and close them again if nobody wants them any more.

        asyncio's close() knows only the pipes that were connected by then, and relies on the child to close the others.
        A child of the child's may hold them open.
        """
        process = self._proc
        await super()._connect_pipes(waiter)
        if self._pending_calls is None and not self._closed:
            return  # all are connected, and wanted
        for number, file in enumerate((process.stdin, process.stdout, process.stderr)):
            pipe: Any = self._pipes.get(number)
            if pipe is not None:
                pipe.pipe.close()
            elif file is not None:
                file.close()


class _Child:
    """Awaits the end of one child process and tells its transport."""

    def __init__(self, loop: Subprocesses, transport: _SubprocessTransport) -> None:
        self._loop = loop
        self._transport = transport
        self._process = transport._proc
        self._pause = _FIRST_PAUSE
        self.ended = loop.create_future()
        try:
            self._pidfd = pidfd_open(self._process.pid)
        except OSError:
            # ENOSYS, EPERM, EMFILE ...; or ESRCH when the child's status is collected by the kernel already.
            self._pidfd = -1
        self._watch()

    def _watch(self) -> None:
        if self._pidfd < 0:
            self._loop.call_later(self._pause, self._check)
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)
            return
        Poll(self._loop, self._pidfd, False).add_done_callback(self._check)

    def _check(self, ended: Poll | None = None) -> None:
        if ended is not None and ended.exception() is not None:
            # The descriptor was closed behind our back, and may be somebody else's by now.
            self._pidfd = -1
        status = None
        try:
            status = self._collect()
        finally:
            if status is None:
                # Not ended, or still held by a debugger: then a process descriptor is readable too early. Or asking
                # failed, because of an interrupt mostly.
                self.close_pidfd()
                self._watch()
        if status is None:
            return
        self._loop._children.discard(self)
        self.close_pidfd()
        self._transport._process_exited(status)
        if not self.ended.done():
            self.ended.set_result(None)

    def _collect(self) -> int | None:
        """The exit code, as subprocess.Popen.returncode has it; None while there is none."""
        process = self._process
        if process.returncode is None:
            try:
                pid, status = os.waitpid(process.pid, os.WNOHANG)
            except ChildProcessError:
                kept = _kept_status(self._pidfd)
                if kept is not None:
                    return os.waitstatus_to_exitcode(kept)
                logger.warning(
                    "child process pid %d exit status already read:  will report returncode %d", process.pid, _UNKNOWN
                )
                return _UNKNOWN
            return os.waitstatus_to_exitcode(status) if pid else None
        return process.returncode

    def close_pidfd(self) -> None:
        """Let go of the process descriptor. What polls it in the ring is not disturbed by that."""
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1


def _kept_status(pidfd: int) -> int | None:
    """The status, as wait(2) has it, of a process that has been waited for; None where the kernel does not tell.

    A handler of SIGCHLD that waits for every child, as asyncio's FastChildWatcher does, may well be called before the
    loop has seen that the process descriptor is readable. Since Linux 6.15 the descriptor keeps the status.
    """
    if pidfd < 0:
        return None
    try:
        answer = fcntl.ioctl(pidfd, _PIDFD_GET_INFO, _PIDFD_INFO.pack(_PIDFD_INFO_EXIT, 0))
    except OSError:
        # ENOTTY before Linux 6.13, EPERM in a sandbox.
        return None
    told, status = _PIDFD_INFO.unpack(answer)
    return status if told & _PIDFD_INFO_EXIT else None
