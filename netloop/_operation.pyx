# cython: language_level=3
"""One operation on a descriptor of the caller, awaited through a future.

Cancelling the future cancels the operation; the memory it works on stays alive, held by the endpoint table, until the
kernel has said that it is done with it.
"""

import os

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.errno cimport EAGAIN, EINTR
from libc.stdint cimport uint64_t

from netloop cimport _cext as c
from netloop._address cimport encode_address


cdef extern from "<poll.h>":
    enum:
        POLLIN
        POLLOUT


cdef class Operation(Endpoint):
    """The common part: starting, cancelling, and turning a completion into the future's result."""

    cdef start(self, LoopCore loop, int fd):
        self.loop = loop
        self.fd = fd
        self.future = loop.create_future()
        self.future.add_done_callback(self.on_future_done)
        loop.ring.attach(self)
        self.mark_dirty()

    def on_future_done(self, future):
        if future.cancelled() and self.attached:
            self.mark_dirty()

    cdef int prepare(self) except -1:
        """Write the submission."""
        raise NotImplementedError

    cdef object result(self, int res):
        """What a result of 0 or more means to the caller."""
        return None

    cdef int on_flush(self) except -1:
        if self.future.done():
            if not self.in_flight:
                self.ring.detach(self)
            elif not self.cancelled:
                self.cancelled = True
                c.nl_prep_cancel(c.nl_ring_sqe(&self.ring.ring), self.token(c.NL_SINGLE, 0),
                                 self.token(c.NL_CANCEL, 0))
        elif not self.in_flight:
            self.prepare()
        return 0

    cdef int on_completion(self, unsigned op, unsigned lane, int res, unsigned flags) except -1:
        if not self.future.done():
            if res == -EAGAIN or res == -EINTR:
                return self.mark_dirty()
            if res < 0:
                self.future.set_exception(self.error(res))
            else:
                self.future.set_result(self.result(res))
        self.ring.detach(self)
        return 0

    def error(self, res):
        return OSError(-res, os.strerror(-res))


cdef class Connect(Operation):
    """connect() on a non-blocking socket."""

    cdef c.sockaddr_storage address
    cdef c.socklen_t length
    cdef object name

    def __init__(self, loop, sock, address):
        self.length = encode_address(sock.family, address, &self.address)
        self.name = address
        self.start(loop, sock.fileno())

    cdef int prepare(self) except -1:
        c.nl_prep_connect(self.sqe(), c.nl_descriptor(self.fd), <c.sockaddr *>&self.address, self.length,
                          self.token(c.NL_SINGLE, 0))
        return 0

    def error(self, res):
        return OSError(-res, f"Connect call failed {self.name}")


cdef class Poll(Operation):
    """Waiting for a descriptor to become readable or writable."""

    cdef unsigned events

    def __init__(self, loop, int fd, bint writing):
        self.events = POLLOUT if writing else POLLIN
        self.start(loop, fd)

    cdef int prepare(self) except -1:
        c.nl_prep_poll(self.sqe(), c.nl_descriptor(self.fd), self.events, self.token(c.NL_SINGLE, 0))
        return 0


cdef class ReadFile(Operation):
    """Reading from a place in a regular file; the result is bytes, fewer than asked for at the file's end."""

    cdef bytes data
    cdef unsigned length
    cdef uint64_t offset

    def __init__(self, loop, int fd, uint64_t offset, unsigned length):
        self.data = PyBytes_FromStringAndSize(NULL, length)
        self.offset, self.length = offset, length
        self.start(loop, fd)

    cdef int prepare(self) except -1:
        c.nl_prep_read(self.sqe(), c.nl_descriptor(self.fd), PyBytes_AS_STRING(self.data), self.length, self.offset,
                       self.token(c.NL_SINGLE, 0))
        return 0

    cdef object result(self, int res):
        return self.data if <unsigned>res == self.length else self.data[:res]
