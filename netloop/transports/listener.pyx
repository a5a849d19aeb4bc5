# cython: language_level=3, boundscheck=False, wraparound=False
"""Accepting connections into the ring.

Several single-shot accepts are armed at once. Unlike one multishot accept, each brings the peer's address and names
the fixed-file slot its connection goes to, so that a full table cannot swallow a connection. When only the table's
margin is left, an accept asks for a plain descriptor instead.

A connection of one request costs the same either way (connect, 64 bytes there and back, close: 39.8 µs of server CPU
with single-shot accepts, 38.6 µs with a multishot one, 49.8 µs on uvloop; medians of three interleaved runs, Linux
6.18), before a multishot one has paid the three system calls that asking for the peer's address then takes.
"""

import ipaddress
import os
import socket
from asyncio import trsock
from asyncio.log import logger

from libc.errno cimport (
    EAGAIN, ECONNABORTED, EINTR, EINVAL, EMFILE, ENFILE, ENOBUFS, ENOMEM, EPERM, EPROTO,
)

from libc.stdint cimport int32_t

from netloop.core cimport cext as c
from netloop.transports.address cimport decode_address
from netloop.transports.fixed_socket cimport accepted_socket, new_origin
from netloop.core.ring cimport unawaited_token
from netloop.transports.stream cimport StreamTransport, new_stream


cdef extern from "Python.h":
    int PyContext_Enter(object context) except -1
    int PyContext_Exit(object context) except -1
    object PyContext_CopyCurrent()
    object PyContext_Copy(object context)

cdef extern from "<unistd.h>" nogil:
    int close(int fd)

# How long accepting rests after the system ran out of descriptors or memory, in seconds; as asyncio.
cdef double REST = 1.0


cdef class Listener(Endpoint):
    """One listening socket and the accepts armed on it."""

    def __init__(self, LoopCore loop, sock, protocol_factory, server, int backlog, context=None):
        self.loop = loop
        self.sock = sock
        self.protocol_factory = protocol_factory
        self.server = server
        self.file = c.nl_descriptor(sock.fileno())
        self.first_wait = c.NL_ACCEPT_POLL_FIRST
        self.lanes_used = <unsigned>max(1, min(<int>LANES, backlog))
        # Each connection gets a copy of its own.
        self.context = PyContext_CopyCurrent() if context is None else context
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            # Accepted sockets inherit it: asyncio's default for every connection, at no system call for each.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        self.origin = new_origin(loop.ring, sock, specific_address(sock))
        loop.ring.attach(self)
        self.mark_dirty()

    cdef int on_flush(self) except -1:
        cdef unsigned lane
        if self.stopped or self.resting:
            return 0
        for lane in range(self.lanes_used):
            if self.lanes[lane].armed:
                continue
            if not c.nl_ring_space(&self.ring.ring):
                return 1
            self.arm(lane)
        return 0

    cdef int arm(self, unsigned lane) except -1:
        cdef accept_lane *it = &self.lanes[lane]
        it.slot = c.nl_files_take(&self.ring.files) if self.ring.open_files() else -1
        it.length = sizeof(it.address)
        it.armed = True
        c.nl_prep_accept(self.sqe(), self.file, <c.sockaddr *>&it.address, &it.length, it.slot,
                         0 if it.more else self.first_wait, self.token(c.NL_ACCEPT, lane))
        return 0

    cdef int on_completion(self, unsigned op, unsigned lane, int res, unsigned flags) except -1:
        cdef accept_lane *it = &self.lanes[lane]
        it.armed = False
        it.more = flags & c.IORING_CQE_F_SOCK_NONEMPTY
        if res < 0 and it.slot >= 0:
            c.nl_files_give(&self.ring.files, it.slot)
        try:
            if res >= 0:
                self.accepted(it, res)
            elif res == -EINVAL and self.first_wait:
                # Linux before 6.10 does not know how to wait first.
                self.first_wait = 0
            elif res != -c.ECANCELED:
                self.on_refused(-res)
        finally:
            if not self.stopped:
                self.mark_dirty()
            else:
                self.retire_if_done()
        return 0

    cdef int on_abandoned(self, unsigned op, unsigned lane, int res, unsigned flags) except -1:
        # A connection in a slot goes with the ring; a plain descriptor would outlive it.
        if res >= 0 and self.lanes[lane].slot < 0:
            close(res)
        return 0

    cdef int on_refused(self, int error) except -1:
        """An accept failed."""
        if self.stopped or error in (EAGAIN, EINTR, ECONNABORTED, EPROTO, EPERM):
            # The connection was gone before it was accepted (accept(2)); the next accept may fare better.
            return 0
        if self.resting:
            return 0
        self.resting = True
        self.loop.call_later(REST, self._resume)
        scarce = error in (EMFILE, ENFILE, ENOBUFS, ENOMEM)
        self.loop.call_exception_handler({
            "message": "socket.accept() out of system resource" if scarce else "socket.accept() failed",
            "exception": OSError(error, os.strerror(error)),
            "socket": trsock.TransportSocket(self.sock),
        })
        return 0

    def _resume(self):
        self.resting = False
        if not self.stopped:
            self.mark_dirty()

    cdef int accepted(self, accept_lane *lane, int descriptor) except -1:
        cdef c.nl_file file = c.nl_fixed_file(lane.slot) if lane.slot >= 0 else c.nl_descriptor(descriptor)
        if self.stopped:
            return self.refuse(file)
        self.loop.connections_accepted += 1
        return self.connect(file, lane)

    cdef int connect(self, c.nl_file file, accept_lane *lane) except -1:
        """Make the protocol and the transport of a new connection, and start them."""
        cdef StreamTransport transport
        cdef object context = PyContext_Copy(self.context)
        PyContext_Enter(context)
        try:
            protocol = self.protocol_factory()
        except (SystemExit, KeyboardInterrupt):
            self.refuse(file)
            raise
        except BaseException as exc:
            self.refuse(file)
            self.loop.call_exception_handler(
                {"message": "Error on transport creation for incoming connection", "exception": exc})
            return 0
        finally:
            PyContext_Exit(context)
        if file.flag:
            transport = new_stream(self.loop, file, None, protocol, context, self.server, None)
            transport.come_from(self.origin, &lane.address, lane.length)
        else:
            transport = new_stream(self.loop, file, accepted_socket(self.origin, file.number), protocol, context,
                                   self.server, {"peername": decode_address(&lane.address, lane.length)})
        if self.loop._debug:
            logger.debug("%r got a new connection from %r: %r", self.server, transport.get_extra_info("peername"),
                         transport._sock)
        return transport.begin()

    cdef int refuse(self, c.nl_file file) except -1:
        """Close a connection that nobody wants."""
        if not file.flag:
            close(file.number)
            return 0
        c.nl_prep_close(self.ring.call_sqe(), file, unawaited_token(c.NL_OPTION))
        c.nl_files_give(&self.ring.files, file.number)
        return 0

    def stop(self):
        """Accept no more. The listening socket may be closed, and its port bound again, when this returns."""
        self.stopped = True
        if not self.attached:
            return
        if self.in_flight:
            # An accept in flight holds the socket open, so the cancelling cannot wait for the next flush.
            try:
                c.nl_prep_cancel_file(self.ring.call_sqe(), self.file, unawaited_token(c.NL_CANCEL))
                self.ring.enter(0, 0)
                self.collect()
            except RuntimeError:
                # Not the loop's thread: the ring's own end will cancel them.
                return
        self.retire_if_done()

    cdef int collect(self) except -1:
        """Take in the ends of the accepts, so that the listener is gone although no turn may follow."""
        cdef unsigned lane
        cdef int32_t result
        for lane in range(self.lanes_used):
            if self.lanes[lane].armed and self.take(c.NL_ACCEPT, lane, &result):
                self.on_completion(c.NL_ACCEPT, lane, result, 0)
        return 0

    cdef int retire_if_done(self) except -1:
        if not self.in_flight:
            self.ring.detach(self)
            self.protocol_factory = self.server = None
        return 0


def specific_address(sock):
    """A listening socket's address if every connection it accepts has the same; None for a wildcard address."""
    address = sock.getsockname()
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return address
    return None if ipaddress.ip_address(address[0].partition("%")[0]).is_unspecified else address
