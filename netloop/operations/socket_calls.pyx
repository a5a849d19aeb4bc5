# cython: language_level=3, boundscheck=False, wraparound=False
"""The native half of loop.sock_recv() and its kin: what each call checks, and which operation it begins."""

import functools
import socket
from asyncio import base_events

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.errno cimport EAGAIN, EINTR, errno as last_error

from netloop.core cimport cext as c
from netloop.transports.address cimport encode_address, encode_destination
from netloop.core.turn cimport LoopCore
from netloop.operations.operation cimport Operation, Unclaimed, can_claim, is_stream
from netloop.operations.socket_operation cimport (
    MOST_AT_ONCE, Connect, Readiness, Receive, ReceiveFrom, ReceiveInto, SendAll, SendTo, family_of, os_error,
)


cdef extern from "Python.h":
    Py_ssize_t PyNumber_AsSsize_t(object number, object overflow) except? -1

cdef enum:
    # A send of this length is worth letting other threads run meanwhile.
    LONG_SEND = 64 * 1024

cdef object socket_class = socket.socket


cdef Py_ssize_t size_from(object number):
    """A size in bytes; 0 or less for what is none, which the socket's own method then refuses."""
    cdef Py_ssize_t size
    try:
        size = PyNumber_AsSsize_t(number, OverflowError)
    except (TypeError, OverflowError):
        return -1
    return size if size < MOST_AT_ONCE else MOST_AT_ONCE


cdef class SocketCalls:
    """Starts the operations of one loop on sockets of the caller, and keeps what cancelled ones have taken.

    Each method returns an operation to be awaited; a receive returns, for an object for which nothing can be kept, a
    coroutine that waits and then calls the object's own method. What a socket's own method would refuse, that method is
    made to refuse: the errors are the same, and so are their words.
    """

    cdef LoopCore loop
    cdef Unclaimed unclaimed
    cdef dict transports

    def __init__(self, loop, transports):
        self.loop = loop
        self.transports = transports.data
        self.unclaimed = Unclaimed()

    cpdef int check(self, object sock) except -2:
        """Refuse what asyncio refuses; the socket's descriptor, or -1 if it is closed."""
        cdef int fd
        if self.loop is None:
            raise RuntimeError("Event loop is closed")
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

    # The calls ------------------------------------------------------------------------------------------------------

    def receive(self, sock, n):
        """recv()"""
        cdef int fd = self.check(sock)
        cdef Py_ssize_t size = size_from(n)
        cdef Receive operation
        cdef ReceiveFrom whole
        if fd < 0 or size <= 0:
            return self.answer(sock.recv(n))
        if not can_claim(sock):
            return self.loop._when_ready(sock, functools.partial(sock.recv, n))
        if size > <Py_ssize_t>self.loop.ring.streams.size:
            if not is_stream(sock):
                whole = ReceiveFrom.__new__(ReceiveFrom)
                whole.length = size
                return whole.begin(self.loop, self.unclaimed, sock, fd, c.NL_SINGLE)
            size = self.loop.ring.streams.size
        operation = Receive.__new__(Receive)
        operation.length = <unsigned>size
        return operation.begin(self.loop, self.unclaimed, sock, fd, c.NL_RECV)

    def receive_into(self, sock, buffer):
        """recv_into()"""
        cdef int fd = self.check(sock)
        cdef ReceiveInto operation = ReceiveInto.__new__(ReceiveInto)
        if not can_claim(sock):
            return self.loop._when_ready(sock, functools.partial(sock.recv_into, buffer))
        try:
            operation.export(buffer, PyBUF_WRITABLE)
        except (TypeError, BufferError):
            return self.answer(sock.recv_into(buffer))
        if fd < 0 or not operation.length:
            return self.answer(sock.recv_into(buffer))
        return operation.begin(self.loop, self.unclaimed, sock, fd, c.NL_SINGLE)

    def receive_from(self, sock, n):
        """recvfrom()"""
        cdef int fd = self.check(sock)
        cdef ReceiveFrom operation = ReceiveFrom.__new__(ReceiveFrom)
        operation.length = size_from(n)
        if fd < 0 or operation.length < 0:
            return self.answer(sock.recvfrom(n))
        if not can_claim(sock):
            return self.loop._when_ready(sock, functools.partial(sock.recvfrom, n))
        operation.with_address = True
        return operation.begin(self.loop, self.unclaimed, sock, fd, c.NL_SINGLE)

    def receive_from_into(self, sock, buffer, nbytes):
        """recvfrom_into()"""
        cdef int fd = self.check(sock)
        cdef ReceiveInto operation = ReceiveInto.__new__(ReceiveInto)
        cdef Py_ssize_t size = size_from(nbytes)
        if not can_claim(sock):
            return self.loop._when_ready(sock, functools.partial(sock.recvfrom_into, buffer, nbytes))
        try:
            operation.export(buffer, PyBUF_WRITABLE)
        except (TypeError, BufferError):
            return self.answer(sock.recvfrom_into(buffer, nbytes))
        if fd < 0 or size < 0 or size > operation.view.len:
            return self.answer(sock.recvfrom_into(buffer, nbytes))
        if size:
            operation.length = size
        operation.with_address = True
        return operation.begin(self.loop, self.unclaimed, sock, fd, c.NL_SINGLE)

    def ready(self, sock, bint writing):
        """Wait until the socket can be read or written."""
        cdef int fd = self.check(sock)
        cdef Readiness operation = Readiness.__new__(Readiness)
        if fd < 0:
            return self.answer(None)
        operation.writing = writing
        return operation.begin(self.loop, self.unclaimed, sock, fd, c.NL_SINGLE)

    def connect(self, sock, address):
        """connect(), where an attempt would block or has found no room; the address is numeric."""
        cdef int fd = self.check(sock)
        cdef Connect operation = Connect.__new__(Connect)
        if fd < 0:
            return self.answer(sock.connect(address))
        operation.length = encode_address(family_of(sock), address, &operation.name)
        operation.address = address
        operation.writing = True
        return operation.begin(self.loop, self.unclaimed, sock, fd, c.NL_SINGLE)

    def send_all(self, sock, data):
        """send() of everything; None if all went at once, as it mostly does.

        The attempt is a system call of its own, but costs no more than the submission, the completion and the turn of a
        task that waits for it: less over 10 connections, the same over 100 and over 1000.
        """
        cdef int fd = self.check(sock)
        cdef SendAll operation
        cdef Py_buffer view
        cdef Py_ssize_t sent = 0
        if fd < 0:
            return self.answer(sock.send(data))
        if not self.unclaimed.is_cancelling(sock, True):
            PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
            try:
                sent = send_now(fd, view.buf, view.len)
                if sent == view.len:
                    return None
            finally:
                PyBuffer_Release(&view)
        if not is_stream(sock):
            return self.send_datagram(sock, fd, data, b"", False)
        operation = SendAll.__new__(SendAll)
        operation.export(data, PyBUF_SIMPLE)
        operation.sent = max(sent, 0)
        operation.writing = True
        return operation.begin(self.loop, self.unclaimed, sock, fd, c.NL_SINGLE)

    def send_to(self, sock, data, address):
        """sendto(), where an attempt has found no room"""
        cdef int fd = self.check(sock)
        return self.send_datagram(sock, fd, data, encode_destination(family_of(sock), address), True)

    cdef SendTo send_datagram(self, object sock, int fd, object data, bytes name, bint counting):
        cdef SendTo operation = SendTo.__new__(SendTo)
        operation.export(data, PyBUF_SIMPLE)
        operation.address_to(name)
        operation.writing = True
        operation.counting = counting
        return operation.begin(self.loop, self.unclaimed, sock, fd, c.NL_SINGLE)

    def close(self):
        """The loop is closed: nobody will claim what was taken."""
        self.unclaimed.close()
        self.loop = None


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
