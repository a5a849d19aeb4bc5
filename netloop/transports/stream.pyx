# cython: language_level=3, boundscheck=False, wraparound=False
"""The stream transport: a byte's way from the kernel to the protocol, and from write() to the kernel.

What the transport wants (to receive, to send) is kept in its fields. on_flush() compares that with what is in flight
and writes the submissions that make up the difference; on_completion() takes in what has happened. Methods of the
application change the fields and mark the transport dirty; only a large outbox is sent without waiting for the flush.

There are two ways to receive. Mostly one multishot receive takes buffers of the group that all connections share, and
what arrived is copied out of them. A connection that keeps filling such buffers is told by a poll that there is data,
and receives it straight into a new bytes object or the protocol's own buffer: that saves the copy and the cache, in
which a round of large buffers does not stay. An echo of 128 KiB messages over 100 connections cost 1.25 times uvloop's
CPU the first way, 0.95 times the second; at 16 KiB and less the first is the cheaper.

A LeaseProtocol is handed the buffers themselves, of the pool that it names, in both ways.
"""

import asyncio
import sys
from asyncio import constants, transports
from asyncio.log import logger

cimport cython
from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.errno cimport EAGAIN, EINPROGRESS, EINTR, ENOBUFS
from libc.stdint cimport int32_t
from libc.string cimport memcpy

from netloop.core cimport cext as c
from netloop.core.cext cimport NL_CANCELLING, NL_CLOSING, NL_DRAINING, NL_HALF_CLOSED, NL_OPEN
from netloop.core.lease_protocol import LeaseProtocol as LeaseProtocol_, LeaseTransport
from netloop.core.pool cimport BufferPool, Lease, LeaseReceiver, private_lease, taken_bytes
from netloop.transports.base cimport ByteTaker, names_of, os_error
from netloop.transports.outbox cimport (
    NextSend, outbox_add, outbox_add_lease, outbox_advance, outbox_clear, outbox_gather, outbox_has_leases,
    outbox_leases,
)
from netloop.transports.zero_copy cimport new_sender, wants_zero_copy


cdef extern from "Python.h":
    object PyContext_CopyCurrent()
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

cdef extern from "<sys/socket.h>":
    int shutdown(int descriptor, int how)

cdef enum:
    # What counts as large, and after how many large receives in a row a connection receives on its own.
    LARGE = 64 * 1024
    LARGE_IN_A_ROW = 4
    # What counts as small, and after how many in a row it goes back to the group.
    SMALL = 16 * 1024
    SMALL_IN_A_ROW = 8
    # The most that is received at once in the second way, the same as uvloop's and asyncio's.
    MOST = 256 * 1024
    # A write buffer of so many bytes is not kept until the turn's end. Large pieces that live until then leave the
    # cache: with 16 KiB instead an echo of 16 KiB messages cost 1.05 times uvloop's CPU, with 64 KiB 0.90 times.
    SEND_NOW = 64 * 1024
    # A send of no more than this says nothing unless it fails.
    SILENT_MOST = 16 * 1024

cdef object BufferedProtocol = asyncio.BufferedProtocol
cdef object LeaseProtocol = LeaseProtocol_
cdef bint server_counts_transports = sys.version_info >= (3, 13)
# Before Python 3.12 asyncio's writelines() was a write() of everything joined, and said so.
cdef str writelines = "writelines" if sys.version_info >= (3, 12) else "write"


class StreamInterface(transports._FlowControlMixin, LeaseTransport):
    """What isinstance() takes a StreamTransport for.

    A compiled class cannot inherit from asyncio.Transport (their layouts conflict), so it answers with this class when
    asked for __class__. It is never instantiated.
    """

    __slots__ = ()


@cython.no_gc
cdef class ProtocolBuffer:
    """The memory of a BufferedProtocol, which cannot move or go away before this object does."""

    def __cinit__(self, memory):
        PyObject_GetBuffer(memory, &self.view, PyBUF_WRITABLE)

    def __dealloc__(self):
        PyBuffer_Release(&self.view)


@cython.final
cdef class StreamTransport(SocketTransport):
    """asyncio.Transport over a stream socket, driven by the ring."""

    _start_tls_compatible = True
    _sendfile_compatible = constants._SendfileMode.TRY_NATIVE

    @property
    def __class__(self):
        return StreamInterface

    def __dealloc__(self):
        outbox_clear(&self.outbox)

    cdef bint has_receive(self) noexcept:
        return self.receive_op != 0

    cdef bint has_sends(self) noexcept:
        return self.sending

    def set_protocol(self, protocol):
        """Change the protocol; see asyncio.BaseTransport.set_protocol."""
        cdef bint leased = isinstance(protocol, LeaseProtocol)
        if leased or self.leases is not None:
            self.choose_pool(protocol, leased)
        SocketTransport.set_protocol(self, protocol)
        self.buffered = isinstance(protocol, BufferedProtocol)
        self.takes_bytes = isinstance(protocol, ByteTaker)

    cdef int discard(self) except -1:
        if self.sending:
            return 0
        if self.file_send is not None:
            self.file_send.lost += self.outbox.size
        return outbox_clear(&self.outbox)

    cdef int close_file(self) except -1:
        cdef bint loop_goes_on = self.attached
        cdef object server = self.server
        if self.leases is not None:
            self.leases.drop(self.backlog)
        self.backlog = self.server = None
        try:
            SocketTransport.close_file(self)
        finally:
            # A loop that is closed has nobody who waits, and takes no callbacks.
            if loop_goes_on and self.file_send is not None:
                self.file_send.on_end()
            if loop_goes_on and server is not None:
                if not server_counts_transports:
                    server._detach()
                elif server._waiters is not None:
                    # Else it no longer counted this one, which had been collected, and said that it had none left.
                    server._detach(self)
        return 0

    # What is wanted becomes submissions, and completions become calls -------------------------------------------

    cdef int on_flush(self) except -1:
        if self.state <= NL_DRAINING:
            if not self.sending:
                self.flush_send()
        elif self.state == NL_CLOSING:
            return self.flush_close()
        elif self.sending and not self.send_cancelled:
            if self.zero_copy is not None and self.zero_copy.transport is self:
                self.zero_copy.cancel()
            else:
                self.write_cancel(c.NL_SEND, 0)
            self.send_cancelled = True
        self.flush_receive()
        return self.note_quiet()

    cdef int on_completion(self, unsigned op, unsigned lane, int res, unsigned flags) except -1:
        if op == c.NL_RECV:
            self.on_received(res, flags)
        elif op == c.NL_SEND:
            self.on_sent(res)
            if self.protocol_paused or self.state != NL_OPEN:
                self.after_sent()
        elif op == c.NL_RECV_LEASED:
            self.on_leased(res, flags)
        elif op == c.NL_POLL:
            self.on_readable(res)
        elif op == c.NL_READ:
            self.on_held_filled(res)
        elif op == c.NL_SHUTDOWN:
            # A worker of the kernel's does it, and a loop that stops may have cancelled it before that.
            if res == -c.ECANCELED:
                self.shutting_down = False
                self.shut_down_at_rest()
        elif op == c.NL_CLOSE:
            # An error means that somebody else closed the file: closed it is.
            return self.step(c.NL_ON_FILE_CLOSED)
        return self.note_quiet()

    # Receiving into the buffers of the group --------------------------------------------------------------------

    cdef int flush_receive(self) except -1:
        """Arm the receive or the poll, or cancel it, as wanted."""
        cdef bint wanted = self.started and self.state < NL_DRAINING and not self.paused and not self.read_ended
        if wanted and not self.receive_op:
            if self.alone:
                self.receive_op = c.NL_POLL
                c.nl_prep_poll(self.sqe(), self.file, POLLIN | POLLRDHUP, self.token(c.NL_POLL, 0))
                return 0
            if self.leases is not None and self.leases.pool is not None:
                self.receive_op = c.NL_RECV_LEASED if self.leases.arm(self, self.file) else 0
                return 0
            self.ring.streams.open(self.ring)
            self.receive_op = c.NL_RECV
            c.nl_prep_recv_multishot(self.sqe(), self.file, self.ring.streams.buffers.group, self.token(c.NL_RECV, 0))
        elif self.receive_op and not self.receive_cancelled and (not wanted or self.receives_elsewhere()):
            self.write_cancel(self.receive_op, self.leases.lane if self.receive_op == c.NL_RECV_LEASED else 0)
            self.receive_cancelled = True
        return 0

    cdef bint receives_elsewhere(self) noexcept:
        """Does the receive in flight take other buffers than are wanted now?"""
        if self.receive_op == c.NL_RECV:
            return self.alone or self.leases is not None and self.leases.pool is not None
        return self.receive_op == c.NL_RECV_LEASED and (self.alone or self.leases.pool is not self.leases.armed)

    cdef int on_received(self, int res, unsigned flags) except -1:
        """The multishot receive has brought a chunk in a buffer of the group, or its own end."""
        cdef const unsigned char *data
        cdef bytes copy = None
        if not flags & c.IORING_CQE_F_MORE:
            self.receive_op = self.receive_cancelled = 0
        if res <= 0:
            self.ring.streams.drop(flags)
            if self.receive_op:
                return 0
            # A dry group loses nothing: the data stays in the socket until the receive is armed again.
            return self.ring.streams.starve(self) if res == -ENOBUFS else self.on_no_data(res)
        if not self.receive_op:
            # Marked before the protocol is called, because an exit from there must not leave it disarmed.
            self.mark_dirty()
        data = c.nl_buffers_take(&self.ring.streams.buffers, flags)
        c.nl_buffers_note(&self.ring.streams.buffers, res)
        if res >= LARGE or self.in_a_row:
            self.note_large(res)
        try:
            if self.state >= NL_DRAINING:
                return 0
            if self.buffered and not self.paused and not self.backlog:
                # The protocol's memory is asked for while ours is held, which saves copying twice.
                return self.feed(data, res)
            copy = PyBytes_FromStringAndSize(<const char *>data, res)
        finally:
            c.nl_buffers_give(&self.ring.streams.buffers, flags)
        return self.hold_back(copy) if self.paused or self.backlog else self.deliver(copy)

    cdef int deliver(self, object data) except -1:
        if self.leases is not None:
            if self.leases.pool is not None:
                return self.deliver_lease(<Lease>data if type(data) is Lease else private_lease(<bytes>data))
            if type(data) is Lease:
                data = taken_bytes(<Lease>data)
        if self.buffered:
            return self.feed(<const unsigned char *>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
        PyContext_Enter(self.context)
        try:
            self.protocol.data_received(data)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            self.fail(exc, "Fatal error: protocol.data_received() call failed.")
        finally:
            PyContext_Exit(self.context)
        return 0

    cdef int feed(self, const unsigned char *data, Py_ssize_t length) except -1:
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
                self.feed_once(data, length, &used)
        except (SystemExit, KeyboardInterrupt):
            # The loop is left; should it run again, the rest is still to be delivered.
            if used < length:
                self.put_back(data + used, length - used)
                self.loop.call_soon(self._deliver_backlog)
            raise
        finally:
            PyContext_Exit(self.context)
        return 0

    cdef int feed_once(self, const unsigned char *data, Py_ssize_t length, Py_ssize_t *used) except -1:
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

    cdef int put_back(self, const unsigned char *data, Py_ssize_t length) except -1:
        """Keep the rest of what the protocol was being given; it comes before all that is held back."""
        if self.backlog is None:
            self.backlog = []
        self.backlog.insert(0, PyBytes_FromStringAndSize(<const char *>data, length))
        return 0

    cdef int on_no_data(self, int res) except -1:
        """A receive of either way has ended without data: the peer's end, or -errno."""
        if res == 0:
            return self.end_reading()
        if res == -EAGAIN or res == -EINTR or res == -c.ECANCELED:
            return self.mark_dirty()
        return self.fail(os_error(res), "Fatal read error on socket transport")

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

    # Receiving into the buffers of a pool -----------------------------------------------------------------------

    cdef int choose_pool(self, object protocol, bint wanted) except -1:
        """Receive into the pool that a LeaseProtocol names, or into none if that is not wanted any more."""
        if wanted and self.attached and self.ring is not self.loop.ring:
            raise RuntimeError("with several io_cpus a connection receives leases only if its first protocol is a "
                               "LeaseProtocol")
        if self.leases is None:
            self.leases = LeaseReceiver()
        self.leases.choose(protocol, wanted, self.loop)
        return self.mark_dirty() if self.attached else 0

    cdef int on_leased(self, int res, unsigned flags) except -1:
        """The multishot receive has brought a chunk in a buffer of a pool, or its own end."""
        cdef BufferPool pool = self.leases.armed
        cdef Lease lease = self.leases.received(res, flags, self.token(c.NL_RECV_LEASED, 0))
        if not flags & c.IORING_CQE_F_MORE:
            self.receive_op = self.receive_cancelled = 0
            self.leases.armed = None
        if res <= 0:
            if lease is not None:
                lease.release()
            if self.receive_op:
                return 0
            if res != -ENOBUFS:
                return self.on_no_data(res)
            return self.leases.starve(self) if pool is self.leases.pool else self.mark_dirty()
        if not self.receive_op:
            # Marked before the protocol is called, because an exit from there must not leave it disarmed.
            self.mark_dirty()
        if res >= LARGE or self.in_a_row:
            self.note_large(res)
        if self.state >= NL_DRAINING:
            if lease is not None:
                lease.release()
            return 0
        return self.hold_back(lease) if self.paused or self.backlog else self.deliver(lease)

    cdef int receive_lease(self) except -1:
        """Receive into an empty buffer of the pool."""
        cdef BufferPool pool = self.leases.pool
        cdef Lease lease = pool.try_take(min(<Py_ssize_t>pool.buffers.size, <Py_ssize_t>MOST))
        cdef int32_t length
        if lease is None:
            # The kernel may have some left, and if it does not, this connection waits for one as all others do.
            self.alone = False
            self.in_a_row = 0
            return 0
        lease.soil()
        length = self.receive_now(lease.data, lease.length)
        if length == -EINPROGRESS:
            self.held = lease
            return 0
        if length <= 0:
            lease.release()
            return self.on_no_data(length)
        return self.take_own(received_lease(lease, length))

    cdef int deliver_lease(self, Lease lease) except -1:
        PyContext_Enter(self.context)
        try:
            self.protocol.lease_received(lease)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            self.fail(exc, "Fatal error: protocol.lease_received() call failed.")
        finally:
            PyContext_Exit(self.context)
        return 0

    cdef int on_parked(self, c.io_uring_cqe *cqe) except -1:
        return self.leases.park(cqe) if c.nl_token_op(cqe.user_data) == c.NL_RECV_LEASED else 0

    # Receiving straight to where it stays -----------------------------------------------------------------------

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

    cdef int on_readable(self, int res) except -1:
        """The poll has completed."""
        self.receive_op = self.receive_cancelled = 0
        # Marked before the protocol is called, because an exit from there must not leave it disarmed.
        self.mark_dirty()
        if self.state >= NL_DRAINING or self.paused or res == -c.ECANCELED:
            return 0
        if res < 0:
            return self.fail(os_error(res), "Fatal read error on socket transport")
        if self.leases is not None and self.leases.pool is not None:
            return self.receive_lease()
        return self.receive_into_protocol() if self.buffered and not self.backlog else self.receive_bytes()

    cdef int32_t receive_now(self, void *memory, size_t length) except? -1:
        """Receive what is there: how much, or -errno.

        -EINPROGRESS: the kernel takes no submissions for now, and will receive in the turn's own enter.
        """
        cdef int32_t result
        if not c.nl_ring_space(&self.ring.ring):
            return -EAGAIN
        c.nl_prep_recv(self.sqe(), self.file, memory, <unsigned>length, c.MSG_DONTWAIT, self.token(c.NL_READ, 0))
        self.ring.submit()
        if not self.take(c.NL_READ, 0, &result):
            self.receive_op = c.NL_READ
            return -EINPROGRESS
        return result

    cdef int receive_bytes(self) except -1:
        cdef PyObject *data = new_bytes(NULL, MOST)
        cdef int32_t length = self.receive_now(data_of(data), MOST)
        if 0 < length < MOST:
            _PyBytes_Resize(&data, length)
        received = <object>data
        Py_DECREF(data)
        if length > 0:
            return self.take_own(received)
        if length == -EINPROGRESS:
            self.held = received
            return 0
        return self.on_no_data(length)

    cdef int take_own(self, object data) except -1:
        """Hand over what was received into an object of its own."""
        self.note_large(<int>len(data))
        return self.hold_back(data) if self.paused or self.backlog else self.deliver(data)

    cdef int receive_into_protocol(self) except -1:
        """Receive into the buffer of a BufferedProtocol."""
        cdef ProtocolBuffer memory
        cdef int32_t length
        cdef str doing = "get_buffer"
        PyContext_Enter(self.context)
        try:
            memory = ProtocolBuffer(self.protocol.get_buffer(-1))
            if not memory.view.len:
                raise RuntimeError("get_buffer() returned an empty buffer")
            if self.state >= NL_DRAINING or self.paused or not self.buffered:
                return 0
            length = self.receive_now(memory.view.buf, min(memory.view.len, <Py_ssize_t>MOST))
            if length == -EINPROGRESS:
                self.held = memory
                return 0
            memory = None
            if length > 0:
                self.note_large(length)
                doing = "buffer_updated"
                self.protocol.buffer_updated(length)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            return self.fail(exc, f"Fatal error: protocol.{doing}() call failed.")
        finally:
            PyContext_Exit(self.context)
        return 0 if length > 0 else self.on_no_data(length)

    cdef int on_held_filled(self, int res) except -1:
        """A receive has completed that the kernel had not taken at once."""
        cdef object held = self.held
        self.held = None
        self.receive_op = self.receive_cancelled = 0
        self.mark_dirty()
        if type(held) is Lease:
            if res <= 0 or self.state >= NL_DRAINING:
                (<Lease>held).release()
            else:
                return self.take_own(received_lease(<Lease>held, res))
        if res <= 0:
            return self.on_no_data(res)
        if self.state >= NL_DRAINING:
            return 0
        if isinstance(held, ProtocolBuffer):
            # Not by buffer_updated(): the protocol may be another one by now, or be paused.
            held = PyBytes_FromStringAndSize(<const char *>(<ProtocolBuffer>held).view.buf, res)
        else:
            held = (<bytes>held)[:res]
        return self.take_own(held)

    cdef int on_abandoned(self, unsigned op, unsigned lane, int res, unsigned flags) except -1:
        if op == c.NL_READ:
            if type(self.held) is Lease:
                (<Lease>self.held).release()
            self.held = None
        elif op == c.NL_RECV_LEASED:
            lease = self.leases.received(res, flags, 0)
            if lease is not None:
                (<Lease>lease).release()
        return 0

    cdef int on_ring_closed(self) except -1:
        # What is not with the kernel goes back at once, though who holds this transport may keep it for long.
        if not self.in_flight:
            if self.leases is not None:
                self.leases.drop(self.backlog)
            if outbox_has_leases(&self.outbox):
                self.sending = False
                self.discard()
        return SocketTransport.on_ring_closed(self)

    # Sending ----------------------------------------------------------------------------------------------------

    cpdef write(self, data):
        """Send bytes; never blocks. See asyncio.WriteTransport.write.

        bytes are sent in place. A bytearray or memoryview is copied, because the caller may go on to change it.
        """
        if type(data) is not bytes:
            if not isinstance(data, (bytes, bytearray, memoryview)):
                hint = "; write_lease() sends it" if type(data) is Lease else ""
                raise TypeError(f"data argument must be a bytes-like object, not {type(data).__name__!r}{hint}")
            data = bytes(data)
        self.check_thread()
        self.check_writable("write")
        if not PyBytes_GET_SIZE(data):
            return
        if self.too_late():
            self.ignore_write()
            return
        outbox_add(&self.outbox, <bytes>data)
        self.mark_dirty()
        self.added()

    cdef int flush_send(self) except -1:
        """Send what is in the outbox; one send at a time, because two in flight would interleave in the stream."""
        cdef NextSend send
        cdef Py_ssize_t length = outbox_gather(&self.outbox, &send)
        if length:
            if self.zero_copy is not None and self.send_leases(&send, length):
                pass
            elif self.may_be_silent(length):
                self.quietly = <int32_t>length
                if send.message == NULL:
                    c.nl_prep_send_silent(self.silent_sqe(), self.file, send.data, <unsigned>length,
                                          self.token(c.NL_SEND, 0))
                else:
                    c.nl_prep_sendmsg_silent(self.silent_sqe(), self.file, send.message, self.token(c.NL_SEND, 0))
            elif send.message == NULL:
                self.quietly = 0
                c.nl_prep_send(self.sqe(), self.file, send.data, <unsigned>length, self.token(c.NL_SEND, 0))
            else:
                self.quietly = 0
                c.nl_prep_sendmsg(self.sqe(), self.file, send.message, c.MSG_WAITALL, self.token(c.NL_SEND, 0))
            self.sending = True
        elif self.state == NL_HALF_CLOSED and not self.shutting_down:
            self.shutting_down = True
            c.nl_prep_shutdown(self.sqe(), self.file, c.SHUT_WR, self.token(c.NL_SHUTDOWN, 0))
        return 0

    cdef bint may_be_silent(self, Py_ssize_t length) noexcept:
        """Is a send of so much one whose end nobody waits for, and which the kernel mostly takes at once?

        Then it need not complete: its completion would end a wait that is meant for the peer's answer.
        """
        return (length == self.outbox.size and length <= SILENT_MOST and self.state == NL_OPEN
                and not self.quietly and not self.protocol_paused and self.file_send is None)

    cdef int on_silent_end(self) except -1:
        cdef int32_t length = self.quietly
        self.quietly = 0
        self.on_sent(length)
        if self.protocol_paused or self.state != NL_OPEN:
            self.loop.call_soon(self._after_sent)
        return self.note_quiet()

    cdef bint send_leases(self, NextSend *send, Py_ssize_t length) except -1:
        """Send without a copy what is to be sent next, if that is leases only and pays; says whether it does."""
        cdef list leases = outbox_leases(&self.outbox, length) if outbox_has_leases(&self.outbox) else None
        return leases is not None and self.zero_copy.send(self, self.file, leases, send, length)

    def writelines(self, list_of_data):
        """Send several pieces, gathered into one send; see LeaseTransport.writelines."""
        pieces = [piece if type(piece) is bytes or type(piece) is Lease else bytes(memoryview(piece))
                  for piece in list_of_data]
        self.check_thread()
        self.check_writable(writelines)
        check_leases(self.loop, pieces)
        # All of them before the protocol hears of a full buffer: what it then writes comes after them.
        self.add_pieces(pieces)

    def write_lease(self, Lease lease not None):
        """Send the bytes of a lease from where they lie; see LeaseTransport.write_lease."""
        self.check_thread()
        self.check_writable("write_lease")
        lease.check_sendable(self.loop)
        if self.too_late():
            lease.release()
            self.ignore_write()
            return
        self.add_lease(lease)
        self.mark_dirty()
        self.added()

    cdef int add_pieces(self, list pieces) except -1:
        """Put bytes and leases into the outbox."""
        cdef bint too_late = self.too_late()
        for piece in pieces:
            if type(piece) is bytes:
                if not too_late:
                    outbox_add(&self.outbox, <bytes>piece)
            elif too_late:
                (<Lease>piece).release()
            else:
                self.add_lease(<Lease>piece)
        if too_late:
            return self.ignore_write()
        self.mark_dirty()
        return self.added()

    cdef int add_lease(self, Lease lease) except -1:
        """Put a lease into the outbox, or a copy if that is better."""
        if not lease.length:
            lease.release()
            return 0
        if self.outbox.size and lease.is_small():
            return outbox_add(&self.outbox, taken_bytes(lease))
        if self.zero_copy is None and self.ring is self.loop.ring and wants_zero_copy(lease):
            self.zero_copy = new_sender(self.loop, self.get_extra_info("peername"))
        return outbox_add_lease(&self.outbox, lease)

    cdef int check_writable(self, str method) except -1:
        if self.write_ended:
            raise RuntimeError(f"Cannot call {method}() after write_eof()")
        if self.file_send is not None:
            raise RuntimeError(f"unable to {method}; sendfile is in progress")
        return 0

    cdef bint too_late(self) noexcept:
        """Is what is written now ignored?

        Not yet while earlier writes are being sent after close(), as asyncio has it: TLS, told to go on writing, hands
        over its last records only then.
        """
        return self.state > NL_DRAINING

    cdef int added(self) except -1:
        """Something was added to the outbox: send it now if it must not wait for the next flush."""
        if not self.ring.running:
            # Nobody knows when the loop will run again. In another thread than the loop's it has to wait for that.
            if self.ring.is_idle():
                self.reap_send()
                self.send_now()
        elif self.outbox.size >= SEND_NOW or self.loop.eager_writes:
            self.send_now()
        if self.outbox.size > self.high_water:
            self.pause_writing_if_full()
        return 0

    cdef int send_now(self) except -1:
        """Send without waiting for the turn's end."""
        if self.sending or not c.nl_ring_space(&self.ring.ring):
            return 0
        self.flush_send()
        self.ring.submit()
        return self.reap_send()

    cdef int send_rest(self) except -1:
        if self.outbox.size and self.state <= NL_DRAINING and (self.ring.running or self.ring.is_idle()):
            self.send_now()
        return 0

    cdef int reap_send(self) except -1:
        """Take in the end of the send that is in flight, if it has come, before the turn that would dispatch it."""
        cdef int32_t result
        if self.sending and self.take(c.NL_SEND, 0, &result):
            self.silent = False
            self.on_sent(result)
            if self.protocol_paused:
                # Not at once: this may be the protocol's own call, in the context that resuming would enter.
                self.loop.call_soon(self._after_sent)
            else:
                self.note_drained()
        return 0

    cdef int on_sent(self, int res) except -1:
        """A send has completed, with how many bytes the kernel took or -errno."""
        self.sending = self.send_cancelled = False
        if self.quietly:
            # It has failed, or sent a part: the socket has no room, and the next one waits until there is some.
            self.quietly = -1
        if res >= 0:
            outbox_advance(&self.outbox, res)
        if self.state >= NL_CANCELLING:
            return self.discard()
        if res < 0 and res != -EAGAIN and res != -EINTR and res != -c.ECANCELED:
            return self.fail(os_error(res), "Fatal write error on socket transport")
        if self.outbox.size or self.state == NL_HALF_CLOSED:
            self.mark_dirty()
        if self.file_send is not None:
            self.file_send.on_sent(self.outbox.size)
        return 0

    def write_eof(self):
        """Shut the sending side down after what was written; see asyncio.WriteTransport.write_eof."""
        self.check_thread()
        if self.write_ended or self.state >= NL_DRAINING:
            return
        self.write_ended = True
        self.step(c.NL_ON_WRITE_EOF)
        if not self.ring.running:
            self.shut_down_at_rest()

    cdef int shut_down_at_rest(self) except -1:
        """Shut the sending side down though the loop does not run, unless something is still to be sent before that.

        Nobody knows when the loop will run again, and the peer may wait for the end.
        """
        if self.state != NL_HALF_CLOSED or self.shutting_down:
            return 0
        self.mark_dirty()
        if self.sending or self.outbox.size:
            return 0
        if not self.file.flag:
            self.shutting_down = True
            shutdown(self.file.number, c.SHUT_WR)
        elif self.ring.is_idle():
            self.send_now()
        return 0

    def can_write_eof(self):
        return True

    cdef Py_ssize_t unsent(self) noexcept:
        return self.outbox.size

    # Sending files ----------------------------------------------------------------------------------------------

    def _begin_sendfile(self):
        """From now on write() is refused."""
        self.check_writable("write")
        self.file_send = FileSend.__new__(FileSend)

    def _end_sendfile(self):
        """write() is allowed again. Returns how much of what was written was never sent, because the end came first."""
        lost = self.file_send.lost
        self.file_send = None
        return lost

    def _send_part(self, bytes part):
        """Send a part of a file."""
        outbox_add(&self.outbox, part)
        self.mark_dirty()
        if not self.sending:
            self.send_now()

    def _check_connected(self):
        """Raises ConnectionError if the end has come."""
        if self.state >= NL_CANCELLING:
            raise ConnectionError("Connection is closed by peer")

    def _file_waiter(self, Py_ssize_t limit):
        """A future that is done when no more than `limit` bytes are left to send, or None if that is so already.

        With a limit of -1 it is done only by who asked. It fails with ConnectionError when the end comes, and so does
        this call when the protocol has been told of the end.
        """
        if self.state > NL_CANCELLING:
            self._check_connected()
        if self.state < NL_CANCELLING and self.outbox.size <= limit:
            return None
        return self.file_send.wait(self.loop, limit)


cdef Lease received_lease(Lease lease, Py_ssize_t length):
    """The same with so many bytes that were received into it."""
    lease.cut(length)
    lease.pool.note_received(length)
    return lease


cdef int check_leases(LoopCore loop, list pieces) except -1:
    """Can all leases among these be taken over?"""
    cdef set seen = None
    for piece in pieces:
        if type(piece) is not Lease:
            continue
        (<Lease>piece).check_sendable(loop)
        seen = set() if seen is None else seen
        if id(piece) in seen:
            raise ValueError("a lease can be sent only once, and stands here twice")
        seen.add(id(piece))
    return 0


cdef Ring ring_for(LoopCore loop, object protocol):
    """Which ring a connection is to be on, where the loop has several. Pools are registered with the first."""
    return loop.ring if isinstance(protocol, LeaseProtocol) else loop.choose_ring()


cdef StreamTransport new_stream(LoopCore loop, Ring ring, c.nl_file file, object sock, object protocol, object context,
                                object server, dict extra):
    """A transport over an open, connected stream socket; begin() starts it."""
    cdef StreamTransport transport = StreamTransport.__new__(StreamTransport)
    transport.own(loop, ring, file, sock, protocol, context, extra)
    if server is not None:
        transport.server = server
        if server_counts_transports:
            server._attach(transport)
        else:
            server._attach()
    return transport


def make_stream(LoopCore loop, sock, protocol, waiter, dict extra, server, context=None):
    """A transport over a connected socket object, which it owns from now on; it starts in the next turn.

    The protocol is called in `context`, by default a copy of the current one.
    """
    cdef StreamTransport transport
    if context is None:
        context = PyContext_CopyCurrent()
    transport = new_stream(loop, ring_for(loop, protocol), c.nl_descriptor(sock.fileno()), sock, protocol, context,
                           server, names_of(sock, extra))
    transport._own_descriptor(transport.file.number)
    loop.call_soon(transport._begin, waiter)
    return transport
