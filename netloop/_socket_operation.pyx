# cython: language_level=3, boundscheck=False, wraparound=False
"""Operations on sockets of the caller: the native half of loop.sock_recv() and its kin.

Data is received into a buffer of the group that all connections share, which the kernel takes only when there is data,
so that a wait of any number of sockets holds no memory; or straight into the caller's buffer, which the operation keeps
exported until the kernel has let go.

A cancelled operation is cancelled in the kernel, at the latest before the awaiter sees CancelledError. One that had
completed by then has taken something from the socket: it is kept for the next call on the same socket object.
"""

import _socket
import collections
import errno
import os
import socket
import weakref
from asyncio import base_events

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.errno cimport EAGAIN, EBADF, EINTR, ENOBUFS, errno as last_error
from libc.string cimport memcpy
from posix.unistd cimport close as close_descriptor

from netloop cimport _cext as c
from netloop._address cimport decode_address, encode_address, encode_destination
from netloop._loop cimport LoopCore
from netloop._operation cimport CANCELLED, DONE, WAITING, Operation
from netloop._ring cimport Ring


cdef extern from "Python.h":
    Py_ssize_t PyNumber_AsSsize_t(object number, object overflow) except? -1

cdef enum:
    # An entry's length has 32 bits, and the kernel moves at most 2 GiB at once.
    MOST_AT_ONCE = 1 << 30
    # A send of this length is worth letting other threads run meanwhile.
    LONG_SEND = 64 * 1024

cdef object socket_class = socket.socket
cdef object raw_socket_class = _socket.socket
# The members below the properties of socket.socket, which make an enumeration of each number.
cdef object raw_type = _socket.socket.type
cdef object raw_family = _socket.socket.family
cdef int SOCK_STREAM = socket.SOCK_STREAM
# Errors after which the next attempt may fare better.
cdef tuple PASSING = (errno.EAGAIN, errno.EINTR, errno.ENOBUFS, errno.ENOMEM, errno.ECANCELED, errno.EBADF)
cdef tuple FAMILIES = (c.AF_INET, c.AF_INET6, c.AF_UNIX)


cdef object os_error(int error):
    return OSError(error, os.strerror(error))


cdef int family_of(object sock) except -1:
    return raw_family.__get__(sock) if isinstance(sock, raw_socket_class) else sock.family


cdef bint is_stream(object sock) except -1:
    number = raw_type.__get__(sock) if isinstance(sock, raw_socket_class) else sock.type
    return (number & 0xf) == SOCK_STREAM


cdef Py_ssize_t size_from(object number):
    """A size in bytes; 0 or less for what is none, which the socket's own method then refuses."""
    cdef Py_ssize_t size
    try:
        size = PyNumber_AsSsize_t(number, OverflowError)
    except (TypeError, OverflowError):
        return -1
    return size if size < MOST_AT_ONCE else MOST_AT_ONCE


cdef class SocketOperation(Operation):
    """The common part of operations on a socket."""

    cdef SocketCalls calls
    cdef object sock
    cdef bint writing
    cdef bint leaving

    cdef object digest(self, object data, object address):
        """What was kept of an earlier operation, as this one's result."""
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
            if self.calls.leaving and self.key() in self.calls.leaving:
                # One that was cancelled may have taken what this one must not overtake; the cancel is on its way.
                return 1
            if self.calls.kept and not self.writing and self.calls.serve(self):
                return self.retire()
        return Operation.on_flush(self)

    cdef bint is_open(self):
        """Is the descriptor still this socket's? A number that was closed is soon another file's."""
        try:
            return self.sock.fileno() == self.fd
        except Exception:
            return False

    cdef tuple key(self):
        return (id(self.sock), self.writing)

    cdef int forget(self) except -1:
        self.sock = None
        return 0

    cdef bint abandon(self) except -1:
        if self.state == WAITING and self.in_flight:
            self.leaving = True
            key = self.key()
            self.calls.leaving[key] = self.calls.leaving.get(key, 0) + 1
        return Operation.abandon(self)

    cdef int retire(self) except -1:
        if self.leaving:
            self.leaving = False
            key = self.key()
            self.calls.leaving[key] -= 1
            if not self.calls.leaving[key]:
                del self.calls.leaving[key]
        return Operation.retire(self)

    cdef int keep(self, object value, object failure) except -1:
        if failure is None:
            entry = self.entry_of(value)
            return 0 if entry is None else self.calls.keep(self.sock, entry)
        if self.room() and isinstance(failure, OSError) and failure.errno not in PASSING:
            # The kernel reports the end of a connection once.
            self.calls.keep_failure(self.sock, failure)
        return 0


@cython.final
cdef class Receive(SocketOperation):
    """recv() into a buffer of the group."""

    cdef unsigned length

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


cdef class Message(SocketOperation):
    """An operation that takes or gives an address."""

    cdef c.msghdr header
    cdef c.iovec vector
    cdef c.sockaddr_storage name

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


@cython.final
cdef class ReceiveFrom(Message):
    """recvfrom(), or a recv() of more than a buffer of the group holds, where data that does not fit is lost."""

    cdef bint with_address
    cdef Py_ssize_t length
    cdef bytes data  # memory of its own, where a buffer of the group does not do

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


cdef class ReceiveInto(Message):
    """recv_into() and recvfrom_into(): into the caller's buffer, which is kept exported until the kernel has let go."""

    cdef bint with_address
    cdef object target
    cdef Py_buffer view
    cdef bint exported
    cdef Py_ssize_t length

    def __dealloc__(self):
        self.release()

    cdef int export(self, object target) except -1:
        PyObject_GetBuffer(target, &self.view, PyBUF_WRITABLE)
        self.exported = True
        self.target = target
        self.length = min(self.view.len, MOST_AT_ONCE)
        return 0

    cdef int release(self) except -1:
        if self.exported:
            self.exported = False
            PyBuffer_Release(&self.view)
        return 0

    cdef int prepare(self) except -1:
        if self.with_address:
            self.point_at(self.view.buf, self.length)
            c.nl_prep_recvmsg(self.sqe(), c.nl_descriptor(self.fd), &self.header, 0, self.own_token())
        else:
            c.nl_prep_recv(self.sqe(), c.nl_descriptor(self.fd), self.view.buf, <unsigned>self.length, 0,
                           self.own_token())
        return 0

    cdef int retire(self) except -1:
        self.release()
        return SocketOperation.retire(self)

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
        count, address = value if self.with_address else (value, None)
        return (bytes(memoryview(self.target).cast("B")[:count]), address)


@cython.final
cdef class SendAll(SocketOperation):
    """send() until all is sent."""

    cdef Py_buffer view
    cdef bint exported
    cdef Py_ssize_t sent

    def __dealloc__(self):
        self.release()

    cdef int export(self, object data) except -1:
        PyObject_GetBuffer(data, &self.view, PyBUF_SIMPLE)
        self.exported = True
        return 0

    cdef int release(self) except -1:
        if self.exported:
            self.exported = False
            PyBuffer_Release(&self.view)
        return 0

    cdef int prepare(self) except -1:
        cdef Py_ssize_t length = min(self.view.len - self.sent, MOST_AT_ONCE)
        c.nl_prep_send(self.sqe(), c.nl_descriptor(self.fd), <const char *>self.view.buf + self.sent,
                       <unsigned>length, self.own_token())
        return 0

    cdef int on_completion(self, unsigned op, unsigned lane, int res, unsigned flags) except -1:
        if res > 0:
            self.sent += res
        if res >= 0 and self.sent < self.view.len and self.state == WAITING:
            return self.mark_dirty()
        return Operation.on_completion(self, op, lane, res, flags)

    cdef int retire(self) except -1:
        self.release()
        return SocketOperation.retire(self)


@cython.final
cdef class SendTo(Message):
    """sendto() of one datagram that found no room at once."""

    cdef Py_buffer view
    cdef bint exported

    def __dealloc__(self):
        self.release()

    cdef int export(self, object data) except -1:
        PyObject_GetBuffer(data, &self.view, PyBUF_SIMPLE)
        self.exported = True
        return 0

    cdef int release(self) except -1:
        if self.exported:
            self.exported = False
            PyBuffer_Release(&self.view)
        return 0

    cdef int address_to(self, bytes name) except -1:
        self.point_at(self.view.buf, self.view.len)
        memcpy(&self.name, PyBytes_AS_STRING(name), len(name))
        self.header.msg_namelen = <c.socklen_t>len(name)
        return 0

    cdef int prepare(self) except -1:
        c.nl_prep_sendmsg(self.sqe(), c.nl_descriptor(self.fd), &self.header, 0, self.own_token())
        return 0

    cdef object result_of(self, int res, unsigned flags):
        return res

    cdef int retire(self) except -1:
        self.release()
        return SocketOperation.retire(self)


@cython.final
cdef class Accept(SocketOperation):
    """accept(): a non-blocking, close-on-exec socket and the peer's address."""

    cdef c.sockaddr_storage name
    cdef c.socklen_t length

    cdef int prepare(self) except -1:
        self.length = sizeof(self.name)
        c.nl_prep_accept(self.sqe(), c.nl_descriptor(self.fd), <c.sockaddr *>&self.name, &self.length, -1,
                         self.own_token())
        return 0

    cdef object result_of(self, int res, unsigned flags):
        try:
            connection = socket_class(self.sock.family, self.sock.type, self.sock.proto, fileno=res)
        except BaseException:
            close_descriptor(res)
            raise
        connection.settimeout(0)
        if self.name.ss_family in FAMILIES:
            return connection, decode_address(&self.name, self.length)
        return connection, connection.getpeername()

    cdef int on_abandoned(self, unsigned op, unsigned lane, int res, unsigned flags) except -1:
        if res >= 0:
            close_descriptor(res)
        return 0

    cdef object digest(self, object data, object address):
        return (data, address)

    cdef tuple entry_of(self, object value):
        return value


@cython.final
cdef class Connect(SocketOperation):
    """connect() on a non-blocking socket."""

    cdef c.sockaddr_storage name
    cdef c.socklen_t length
    cdef object address

    cdef int prepare(self) except -1:
        c.nl_prep_connect(self.sqe(), c.nl_descriptor(self.fd), <c.sockaddr *>&self.name, self.length,
                          self.own_token())
        return 0

    cdef object error_of(self, int res):
        return OSError(-res, f"Connect call failed {self.address}")


cdef class SocketCalls:
    """Starts the operations of one loop on sockets of the caller, and keeps what cancelled ones have taken.

    Each method returns an operation to be awaited. What a socket's own method would refuse, that method is made to
    refuse: the errors are the same, and so are their words.
    """

    cdef LoopCore loop
    cdef dict transports
    # What operations that are being cancelled may still take: (socket's id, is it a send?) → how many there are.
    cdef dict leaving
    # Socket → what was taken from it that nobody got: (data, address), or an exception.
    cdef dict kept
    cdef object kept_by_socket

    def __init__(self, loop, transports):
        self.loop = loop
        self.transports = transports.data
        self.leaving = {}
        self.kept_by_socket = weakref.WeakKeyDictionary()
        self.kept = self.kept_by_socket.data

    cdef int check(self, object sock) except -2:
        """Refuse what asyncio refuses; the socket's descriptor, or -1 if it is closed."""
        cdef int fd
        if type(sock) is not socket_class:
            base_events._check_ssl_socket(sock)
        if self.loop._debug and sock.gettimeout() != 0:
            raise ValueError("the socket must be non-blocking")
        number = sock.fileno()
        if number in self.transports:
            self.loop._check_no_transport(number)
        fd = number
        return fd if fd >= 0 else -1

    cdef Operation answer(self, object value):
        """An operation that has its result."""
        cdef Operation operation = Operation.__new__(Operation)
        operation.loop = self.loop
        operation.fd = -1
        operation.finish(value, None)
        return operation

    cdef Operation begin(self, SocketOperation operation, object sock, int fd, unsigned op):
        operation.calls = self
        operation.sock = sock
        operation.loop = self.loop
        if not self.kept or operation.writing or not self.serve(operation):
            operation.start(self.loop, fd, op)
        return operation

    # The calls ------------------------------------------------------------------------------------------------------

    def receive(self, sock, n):
        """recv()"""
        cdef int fd = self.check(sock)
        cdef Py_ssize_t size = size_from(n)
        cdef Receive operation
        cdef ReceiveFrom whole
        if fd < 0 or size <= 0:
            return self.answer(sock.recv(n))
        if size > <Py_ssize_t>self.loop.ring.streams.size:
            if not is_stream(sock):
                whole = ReceiveFrom.__new__(ReceiveFrom)
                whole.length = size
                return self.begin(whole, sock, fd, c.NL_SINGLE)
            size = self.loop.ring.streams.size
        operation = Receive.__new__(Receive)
        operation.length = <unsigned>size
        return self.begin(operation, sock, fd, c.NL_RECV)

    def receive_into(self, sock, buffer):
        """recv_into()"""
        cdef int fd = self.check(sock)
        cdef ReceiveInto operation = ReceiveInto.__new__(ReceiveInto)
        try:
            operation.export(buffer)
        except (TypeError, BufferError):
            return self.answer(sock.recv_into(buffer))
        if fd < 0 or not operation.length:
            return self.answer(sock.recv_into(buffer))
        return self.begin(operation, sock, fd, c.NL_SINGLE)

    def receive_from(self, sock, n):
        """recvfrom()"""
        cdef int fd = self.check(sock)
        cdef ReceiveFrom operation = ReceiveFrom.__new__(ReceiveFrom)
        operation.length = size_from(n)
        if fd < 0 or operation.length < 0:
            return self.answer(sock.recvfrom(n))
        operation.with_address = True
        return self.begin(operation, sock, fd, c.NL_SINGLE)

    def receive_from_into(self, sock, buffer, nbytes):
        """recvfrom_into()"""
        cdef int fd = self.check(sock)
        cdef ReceiveInto operation = ReceiveInto.__new__(ReceiveInto)
        cdef Py_ssize_t size = size_from(nbytes)
        try:
            operation.export(buffer)
        except (TypeError, BufferError):
            return self.answer(sock.recvfrom_into(buffer, nbytes))
        if fd < 0 or size < 0 or size > operation.view.len:
            return self.answer(sock.recvfrom_into(buffer, nbytes))
        if size:
            operation.length = size
        operation.with_address = True
        return self.begin(operation, sock, fd, c.NL_SINGLE)

    def accept(self, sock):
        """accept()"""
        cdef int fd = self.check(sock)
        if fd < 0:
            return self.answer(sock.accept())
        return self.begin(Accept.__new__(Accept), sock, fd, c.NL_SINGLE)

    def connect(self, sock, address):
        """connect(); the address is numeric."""
        cdef int fd = self.check(sock)
        cdef Connect operation = Connect.__new__(Connect)
        if fd < 0:
            return self.answer(sock.connect(address))
        operation.length = encode_address(family_of(sock), address, &operation.name)
        operation.address = address
        operation.writing = True
        self.begin(operation, sock, fd, c.NL_SINGLE)
        # A peer in the same thread may wait for the connection before the loop's next turn.
        if c.nl_ring_space(&operation.ring.ring):
            operation.on_flush()
            operation.ring.submit_sends()
        return operation

    def send_all(self, sock, data):
        """send() of everything; None if all went at once, as it mostly does."""
        cdef int fd = self.check(sock)
        cdef SendAll operation
        cdef Py_buffer view
        cdef Py_ssize_t sent = 0
        if fd < 0:
            return self.answer(sock.send(data))
        if not self.leaving or (id(sock), True) not in self.leaving:
            PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
            try:
                sent = send_now(fd, view.buf, view.len)
                if sent == view.len:
                    return None
            finally:
                PyBuffer_Release(&view)
        operation = SendAll.__new__(SendAll)
        operation.export(data)
        operation.sent = max(sent, 0)
        operation.writing = True
        return self.begin(operation, sock, fd, c.NL_SINGLE)

    def send_to(self, sock, data, address):
        """sendto(), where an attempt has found no room"""
        cdef int fd = self.check(sock)
        cdef SendTo operation = SendTo.__new__(SendTo)
        operation.export(data)
        operation.address_to(encode_destination(family_of(sock), address))
        operation.writing = True
        return self.begin(operation, sock, fd, c.NL_SINGLE)

    # What cancelled operations have taken ---------------------------------------------------------------------------

    cdef int keep(self, object sock, tuple entry) except -1:
        """Keep what was taken from a socket for the next call on it."""
        if self.loop._closed or sock.fileno() < 0:
            # There will be no other call.
            discard(entry)
            return 0
        if isinstance(entry[0], bytes):
            if not entry[0] and is_stream(sock):
                return 0  # the end of a stream is there again at the next receive
            if entry[1] is None and not is_stream(sock):
                entry = (entry[0], peer_of(sock))
        self.kept_by_socket.setdefault(sock, collections.deque()).append(entry)
        return 0

    cdef int keep_failure(self, object sock, object failure) except -1:
        self.kept_by_socket.setdefault(sock, collections.deque()).append(failure)
        return 0

    cdef bint serve(self, SocketOperation operation) except -1:
        """Give an operation that is to begin what was kept for its socket; says whether there was anything."""
        entries = self.kept_by_socket.get(operation.sock)
        if not entries:
            return False
        entry = entries.popleft()
        if isinstance(entry, BaseException):
            operation.finish(None, entry)
        else:
            data, address = entry
            if isinstance(data, bytes):
                room = operation.room()
                if len(data) > room and is_stream(operation.sock):
                    entries.appendleft((data[room:], address))
                data = data[:room]
            operation.finish(operation.digest(data, address), None)
        if not entries:
            del self.kept_by_socket[operation.sock]
        return True

    def close(self):
        """The loop is closed: nobody will come for the connections that were kept."""
        for entries in self.kept_by_socket.values():
            for entry in entries:
                discard(entry)
        self.kept_by_socket.clear()
        self.leaving.clear()


cdef int discard(object entry) except -1:
    if isinstance(entry, tuple) and isinstance(entry[0], socket_class):
        entry[0].close()
    return 0


cdef Py_ssize_t send_now(int fd, const void *data, Py_ssize_t length) except -2:
    """Send what goes without waiting; -1 if nothing does."""
    cdef ssize_t sent
    if length < LONG_SEND:
        sent = c.send(fd, data, length, c.MSG_DONTWAIT | c.MSG_NOSIGNAL)
    else:
        with nogil:
            sent = c.send(fd, data, length, c.MSG_DONTWAIT | c.MSG_NOSIGNAL)
    if sent < 0 and last_error != EAGAIN and last_error != EINTR:
        raise os_error(last_error)
    return sent


cdef object peer_of(object sock):
    """Where the data of a connected socket comes from; None if it is not connected."""
    try:
        return sock.getpeername()
    except OSError:
        return None
