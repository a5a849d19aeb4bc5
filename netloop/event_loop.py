"""The event loop: the native core joined with what asyncio does once per connection or once per loop."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import signal
import socket
import stat
import threading
import weakref
from collections.abc import Callable
from typing import Any, TypeVarTuple

from netloop.core.ring import FaultPlan
from netloop.core.turn import LoopCore
from netloop.hosted.executor import DefaultExecutor
from netloop.hosted.sendfile import SendFile
from netloop.hosted.signals import SignalHandlers
from netloop.hosted.sockets import SocketOperations
from netloop.hosted.subprocesses import Subprocesses
from netloop.hosted.tls import TLSProtocol
from netloop.hosted.unix import UnixSockets
from netloop.operations.socket_calls import SocketCalls
from netloop.operations.watch import Watch
from netloop.setup.unavailable import explain
from netloop.statistics import Statistics
from netloop.transports.datagram import make_datagram
from netloop.transports.listener import Listener
from netloop.transports.pipe import make_read_pipe, make_write_pipe
from netloop.transports.stream import make_stream

__all__ = ["EventLoop"]

_Ts = TypeVarTuple("_Ts")

_FIXED_FILES_LIMIT = 65536

# What the sizes of a loop may be. The queues' limits are the kernel's, which cuts larger ones down to them.
_SIZES = {
    "submission_entries": (1, 32768),
    "completion_entries": (1, 65536),
    "buffer_count_max": (1, 32768),  # before buffer_count, which it limits
    "buffer_count": (1, 32768),
    "buffer_size": (1, 1 << 30),
    "fixed_files": (0, 1 << 20),
}

# Flags of getnameinfo() with which it asks no name service.
_NUMERIC = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV

# Loops whose ring a forked child inherits and must not touch.
_live_loops: weakref.WeakSet[EventLoop] = weakref.WeakSet()


class EventLoop(
    SignalHandlers,
    SocketOperations,
    SendFile,
    UnixSockets,
    Subprocesses,
    DefaultExecutor,
    LoopCore,
    asyncio.BaseEventLoop,
):
    """An asyncio event loop on an io_uring of its own.

    Args:
        submission_entries: size of the submission queue; a fuller turn takes a system call more.
        completion_entries: size of the completion queue; what exceeds it is kept by the kernel, at a cost.
        buffer_count: receive buffers to begin with, shared by all connections. Memory is committed when it is used.
        buffer_count_max: how many there may be when many connections receive little at once; at most 32,768.
        buffer_size: bytes in a receive buffer, and so the largest piece data_received() is given.
        fixed_files: connections that live in the ring's own table; more of them take plain descriptors. By default as
            many as RLIMIT_NOFILE allows, up to 65,536.
        spin: seconds, at most 1, for which an idle loop asks the kernel again and again before it sleeps. With 100e-6
            an answer that comes within that time is had without a wake-up, which is most of the latency of a single
            busy connection; the price is a core that is never idle while messages come.

    Raises:
        ValueError: a size, or ``spin``, is out of range.
        Unavailable: the kernel refuses io_uring (ENOSYS, EPERM, ENOMEM, EMFILE ...), with cause and remedy.
    """

    def __init__(
        self,
        *,
        submission_entries: int = 512,
        completion_entries: int = 4096,
        buffer_count: int = 4,
        buffer_count_max: int = 1024,
        buffer_size: int = 128 * 1024,
        fixed_files: int | None = None,
        spin: float = 0.0,
        _faults: FaultPlan | None = None,
    ) -> None:
        if fixed_files is None:
            fixed_files = min(_FIXED_FILES_LIMIT, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        sizes = {
            "submission_entries": submission_entries,
            "completion_entries": completion_entries,
            "buffer_count": min(buffer_count, buffer_count_max),
            "buffer_count_max": buffer_count_max,
            "buffer_size": buffer_size,
            "fixed_files": fixed_files,
        }
        _check_sizes(sizes)
        if not 0 <= spin <= 1:
            raise ValueError(f"spin must be from 0 to 1 second, not {spin}")
        try:
            self._set_up({**sizes, "faults": _faults}, spin)
        except OSError as error:
            raise explain(error.errno or 0) from error
        super().__init__()
        self._listeners: dict[socket.socket, Listener] = {}
        self._watches: dict[int, Watch] = {}
        self._transports: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()
        self._socket_calls = SocketCalls(self, self._transports)
        _live_loops.add(self)

    def statistics(self) -> Statistics:
        """The loop's counters at this moment."""
        return Statistics(**self._counters(), watchers=len(self._watches))

    # Running and closing ----------------------------------------------------------------------------------------

    def run_forever(self) -> None:
        """Run until stop() is called; see asyncio.loop.run_forever.

        Raises RuntimeError after a fork, and in a second thread while operations of a first one are in flight.
        """
        self._check_closed()
        self._check_running()
        self._enter_thread()
        claimed = self._claim_wakeup_fd()
        try:
            super().run_forever()
        finally:
            if claimed:
                self._release_wakeup_fd()
            self._leave_thread()

    def close(self) -> None:
        """Close the loop; see asyncio.loop.close. What is in flight is cancelled and awaited, at most a second."""
        if self.is_running():
            raise RuntimeError("Cannot close a running event loop")
        if self.is_closed():
            return
        self._remove_all_signal_handlers()
        super().close()
        self._listeners.clear()
        self._watches.clear()
        self._close_ring()
        self._socket_calls.close()
        self._forget_children()

    # Transports -------------------------------------------------------------------------------------------------

    def _make_socket_transport(
        self,
        sock: socket.socket,
        protocol: asyncio.BaseProtocol,
        waiter: asyncio.Future[None] | None = None,
        *,
        extra: dict[str, Any] | None = None,
        server: asyncio.AbstractServer | None = None,
    ) -> asyncio.Transport:
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return make_stream(self, sock, protocol, waiter, extra, server)

    def _make_datagram_transport(
        self,
        sock: socket.socket,
        protocol: asyncio.BaseProtocol,
        address: Any = None,
        waiter: asyncio.Future[None] | None = None,
        extra: dict[str, Any] | None = None,
    ) -> asyncio.DatagramTransport:
        return make_datagram(self, sock, protocol, address, waiter, extra)

    def _make_ssl_transport(
        self,
        rawsock: socket.socket,
        protocol: asyncio.BaseProtocol,
        sslcontext: Any,
        waiter: Any = None,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        extra: dict[str, Any] | None = None,
        server: asyncio.AbstractServer | None = None,
        **timeouts: Any,
    ) -> asyncio.Transport:
        tls = TLSProtocol(self, protocol, sslcontext, waiter, server_side, server_hostname, **timeouts)
        self._make_socket_transport(rawsock, tls, extra=extra, server=server)
        return tls._app_transport

    def _make_read_pipe_transport(
        self, pipe: Any, protocol: asyncio.BaseProtocol, waiter: Any = None, extra: dict[str, Any] | None = None
    ) -> asyncio.ReadTransport:
        return make_read_pipe(self, pipe, protocol, waiter, extra)

    def _make_write_pipe_transport(
        self, pipe: Any, protocol: asyncio.BaseProtocol, waiter: Any = None, extra: dict[str, Any] | None = None
    ) -> asyncio.WriteTransport:
        return make_write_pipe(self, pipe, protocol, waiter, extra)

    def _start_serving(
        self,
        protocol_factory: Any,
        sock: socket.socket,
        sslcontext: Any = None,
        server: Any = None,
        backlog: int = 100,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> None:
        if sslcontext is not None:
            timeouts = {"ssl_handshake_timeout": ssl_handshake_timeout, "ssl_shutdown_timeout": ssl_shutdown_timeout}
            protocol_factory = self._tls_factory(protocol_factory, sslcontext, timeouts)
        self._listeners[sock] = Listener(self, sock, protocol_factory, server)

    def _tls_factory(self, protocol_factory: Any, sslcontext: Any, timeouts: dict[str, Any]) -> Any:
        """A factory of protocols that speak TLS below the application's own."""

        def factory() -> asyncio.BaseProtocol:
            handshake = self.create_future()
            # A failed handshake closes the connection and is nobody's exception to retrieve.
            handshake.add_done_callback(lambda done: done.cancelled() or done.exception())
            return TLSProtocol(self, protocol_factory(), sslcontext, handshake, server_side=True, **timeouts)

        return factory

    def _stop_serving(self, sock: socket.socket) -> None:
        listener = self._listeners.pop(sock, None)
        if listener is not None:
            listener.stop()
        sock.close()
        self._remove_file(sock)

    # Watchers ---------------------------------------------------------------------------------------------------

    def add_reader(self, fd: Any, callback: Callable[[*_Ts], object], *args: *_Ts) -> None:
        """Call ``callback(*args)`` whenever ``fd`` can be read; see asyncio.loop.add_reader."""
        self._watch(fd).set_reader(callback, args)

    def add_writer(self, fd: Any, callback: Callable[[*_Ts], object], *args: *_Ts) -> None:
        """Call ``callback(*args)`` whenever ``fd`` can be written; see asyncio.loop.add_writer."""
        self._watch(fd).set_writer(callback, args)

    def remove_reader(self, fd: Any) -> bool:
        """Stop watching for reading; says whether there was a watcher."""
        watch = self._find_watch(fd)
        return watch is not None and self._unwatch(watch, watch.clear_reader())

    def remove_writer(self, fd: Any) -> bool:
        """Stop watching for writing; says whether there was a watcher."""
        watch = self._find_watch(fd)
        return watch is not None and self._unwatch(watch, watch.clear_writer())

    def _watch(self, fd: Any) -> Watch:
        self._check_closed()
        number = _fileno(fd)
        watch = self._watches.get(number)
        self._check_no_transport(number, fd)
        if watch is None:
            if stat.S_ISREG(os.fstat(number).st_mode):
                raise PermissionError(errno.EPERM, f"file descriptor {number} is a regular file, always ready")
            watch = self._watches[number] = Watch(self, number)
        return watch

    def _find_watch(self, fd: Any) -> Watch | None:
        if self.is_closed():
            return None
        number = _fileno(fd)
        self._check_no_transport(number, fd)
        return self._watches.get(number)

    def _check_no_transport(self, number: int, fd: Any = None) -> None:
        """A transport's descriptor is the transport's: a second reader would take its data."""
        transport = self._transports.get(number)
        if transport is not None and not transport.is_closing():
            raise RuntimeError(f"File descriptor {number if fd is None else fd!r} is used by transport {transport!r}")

    def _unwatch(self, watch: Watch, removed: bool) -> bool:
        if watch.idle:
            self._watches.pop(watch.fd, None)
        return removed

    # Names ------------------------------------------------------------------------------------------------------

    async def getaddrinfo(
        self, host: Any, port: Any, *, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0
    ) -> list[Any]:
        """See asyncio.loop.getaddrinfo. A numeric host is answered at once, without a thread."""
        self._check_closed()
        if not self._debug and _is_numeric(host, port):
            return socket.getaddrinfo(host, port, family, type, proto, flags)
        return await super().getaddrinfo(host, port, family=family, type=type, proto=proto, flags=flags)

    async def getnameinfo(self, sockaddr: Any, flags: int = 0) -> Any:
        """See asyncio.loop.getnameinfo. A numeric answer is given at once, without a thread."""
        self._check_closed()
        if flags & _NUMERIC == _NUMERIC:
            return socket.getnameinfo(sockaddr, flags)
        return await super().getnameinfo(sockaddr, flags)


def _check_sizes(sizes: dict[str, int]) -> None:
    for name, (least, most) in _SIZES.items():
        if not least <= sizes[name] <= most:
            raise ValueError(f"{name} must be from {least} to {most}, not {sizes[name]}")


def _fileno(fd: Any) -> int:
    if isinstance(fd, int):
        number = fd
    else:
        try:
            number = int(fd.fileno())
        except (AttributeError, TypeError, ValueError):
            raise ValueError(f"Invalid file object: {fd!r}") from None
    if number < 0:
        raise ValueError(f"Invalid file descriptor: {number}")
    return number


def _is_numeric(host: Any, port: Any) -> bool:
    """Can this be answered without asking a name service or reading /etc/services?"""
    if not isinstance(host, str) or not (port is None or isinstance(port, int) or str(port).isdecimal()):
        return False
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except (OSError, UnicodeError, ValueError):
            continue
        return True
    return False


def _abandon_loops() -> None:
    """In a forked child: the parent's rings are not ours, and its signals must not be written into its pipes."""
    inherited = list(_live_loops)
    descriptors = {loop._wakeup_fd() for loop in inherited}
    for loop in inherited:
        loop._abandon()
    if inherited and threading.current_thread() is threading.main_thread():
        current = signal.set_wakeup_fd(-1)
        if current not in descriptors:
            signal.set_wakeup_fd(current)


def _before_fork() -> None:
    """The loops of the forking thread give connections descriptors that the child needs."""
    for loop in list(_live_loops):
        loop._before_fork()


def _after_fork() -> None:
    for loop in list(_live_loops):
        loop._after_fork()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_abandon_loops)
