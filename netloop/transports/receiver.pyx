# cython: language_level=3, boundscheck=False, wraparound=False
"""The receiving half of a stream transport: a byte's way from the kernel to the protocol.

There are two ways. Mostly one multishot receive takes buffers of the group that all connections share, and what
arrived is copied out of them. A connection that keeps filling such buffers is told by a poll that there is data, and
receives it straight into a new bytes object or the protocol's own buffer: that saves the copy and the cache, in which
a round of large buffers does not stay. An echo of 128 KiB messages over 100 connections cost 1.25 times uvloop's CPU
the first way, 0.95 times the second; at 16 KiB and less the first is the cheaper.
"""

import asyncio
from asyncio.log import logger

cimport cython
from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.errno cimport EAGAIN, EINPROGRESS, EINTR, ENOBUFS
from libc.stdint cimport int32_t
from libc.string cimport memcpy

from netloop.core cimport cext as c
from netloop.core.cext cimport NL_DRAINING
from netloop.transports.socket_transport cimport os_error
from netloop.transports.base cimport ByteTaker


cdef extern from "Python.h":
    int PyContext_Enter(object context) except -1
    int PyContext_Exit(object context) except -1
    # A bytes object that nobody else has seen may be made shorter; Cython's own references would stand in the way.
    ctypedef struct PyObject
    PyObject *new_bytes "PyBytes_FromStringAndSize"(const char *data, Py_ssize_t length) except NULL
    char *data_of "PyBytes_AS_STRING"(PyObject *data)
    int _PyBytes_Resize(PyObject **data, Py_ssize_t length) except -1
    void Py_DECREF(PyObject *data)

cdef extern from "<poll.h>":
    enum:
        POLLIN
        POLLRDHUP

cdef enum:
    # What counts as large, and after how many large receives in a row a connection receives on its own.
    LARGE = 64 * 1024
    LARGE_IN_A_ROW = 4
    # What counts as small, and after how many in a row it goes back to the group.
    SMALL = 16 * 1024
    SMALL_IN_A_ROW = 8
    # The most that is received at once in the second way, the same as uvloop's and asyncio's.
    MOST = 256 * 1024

cdef object BufferedProtocol = asyncio.BufferedProtocol


@cython.no_gc
cdef class ProtocolBuffer:
    """The memory of a BufferedProtocol, which cannot move or go away before this object does."""

    def __cinit__(self, memory):
        PyObject_GetBuffer(memory, &self.view, PyBUF_WRITABLE)

    def __dealloc__(self):
        PyBuffer_Release(&self.view)


cdef class StreamReceiver(SocketTransport):
    """What a stream transport does to receive."""

    cdef bint has_receive(self) noexcept:
        return self.receiving

    def set_protocol(self, protocol):
        """Change the protocol; see asyncio.BaseTransport.set_protocol."""
        SocketTransport.set_protocol(self, protocol)
        self.buffered = isinstance(protocol, BufferedProtocol)
        self.takes_bytes = isinstance(protocol, ByteTaker)

    cdef int flush_receive(self) except -1:
        """Arm the receive or the poll, or cancel it, as wanted."""
        cdef bint wanted = (self.started and self.state < NL_DRAINING and not self.paused and not self.read_ended)
        if wanted and not self.receiving:
            self.receiving = True
            if self.alone:
                self.armed = c.NL_POLL
                c.nl_prep_poll(self.sqe(), self.file, POLLIN | POLLRDHUP, self.token(c.NL_POLL, 0))
                return 0
            self.ring.streams.open(self.ring)
            self.armed = c.NL_RECV
            c.nl_prep_recv_multishot(self.sqe(), self.file, self.ring.streams.buffers.group, self.token(c.NL_RECV, 0))
        elif self.receiving and not self.receive_cancelled and (not wanted or self.alone and self.armed == c.NL_RECV):
            c.nl_prep_cancel(c.nl_ring_sqe(&self.ring.ring), self.token(self.armed, 0), self.token(c.NL_CANCEL, 0))
            self.receive_cancelled = True
        return 0

    cdef int note_large(self, int length) except -1:
        """Count receives that show which way of receiving suits this connection."""
        cdef bint other = length < SMALL if self.alone else length >= LARGE
        if not other:
            self.in_a_row = 0
            return 0
        self.in_a_row += 1
        if self.in_a_row >= (SMALL_IN_A_ROW if self.alone else LARGE_IN_A_ROW):
            self.in_a_row = 0
            self.alone = not self.alone
            self.mark_dirty()
        return 0

    # Into the buffers of the group ------------------------------------------------------------------------------

    cdef int on_received(self, int res, unsigned flags) except -1:
        if not flags & c.IORING_CQE_F_MORE:
            self.receiving = self.receive_cancelled = False
            if res > 0:
                # Marked before the protocol is called, because an exit from there must not leave it disarmed.
                self.mark_dirty()
        if res > 0:
            return self.receive_data(res, flags)
        self.give_back(flags)
        if self.receiving:
            return 0
        if res == -ENOBUFS:
            # Nothing is lost: the data stays in the socket until the receive is armed again.
            return self.ring.streams.starve(self)
        return self.receive_nothing(res)

    cdef int receive_data(self, int length, unsigned flags) except -1:
        """A chunk has arrived in a buffer of the group."""
        cdef const unsigned char *data = c.nl_buffers_take(&self.ring.streams.buffers, flags)
        cdef bytes copy
        c.nl_buffers_note(&self.ring.streams.buffers, length)
        if length >= LARGE or self.in_a_row:
            self.note_large(length)
        if self.buffered and self.state < NL_DRAINING and not self.paused and not self.backlog:
            # The protocol's memory is asked for while ours is held, which saves copying twice.
            try:
                self.fill_buffers(data, length)
            finally:
                c.nl_buffers_give(&self.ring.streams.buffers, flags)
            return 0
        try:
            copy = None if self.state >= NL_DRAINING else PyBytes_FromStringAndSize(<const char *>data, length)
        finally:
            c.nl_buffers_give(&self.ring.streams.buffers, flags)
        if copy is None:
            return 0
        if self.paused or self.backlog:
            return self.hold_back(copy)
        return self.deliver(copy)

    cdef int put_back(self, const unsigned char *data, Py_ssize_t length) except -1:
        """Keep the rest of what the protocol was being given; it comes before all that is held back."""
        if self.backlog is None:
            self.backlog = []
        self.backlog.insert(0, PyBytes_FromStringAndSize(<const char *>data, length))
        return 0

    cdef int deliver(self, object data) except -1:
        if self.buffered:
            return self.fill_buffers(<const unsigned char *>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
        return SocketTransport.deliver(self, data)

    cdef int fill_buffers(self, const unsigned char *data, Py_ssize_t length) except -1:
        """Copy into buffers of a BufferedProtocol until all is used or it wants no more."""
        cdef Py_ssize_t used = 0
        PyContext_Enter(self.context)
        try:
            while used < length and self.state < NL_DRAINING:
                if self.paused or not self.buffered:
                    self.put_back(data + used, length - used)
                    if not self.paused:
                        self.loop.call_soon(self._deliver_backlog)
                    break
                self.fill_buffer(data, length, &used)
        except (SystemExit, KeyboardInterrupt):
            # The loop is left; should it run again, the rest is still to be delivered.
            if used < length:
                self.put_back(data + used, length - used)
                self.loop.call_soon(self._deliver_backlog)
            raise
        finally:
            PyContext_Exit(self.context)
        return 0

    cdef int fill_buffer(self, const unsigned char *data, Py_ssize_t length, Py_ssize_t *used) except -1:
        """One get_buffer() and buffer_updated() with what comes after the first `used` bytes."""
        cdef Py_buffer view
        cdef Py_ssize_t part
        cdef str doing = "get_buffer"
        try:
            if self.takes_bytes:
                doing = "buffer_updated"
                part, used[0] = used[0], length
                (<ByteTaker>self.protocol).take(data + part, length - part)
                return 0
            memory = self.protocol.get_buffer(length - used[0])
            PyObject_GetBuffer(memory, &view, PyBUF_WRITABLE)
            part = min(view.len, length - used[0])
            memcpy(view.buf, data + used[0], part)
            PyBuffer_Release(&view)
            if not part:
                raise RuntimeError("get_buffer() returned an empty buffer")
            doing = "buffer_updated"
            used[0] += part
            self.protocol.buffer_updated(part)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            self.fail(exc, f"Fatal error: protocol.{doing}() call failed.")
        return 0

    cdef int end_reading(self) except -1:
        """The peer has sent its last byte."""
        self.read_ended = True
        if self.state >= NL_DRAINING:
            return 0
        if self.paused or self.backlog:
            self.end_held_back = True
            return 0
        if self.loop._debug:
            logger.debug("%r received EOF", self)
        PyContext_Enter(self.context)
        try:
            keep_open = self.protocol.eof_received()
        except (SystemExit, KeyboardInterrupt):
            # Its answer is not known, and the question will not be asked again.
            self.close()
            raise
        except BaseException as exc:
            self.fail(exc, "Fatal error: protocol.eof_received() call failed.")
        else:
            if not keep_open:
                self.close()
        finally:
            PyContext_Exit(self.context)
        return 0

    # Straight to where it stays -------------------------------------------------------------------------------------

    cdef int on_readable(self, int res) except -1:
        """The poll has completed."""
        self.receiving = self.receive_cancelled = False
        # Marked before the protocol is called, because an exit from there must not leave it disarmed.
        self.mark_dirty()
        if self.state >= NL_DRAINING or self.paused or res == -c.ECANCELED:
            return 0
        if res < 0:
            return self.fail(os_error(res), "Fatal read error on socket transport")
        return self.receive_into_protocol() if self.buffered and not self.backlog else self.receive_bytes()

    cdef int32_t receive_now(self, void *memory, size_t length) except? -1:
        """Receive what is there: how much, or -errno.

        -EINPROGRESS: the kernel takes no submissions for now, and will receive in the turn's own enter.
        """
        cdef int32_t result
        if not c.nl_ring_space(&self.ring.ring):
            return -EAGAIN
        c.nl_prep_recv(self.sqe(), self.file, memory, <unsigned>length, c.MSG_DONTWAIT, self.token(c.NL_READ, 0))
        self.ring.submit_sends()
        if not c.nl_ring_take(&self.ring.ring, self.token(c.NL_READ, 0), &result):
            self.receiving = True
            self.armed = c.NL_READ
            return -EINPROGRESS
        self.in_flight -= 1
        self.ring.in_flight -= 1
        return result

    cdef int receive_bytes(self) except -1:
        cdef PyObject *data = new_bytes(NULL, MOST)
        cdef int32_t length = self.receive_now(data_of(data), MOST)
        if 0 < length < MOST:
            _PyBytes_Resize(&data, length)
        received = <object>data
        Py_DECREF(data)
        if length > 0:
            return self.receive_own(received)
        if length == -EINPROGRESS:
            self.held = received
            return 0
        return self.receive_nothing(length)

    cdef int receive_own(self, object data) except -1:
        """Hand over what was received into an object of its own."""
        self.note_large(<int>PyBytes_GET_SIZE(data))
        return self.hold_back(data) if self.paused or self.backlog else self.deliver(data)

    cdef int receive_nothing(self, int res) except -1:
        """A receive of either way has ended without data: the peer's end, or -errno."""
        if res == 0:
            return self.end_reading()
        if res == -EAGAIN or res == -EINTR or res == -c.ECANCELED:
            return self.mark_dirty()
        return self.fail(os_error(res), "Fatal read error on socket transport")

    cdef int receive_into_protocol(self) except -1:
        """Receive into the buffer of a BufferedProtocol."""
        cdef ProtocolBuffer memory
        cdef int32_t length
        PyContext_Enter(self.context)
        try:
            memory = ProtocolBuffer(self.protocol.get_buffer(-1))
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            return self.fail(exc, "Fatal error: protocol.get_buffer() call failed.")
        finally:
            PyContext_Exit(self.context)
        if not memory.view.len:
            return self.fail(RuntimeError("get_buffer() returned an empty buffer"),
                             "Fatal error: protocol.get_buffer() call failed.")
        if self.state >= NL_DRAINING or self.paused or not self.buffered:
            return 0
        length = self.receive_now(memory.view.buf, min(memory.view.len, <Py_ssize_t>MOST))
        if length == -EINPROGRESS:
            self.held = memory
            return 0
        memory = None
        return self.updated(length) if length > 0 else self.receive_nothing(length)

    cdef int updated(self, Py_ssize_t length) except -1:
        self.note_large(<int>length)
        PyContext_Enter(self.context)
        try:
            self.protocol.buffer_updated(length)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            self.fail(exc, "Fatal error: protocol.buffer_updated() call failed.")
        finally:
            PyContext_Exit(self.context)
        return 0

    cdef int on_filled(self, int res) except -1:
        """A receive has completed that the kernel had not taken at once."""
        cdef object held = self.held
        self.held = None
        self.receiving = self.receive_cancelled = False
        self.mark_dirty()
        if res <= 0:
            return self.receive_nothing(res)
        if self.state >= NL_DRAINING:
            return 0
        if isinstance(held, ProtocolBuffer):
            # Not by buffer_updated(): the protocol may be another one by now, or be paused.
            held = PyBytes_FromStringAndSize(<const char *>(<ProtocolBuffer>held).view.buf, res)
        else:
            held = (<bytes>held)[:res]
        return self.receive_own(held)

    cdef int on_abandoned(self, unsigned op, unsigned lane, int res, unsigned flags) except -1:
        if op == c.NL_READ:
            self.held = None
        return 0
