"""The event loop: the native core joined with what asyncio does once per connection or once per loop."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import errno
import math
import os
import resource
import signal
import socket
import weakref
from asyncio.log import logger
from collections.abc import Iterable
from typing import Any, TypeVarTuple

from netloop.core.pool import BufferPool
from netloop.core.ring import FaultPlan, ask_kernel
from netloop.core.turn import LoopCore
from netloop.core.wake import hears_signals
from netloop.hosted.executor import DefaultExecutor
from netloop.hosted.inspection import Inspection
from netloop.hosted.nesting import NoNesting
from netloop.hosted.packets import PacketEndpoints
from netloop.hosted.sendfile import SendFile
from netloop.hosted.signals import SignalHandlers
from netloop.hosted.sockets import SocketOperations
from netloop.hosted.subprocesses import Subprocesses
from netloop.hosted.tls import TLSProtocol, refuse_leases
from netloop.hosted.totals import Tally, totals
from netloop.hosted.unix import UnixSockets
from netloop.hosted.watchers import Watchers
from netloop.operations.socket_calls import SocketCalls
from netloop.setup.io_cpus import IDLE_DEFAULT, asked_cpus, explain_poller, idle_milliseconds
from netloop.setup.unavailable import Unavailable, explain
from netloop.statistics import PoolStatistics, RingStatistics, Statistics
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
    Watchers,
    SocketOperations,
    SendFile,
    UnixSockets,
    PacketEndpoints,
    Subprocesses,
    DefaultExecutor,
    NoNesting,
    Inspection,
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
        busy_poll: seconds, at most 1, for which a loop that is about to sleep polls the queues of the network cards
            that its connections receive from, so that a packet needs no interrupt and no wake-up. It takes Linux 6.9
            and a card whose driver can; connections of this machine to itself have none. Where the kernel refuses, that
            is logged. The price is that of ``spin``.
        io_cpus: numbers of CPUs on which threads of the kernel do the loop's I/O, so that its own thread runs Python
            only. Such a thread submits and receives without being called, looks for work without rest while there is
            some, and is bound to its CPU, which should have little else to do; loops of one process that name the same
            CPU share it. By default as ``NETLOOP_IO_CPUS`` says ("3", "2,3", "4-7"), or else none.
        io_idle: seconds, more than 0 and at most 60, for which such a thread finds nothing to do before it sleeps. An
            idle loop costs nothing then; whoever is the first to submit wakes it with a system call.
        eager_writes: send what is written at once, with a system call of its own, as asyncio does, and not with all
            else at the turn's end. For programs that write and then block in the same turn until the peer has
            answered, or that leave by ``os._exit()`` or exec. By default as the environment variable
            ``NETLOOP_EAGER_WRITES`` says: 1, or else 0.
        stall_threshold: seconds, from 0.01 to 3600, after which a turn that does not end is reported: to the log while
            it lasts, with the Python stack, and to set_stall_handler(). For that the loop has another thread, which
            sleeps while all is well (Python 3.12 and later warn of ``os.fork()`` in a process with threads). 0 is off.
            By default as ``NETLOOP_STALL_THRESHOLD`` says, or else off.
        inspect: let processes of the same user look at this one, with ``python -m netloop stacks`` and ``top``, while
            it is stuck too. For that the process has a UNIX socket, and a thread that answers there. Where there can be
            no socket that is logged. By default as ``NETLOOP_INSPECT`` says: 1, or else 0.

    Raises:
        TypeError: ``stall_threshold`` is no number, or ``io_cpus`` no sequence of numbers.
        ValueError: a size, ``spin``, ``busy_poll``, ``io_cpus``, ``io_idle`` or ``stall_threshold`` is out of range; or
            ``NETLOOP_IO_CPUS`` is no list of CPUs, one of ``NETLOOP_EAGER_WRITES`` and ``NETLOOP_INSPECT`` is neither 0
            nor 1, or ``NETLOOP_STALL_THRESHOLD`` no number.
        Unavailable: the kernel refuses io_uring (ENOSYS, EPERM, ENOMEM, EMFILE ...), or to do I/O on one of the
            ``io_cpus`` (EINVAL: it is not there, or not this process's), with cause and remedy.
    """

    _tally: Tally | None = None

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
        busy_poll: float = 0.0,
        io_cpus: Iterable[int] | None = None,
        io_idle: float = IDLE_DEFAULT,
        eager_writes: bool | None = None,
        stall_threshold: float | None = None,
        inspect: bool | None = None,
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
        if not 0 <= busy_poll <= 1:
            raise ValueError(f"busy_poll must be from 0 to 1 second, not {busy_poll}")
        cpus = asked_cpus(io_cpus)
        idle = idle_milliseconds(io_idle)
        if eager_writes is None:
            eager_writes = _switch("NETLOOP_EAGER_WRITES")
        if stall_threshold is None:
            stall_threshold = _seconds("NETLOOP_STALL_THRESHOLD")
        if not isinstance(stall_threshold, int | float):
            raise TypeError(f"stall_threshold must be a number of seconds, not {type(stall_threshold).__name__}")
        if stall_threshold and not 0.01 <= stall_threshold <= 3600:
            raise ValueError(f"stall_threshold must be 0 or from 0.01 to 3600 seconds, not {stall_threshold}")
        if inspect is None:
            inspect = _switch("NETLOOP_INSPECT")
        try:
            self._set_up({**sizes, "faults": _faults, "pollers": [(cpu, idle) for cpu in cpus]}, spin, eager_writes)
        except OSError as error:
            raise _explain(error.errno or 0, cpus) from error
        if busy_poll:
            self._begin_busy_polling(busy_poll)
        super().__init__()
        self._listeners: dict[socket.socket, Listener] = {}
        self._transports: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()
        self._socket_calls = SocketCalls(self, self._transports)
        if stall_threshold:
            self._watch_for_stalls(stall_threshold)
        if inspect:
            self._let_inspect()
        # The buffer pools of this loop, and the one for protocols that name none (core/pool.pyx).
        self._pools: weakref.WeakSet[BufferPool] = weakref.WeakSet()
        self._receive_pool: BufferPool | None = None
        # What has become of sends without a copy, by the host they went to (transports/zero_copy.pyx).
        self._zero_copy_routes: dict[object, object] = {}
        _live_loops.add(self)
        self._tally = totals.open(self)

    def _begin_busy_polling(self, seconds: float) -> None:
        try:
            self._poll_busily(math.ceil(seconds * 1e6))
        except OSError as error:
            reason = "it has no IORING_REGISTER_NAPI" if error.errno == errno.EINVAL else error.strerror
            logger.warning(
                "busy_poll=%g has no effect: the kernel refuses it (%s); it takes Linux 6.9, built with "
                "CONFIG_NET_RX_BUSY_POLL",
                *(seconds, reason),
            )

    def statistics(self) -> Statistics:
        """The loop's counters at this moment."""
        counters: dict[str, Any] = {**self._counters(), **self._stall_counters()}
        pools = tuple(PoolStatistics(**pool._statistics()) for pool in list(self._pools))
        rings = tuple(RingStatistics(**ring) for ring in self._ring_counters())
        return Statistics(**counters, watchers=self._watcher_count(), pools=pools, rings=rings)

    # Running and closing ----------------------------------------------------------------------------------------

    def run_forever(self) -> None:
        """Run until stop() is called; see asyncio.loop.run_forever.

        Raises RuntimeError after a fork, and in a second thread while operations of a first one are in flight.
        """
        self._check_closed()
        self._check_running()
        if self._stall_watch is not None:
            self._stall_watch.start()
        self._enter_thread()
        try:
            super().run_forever()
        finally:
            self._leave_thread()

    def close(self) -> None:
        """Close the loop; see asyncio.loop.close. What is in flight is cancelled and awaited, at most a second."""
        if self.is_running():
            raise RuntimeError("Cannot close a running event loop")
        if self.is_closed():
            return
        held = self._hold()
        try:
            self._end_inspection()
            self._end_stall_reports()
            self._remove_all_signal_handlers()
            super().close()
            self._listeners.clear()
            self._close_ring()
            self._close_watchers()
            self._socket_calls.close()
            self._forget_children()
        finally:
            if self._tally is not None:
                self._tally.close(self)
            if held:
                self._let_go()

    # Transports -------------------------------------------------------------------------------------------------

    def _make_socket_transport(
        self,
        sock: socket.socket,
        protocol: asyncio.BaseProtocol,
        waiter: asyncio.Future[None] | None = None,
        *,
        extra: dict[str, Any] | None = None,
        server: asyncio.AbstractServer | None = None,
        context: contextvars.Context | None = None,
    ) -> asyncio.Transport:
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            return make_stream(self, sock, protocol, waiter, extra, server, context)
        except BaseException:
            sock.close()  # the protocol was refused
            raise

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
        context: contextvars.Context | None = None,
        **timeouts: Any,
    ) -> asyncio.Transport:
        try:
            refuse_leases(protocol)
        except TypeError:
            rawsock.close()
            raise
        tls = TLSProtocol(self, protocol, sslcontext, waiter, server_side, server_hostname, **timeouts)
        self._make_socket_transport(rawsock, tls, extra=extra, server=server, context=context)
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
        context: contextvars.Context | None = None,
    ) -> None:
        if sslcontext is not None:
            timeouts = {"ssl_handshake_timeout": ssl_handshake_timeout, "ssl_shutdown_timeout": ssl_shutdown_timeout}
            protocol_factory = self._tls_factory(protocol_factory, sslcontext, timeouts)
        self._listeners[sock] = Listener(self, sock, protocol_factory, server, context)

    def _tls_factory(self, protocol_factory: Any, sslcontext: Any, timeouts: dict[str, Any]) -> Any:
        """A factory of protocols that speak TLS below the application's own."""

        def factory() -> asyncio.BaseProtocol:
            handshake = self.create_future()
            # A failed handshake closes the connection and is nobody's exception to retrieve.
            handshake.add_done_callback(lambda done: done.cancelled() or done.exception())
            return TLSProtocol(self, protocol_factory(), sslcontext, handshake, server_side=True, **timeouts)

        return factory

    def _stop_serving(self, sock: socket.socket) -> None:
        if self._runs_elsewhere():
            # A server that is closed has let go of its sockets before it asks for this: a refusal would leave them
            # listening for ever. And the loop must be woken, since the kernel listens until it has submitted the end.
            self.call_soon_threadsafe(self._stop_serving, sock)
            return
        listener = self._listeners.pop(sock, None)
        try:
            if listener is not None:
                listener.stop()
        finally:
            # An exit that the application's factory has raised must not leave it listening.
            sock.close()
            self._remove_file(sock)

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


def _explain(errno: int, cpus: tuple[int, ...]) -> Unavailable:
    """Why the kernel has refused the ring."""
    if not cpus:
        return explain(errno)
    try:
        ask_kernel()
    except OSError:
        return explain_poller(errno, cpus, False)
    return explain_poller(errno, cpus, True)


def _switch(variable: str) -> bool:
    """What a variable of the environment says: 1 is on, 0, nothing or no such variable is off."""
    value = os.environ.get(variable, "")
    if value not in ("", "0", "1"):
        raise ValueError(f"{variable} must be 0 or 1, not {value!r}")
    return value == "1"


def _seconds(variable: str) -> float:
    """What a variable of the environment says, in seconds; nothing or no such variable is 0."""
    value = os.environ.get(variable, "")
    try:
        return float(value or 0)
    except ValueError:
        raise ValueError(f"{variable} must be a number of seconds, not {value!r}") from None


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
    owners = {loop._wakeup_fd().own: loop._wakeup_fd() for loop in inherited if not loop.is_closed()}
    for loop in inherited:
        loop._abandon()
    if inherited and hears_signals():
        current = signal.set_wakeup_fd(-1)
        while current in owners:
            current = owners.pop(current).owner_before()
        # The descriptor of an earlier owner may be closed by now: then there is nothing to restore.
        with contextlib.suppress(ValueError, OSError):
            signal.set_wakeup_fd(current, warn_on_full_buffer=False)


def _before_fork() -> None:
    """The loops of the forking thread give connections descriptors that the child needs."""
    for loop in list(_live_loops):
        loop._before_fork()


def _after_fork() -> None:
    for loop in list(_live_loops):
        loop._after_fork()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_abandon_loops)
