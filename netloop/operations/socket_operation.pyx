# cython: language_level=3, boundscheck=False, wraparound=False
"""Operations on sockets of the caller.

Data is received into a buffer of the group that all connections share, which the kernel takes only when there is data,
so that a wait of any number of sockets holds no memory; or straight into the caller's buffer, which the operation keeps
exported until the kernel has let go.

A cancelled operation is cancelled in the kernel, at the latest before the awaiter sees CancelledError. One that had
completed by then has taken something from the socket: it is kept for the next call on the same socket object.
"""

import _socket
import errno
import os

cimport cython
from cpython.buffer cimport PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.errno cimport EAGAIN, EBADF, ENOBUFS
from libc.string cimport memcpy

from netloop.core cimport cext as c
from netloop.transports.address cimport decode_address
from netloop.core.turn cimport LoopCore
from netloop.operations.operation cimport WAITING, Operation, Unclaimed
from netloop.core.ring cimport Ring


cdef extern from "<poll.h>":
    enum:
        POLLIN
        POLLOUT

# Seconds to the next try where no poll tells of room, doubled each time.
cdef double FIRST_PAUSE = 0.001
cdef double LAST_PAUSE = 0.05

cdef object raw_socket_class = _socket.socket
# The member below the property of socket.socket, which makes an enumeration of each number.
cdef object raw_family = _socket.socket.family
# Errors after which the next attempt may fare better.
cdef tuple PASSING = (errno.EAGAIN, errno.EINTR, errno.ENOBUFS, errno.ENOMEM, errno.ECANCELED, errno.EBADF)


cdef object os_error(int error):
    return OSError(error, os.strerror(error))


cdef int family_of(object sock) except -1:
    return raw_family.__get__(sock) if isinstance(sock, raw_socket_class) else sock.family


cdef class SocketOperation(Operation):
    """The common part of operations on a socket."""

    cdef begin(self, LoopCore loop, Unclaimed unclaimed, object sock, int fd, unsigned op):
        """Begin, unless what nobody claimed is the outcome already; returns the operation."""
        self.loop = loop
        self.unclaimed = unclaimed
        self.sock = sock
        if not unclaimed.by_socket or not self.serve():
            self.start(loop, fd, op)
        return self

    cdef bint serve(self) except -1:
        """Take what nobody claimed as the outcome; says whether there was anything."""
        entry = None if self.writing else self.unclaimed.take(self.sock, self.room())
        if entry is None:
            return False
        if isinstance(entry, tuple):
            self.finish(self.digest(entry[0], entry[1]), None)
        else:
            self.finish(None, entry)
        return True

    cdef object digest(self, object data, object address):
        """What an earlier operation has taken, as this one's result."""
        return None

    cdef tuple entry_of(self, object value):
        """A result nobody got, as (data, address)."""
        return None

    cdef Py_ssize_t room(self):
        """The most bytes that a receive takes."""
        return 0

    cdef int on_flush(self) except -1:
        if self.state == WAITING and not self.in_flight:
            if not self.is_open():
                self.retire()
                return self.finish(None, os_error(EBADF))
            if self.unclaimed.is_cancelling(self.sock, self.writing):
                # One that was cancelled may have taken what this one must not overtake; the cancel is on its way.
                return 1
            if self.unclaimed.by_socket and self.serve():
                return self.retire()
        try:
            return Operation.on_flush(self)
        except Exception as error:  # no memory for buffers
            self.retire()
            return self.finish(None, error)

    cdef bint is_open(self):
        """Is the descriptor still this socket's? A number that was closed is soon another file's."""
        try:
            return self.sock.fileno() == self.fd
        except Exception:
            return False

    cdef int forget(self) except -1:
        self.sock = None
        return 0

    cdef bint end_wait(self) except -1:
        if self.state == WAITING and self.in_flight:
            self.cancel_pending = True
            self.unclaimed.add_cancel(self.sock, self.writing)
        return Operation.end_wait(self)

    cdef int retire(self) except -1:
        if self.cancel_pending:
            self.cancel_pending = False
            self.unclaimed.remove_cancel(self.sock, self.writing)
        return Operation.retire(self)

    cdef int keep(self, object value, object failure) except -1:
        if failure is None:
            entry = self.entry_of(value)
            return 0 if entry is None else self.unclaimed.add(self.sock, entry[0], entry[1])
        if self.room() and isinstance(failure, OSError) and failure.errno not in PASSING:
            # The kernel reports the end of a connection once.
            self.unclaimed.add_failure(self.sock, failure)
        return 0


cdef class Receive(SocketOperation):
    """recv() into a buffer of the group."""

    cdef int prepare(self) except -1:
        self.ring.streams.open(self.ring)
        c.nl_prep_recv_group(self.sqe(), c.nl_descriptor(self.fd), self.length, self.ring.streams.buffers.group,
                             self.own_token())
        return 0

    cdef int on_completion(self, unsigned op, unsigned lane, int res, unsigned flags) except -1:
        if res == -ENOBUFS and self.state == WAITING:
            return self.ring.streams.starve(self)
        return Operation.on_completion(self, op, lane, res, flags)

    cdef object result_of(self, int res, unsigned flags):
        return take_data(self.ring, res, flags)

    cdef Py_ssize_t room(self):
        return self.length

    cdef object digest(self, object data, object address):
        return data

    cdef tuple entry_of(self, object value):
        return (value, None)


cdef bytes take_data(Ring ring, int length, unsigned flags):
    """The data that a completion has brought in a buffer of the group."""
    cdef const unsigned char *data
    if not flags & c.IORING_CQE_F_BUFFER:
        return b""
    data = c.nl_buffers_take(&ring.streams.buffers, flags)
    c.nl_buffers_note(&ring.streams.buffers, length)
    try:
        return PyBytes_FromStringAndSize(<const char *>data, length)
    finally:
        c.nl_buffers_give(&ring.streams.buffers, flags)


# The collector must not clear what these classes hold: an export that has lost its owner is never given back.
@cython.no_gc_clear
cdef class BufferOperation(SocketOperation):
    """An operation on memory of the caller, which is kept exported until the kernel has let go."""

    def __dealloc__(self):
        self.release()

    cdef int export(self, object target, int flags) except -1:
        PyObject_GetBuffer(target, &self.view, flags)
        self.exported = True
        return 0

    cdef int release(self) except -1:
        if self.exported:
            self.exported = False
            PyBuffer_Release(&self.view)
        return 0

    cdef int retire(self) except -1:
        self.release()
        return SocketOperation.retire(self)

    cdef bint end_wait(self) except -1:
        """The caller may use its memory for something else as soon as it has cancelled."""
        SocketOperation.end_wait(self)
        if self.exported and self.attached:
            self.withdraw()
        return True

    cdef int on_abandoned(self, unsigned op, unsigned lane, int res, unsigned flags) except -1:
        return self.release()

    cdef int on_ring_closed(self) except -1:
        return 0 if self.in_flight else self.release()


@cython.no_gc_clear
cdef class Message(BufferOperation):
    """An operation that takes or gives an address."""

    cdef int point_at(self, void *data, size_t length) noexcept:
        self.vector.iov_base = data
        self.vector.iov_len = length
        self.header.msg_iov = &self.vector
        self.header.msg_iovlen = 1
        self.header.msg_name = &self.name
        self.header.msg_namelen = sizeof(self.name)
        return 0

    cdef object address(self):
        return decode_address(&self.name, self.header.msg_namelen)


@cython.no_gc_clear
cdef class ReceiveFrom(Message):
    """recvfrom(), or a recv() of more than a buffer of the group holds, where data that does not fit is lost."""

    cdef int prepare(self) except -1:
        self.ring.streams.open(self.ring)
        if 0 < self.length <= <Py_ssize_t>self.ring.streams.size:
            self.op = c.NL_RECV
            self.point_at(NULL, self.length)
            c.nl_prep_recvmsg_group(self.sqe(), c.nl_descriptor(self.fd), &self.header,
                                    self.ring.streams.buffers.group, self.own_token())
            return 0
        self.op = c.NL_SINGLE
        self.data = PyBytes_FromStringAndSize(NULL, self.length)
        self.point_at(PyBytes_AS_STRING(self.data), self.length)
        c.nl_prep_recvmsg(self.sqe(), c.nl_descriptor(self.fd), &self.header, 0, self.own_token())
        return 0

    cdef int on_completion(self, unsigned op, unsigned lane, int res, unsigned flags) except -1:
        if res == -ENOBUFS and self.state == WAITING and self.data is None:
            return self.ring.streams.starve(self)
        return Operation.on_completion(self, op, lane, res, flags)

    cdef object result_of(self, int res, unsigned flags):
        data = take_data(self.ring, res, flags) if self.data is None else self.data[:res]
        return (data, self.address()) if self.with_address else data

    cdef Py_ssize_t room(self):
        return self.length

    cdef object digest(self, object data, object address):
        return (data, address) if self.with_address else data

    cdef tuple entry_of(self, object value):
        return value if self.with_address else (value, self.address())


@cython.no_gc_clear
cdef class ReceiveInto(Message):
    """recv_into() and recvfrom_into(): into the caller's buffer, which is kept exported until the kernel has let go."""

    cdef int export(self, object target, int flags) except -1:
        BufferOperation.export(self, target, flags)
        self.target = target
        self.length = min(self.view.len, MOST_AT_ONCE)
        return 0

    cdef int prepare(self) except -1:
        if self.with_address:
            self.point_at(self.view.buf, self.length)
            c.nl_prep_recvmsg(self.sqe(), c.nl_descriptor(self.fd), &self.header, 0, self.own_token())
        else:
            c.nl_prep_recv(self.sqe(), c.nl_descriptor(self.fd), self.view.buf, <unsigned>self.length, 0,
                           self.own_token())
        return 0

    cdef int forget(self) except -1:
        # A memoryview keeps what it views from being resized.
        self.target = None
        return SocketOperation.forget(self)

    cdef object result_of(self, int res, unsigned flags):
        return (res, self.address()) if self.with_address else res

    cdef Py_ssize_t room(self):
        return self.length

    cdef object digest(self, object data, object address):
        memcpy(self.view.buf, PyBytes_AS_STRING(data), len(data))
        self.release()
        return (len(data), address) if self.with_address else len(data)

    cdef tuple entry_of(self, object value):
        return (self.received(value) if self.held is None else self.held, value[1] if self.with_address else None)

    cdef int set_aside(self) except -1:
        if self.failure is None and self.held is None:
            self.held = self.received(self.value)
        return 0

    cdef bytes received(self, object value):
        return bytes(memoryview(self.target).cast("B")[:value[0] if self.with_address else value])


@cython.no_gc_clear
cdef class SendAll(BufferOperation):
    """send() until all is sent."""

    cdef int prepare(self) except -1:
        cdef Py_ssize_t length = min(self.view.len - self.sent, MOST_AT_ONCE)
        c.nl_prep_send(self.sqe(), c.nl_descriptor(self.fd), <const char *>self.view.buf + self.sent,
                       <unsigned>length, self.own_token())
        return 0

    cdef int on_completion(self, unsigned op, unsigned lane, int res, unsigned flags) except -1:
        if res >= 0 and self.sent + res < self.view.len and self.state == WAITING:
            self.sent += res
            return self.mark_dirty()
        return Operation.on_completion(self, op, lane, res, flags)

    cdef int settle(self, int res, unsigned flags) except -1:
        if res > 0:
            self.sent += res
        return BufferOperation.settle(self, res, flags)


@cython.no_gc_clear
cdef class SendTo(Message):
    """send() or sendto() of one datagram that found no room at once.

    It does not wait in the kernel. Linux 6.18 has copied a UNIX datagram's payload when it finds the receiver full, and
    what it sends later is empty. So it comes back, and is tried again when a poll says that there is room. Of a
    receiver that the socket is not connected to no poll can tell; where it did not help there is a pause before the
    next one.
    """

    cdef int address_to(self, bytes name) except -1:
        """An empty name is the address that the socket is connected to."""
        self.point_at(self.view.buf, self.view.len)
        memcpy(&self.name, PyBytes_AS_STRING(name), len(name))
        self.header.msg_namelen = <c.socklen_t>len(name)
        self.full = True
        self.pause = FIRST_PAUSE
        return 0

    cdef int prepare(self) except -1:
        self.polling = self.full
        if self.polling:
            c.nl_prep_poll(self.sqe(), c.nl_descriptor(self.fd), POLLOUT, self.own_token())
        else:
            c.nl_prep_sendmsg(self.sqe(), c.nl_descriptor(self.fd), &self.header, c.MSG_DONTWAIT, self.own_token())
        return 0

    cdef int on_completion(self, unsigned op, unsigned lane, int res, unsigned flags) except -1:
        if self.state == WAITING:
            if self.polling and res >= 0:
                self.full = False
                return self.mark_dirty()
            if res == -EAGAIN:
                return self.come_back()
        return Operation.on_completion(self, op, lane, res, flags)

    cdef int come_back(self) except -1:
        """The poll said that there is room, and there is none."""
        self.full = True
        self.loop.call_later(self.pause, self._poll_again)
        self.pause = min(2 * self.pause, LAST_PAUSE)
        return 0

    def _poll_again(self):
        if self.state == WAITING:
            self.mark_dirty()

    cdef object result_of(self, int res, unsigned flags):
        return res if self.counting else None


cdef class Readiness(SocketOperation):
    """Waiting until a socket can be read or written: nothing is taken, so nothing is lost when it is cancelled.

    All that wait for one file are told, in this process and in others, where operations that take something are asked
    in the order in which they were begun.
    """

    cdef int prepare(self) except -1:
        c.nl_prep_poll(self.sqe(), c.nl_descriptor(self.fd), POLLOUT if self.writing else POLLIN, self.own_token())
        return 0

    cdef bint serve(self) except -1:
        return False

    cdef bint end_wait(self) except -1:
        return Operation.end_wait(self)


cdef class Connect(SocketOperation):
    """connect() of a socket that is blocking, or where a UNIX socket's backlog had no room at once."""

    cdef int prepare(self) except -1:
        c.nl_prep_connect(self.sqe(), c.nl_descriptor(self.fd), <c.sockaddr *>&self.name, self.length,
                          self.own_token())
        return 0

    cdef object error_of(self, int res):
        # As asyncio: a UNIX socket's connect() says it directly, where the others' outcome is asked for later.
        if self.name.ss_family == c.AF_UNIX:
            return os_error(-res)
        return OSError(-res, f"Connect call failed {self.address}")
