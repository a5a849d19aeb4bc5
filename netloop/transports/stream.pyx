# cython: language_level=3, boundscheck=False, wraparound=False
"""The stream transport: a byte's way from write() to the kernel. Its way to the protocol is in _receiver.

What the transport wants (to receive, to send, to close) is kept in its fields. on_flush() compares that with what is
in flight and writes the submissions that make up the difference; on_completion() takes in what has happened. Methods
of the application only change the fields and mark the transport dirty.
"""

import asyncio
import sys
from asyncio import constants, transports

from cpython.bytes cimport PyBytes_GET_SIZE
from libc.errno cimport EAGAIN, EINTR
from libc.stdint cimport int32_t

from netloop.core cimport cext as c
from netloop.core.cext cimport NL_CANCELLING, NL_DRAINING, NL_HALF_CLOSED, NL_OPEN
from netloop.transports.outbox cimport NextSend, outbox_add, outbox_advance, outbox_clear, outbox_gather
from netloop.transports.socket_transport cimport names_of, os_error


cdef extern from "Python.h":
    object PyContext_CopyCurrent()

cdef bint server_counts_transports = sys.version_info >= (3, 13)
cdef enum:
    # A write buffer of so many bytes is not kept until the turn's end. With 16 KiB, as long as the heap was trimmed
    # after each batch, an echo of 16 KiB messages cost 1.05 times uvloop's CPU; with 64 KiB and nl_heap.h 0.90 times.
    SEND_STREAM_NOW = 64 * 1024

# Before Python 3.12 asyncio's writelines() was a write() of everything joined, and said so.
cdef str writelines = "writelines" if sys.version_info >= (3, 12) else "write"


class StreamInterface(transports._FlowControlMixin, asyncio.Transport):
    """What isinstance() takes a StreamTransport for.

    A compiled class cannot inherit from asyncio.Transport (their layouts conflict), so it answers with this class when
    asked for __class__. It is never instantiated.
    """

    __slots__ = ()


cdef StreamTransport new_stream(LoopCore loop, c.nl_file file, object sock, object protocol, object context,
                                object server, dict extra):
    """A transport over an open, connected stream socket; begin() starts it."""
    cdef StreamTransport transport = StreamTransport.__new__(StreamTransport)
    transport.own(loop, file, sock, protocol, context, extra)
    if server is not None:
        transport.server = server
        if server_counts_transports:
            server._attach(transport)
        else:
            server._attach()
    return transport


cdef class FileSend:
    """What a stream transport knows of a file that is being sent."""

    cdef object wait(self, LoopCore loop, Py_ssize_t limit):
        """A future that is done when no more than `limit` bytes are left to send, and fails when the end comes."""
        self.limit = limit
        self.waiter = loop.create_future()
        return self.waiter

    cdef int on_sent(self, Py_ssize_t left) except -1:
        if self.waiter is not None and left <= self.limit:
            waiter, self.waiter = self.waiter, None
            if not waiter.done():
                waiter.set_result(None)
        return 0

    cdef int on_end(self) except -1:
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_exception(ConnectionError("Connection is closed by peer"))
        return 0


cdef class StreamTransport(StreamReceiver):
    """asyncio.Transport over a stream socket, driven by the ring."""

    _start_tls_compatible = True
    _sendfile_compatible = constants._SendfileMode.TRY_NATIVE

    @property
    def __class__(self):
        return StreamInterface

    def __dealloc__(self):
        outbox_clear(&self.outbox)

    cdef bint has_sends(self) noexcept:
        return self.sending

    # Life cycle -------------------------------------------------------------------------------------------------

    cdef int discard(self) except -1:
        return 0 if self.sending else self.give_up()

    cdef int give_up(self) except -1:
        """Forget what was not sent, but not how much it was."""
        if self.file_send is not None:
            self.file_send.lost += self.outbox.size
        return outbox_clear(&self.outbox)

    cdef int on_closed(self) except -1:
        """The file is closed: nothing of this connection is left."""
        return self.leave_ring()

    cdef int on_farewell(self) except -1:
        cdef object server = self.server
        self.give_up()
        self.backlog = self.server = None
        try:
            StreamReceiver.on_farewell(self)
        finally:
            if self.file_send is not None:
                self.file_send.on_end()
            if server is not None:
                if server_counts_transports:
                    server._detach(self)
                else:
                    server._detach()
        return 0

    # What is wanted becomes submissions -------------------------------------------------------------------------

    cdef int on_flush(self) except -1:
        if self.state <= NL_DRAINING:
            self.flush_send()
        self.flush_receive()
        if self.state == NL_CANCELLING:
            self.flush_close()
        return 0

    cdef int flush_send(self) except -1:
        """Send what is in the outbox; one send at a time, because two in flight would interleave in the stream."""
        cdef NextSend send
        cdef Py_ssize_t length
        if self.sending:
            return 0
        length = outbox_gather(&self.outbox, &send)
        if length:
            if send.message == NULL:
                c.nl_prep_send(self.sqe(), self.file, send.data, <unsigned>length, self.token(c.NL_SEND, 0))
            else:
                c.nl_prep_sendmsg(self.sqe(), self.file, send.message, c.MSG_WAITALL, self.token(c.NL_SEND, 0))
            self.sending = True
            return 0
        if self.state == NL_HALF_CLOSED and not self.shutting_down:
            self.shutting_down = True
            c.nl_prep_shutdown(self.sqe(), self.file, c.SHUT_WR, self.token(c.NL_SHUTDOWN, 0))
        self.state = c.nl_next_state(self.state, c.NL_ON_DRAINED)
        return 0

    cdef int flush_close(self) except -1:
        """Cancel the send that is in flight; when nothing is, close the file."""
        if self.sending and not self.send_cancelled:
            c.nl_prep_cancel(c.nl_ring_sqe(&self.ring.ring), self.token(c.NL_SEND, 0), self.token(c.NL_CANCEL, 0))
            self.send_cancelled = True
        return self.close_file()

    cdef int on_completion(self, unsigned op, unsigned lane, int res, unsigned flags) except -1:
        if op == c.NL_RECV:
            self.on_received(res, flags)
        elif op == c.NL_SEND:
            self.on_sent(res)
        elif op == c.NL_POLL:
            self.on_readable(res)
        elif op == c.NL_READ:
            self.on_filled(res)
        elif op == c.NL_CLOSE:
            # An error means that somebody else closed the descriptor: closed it is.
            return self.on_closed()
        if self.state == NL_CANCELLING and not self.in_flight:
            return self.part()
        return 0

    # Sending ----------------------------------------------------------------------------------------------------

    cdef int on_sent(self, int res) except -1:
        self.take_sent(res)
        if self.state < NL_CANCELLING:
            self.resume_writing_if_drained()
        return 0

    cdef int take_sent(self, int res) except -1:
        """A send has completed, with how many bytes the kernel took or -errno."""
        self.sending = self.send_cancelled = False
        if res >= 0:
            outbox_advance(&self.outbox, res)
        if self.state >= NL_CANCELLING:
            return self.give_up()
        if res < 0 and res != -EAGAIN and res != -EINTR:
            return self.fail(os_error(res), "Fatal write error on socket transport")
        if self.outbox.size or self.state != NL_OPEN:
            self.mark_dirty()
        if self.file_send is not None:
            self.file_send.on_sent(self.outbox.size)
        return 0

    def write(self, data):
        """Send bytes; never blocks. See asyncio.WriteTransport.write.

        bytes are sent in place. A bytearray or memoryview is copied, because the caller may go on to change it.
        """
        if type(data) is not bytes:
            if not isinstance(data, (bytes, bytearray, memoryview)):
                raise TypeError(f"data argument must be a bytes-like object, not {type(data).__name__!r}")
            data = bytes(data)
        self.check_writable("write")
        self.accept_write(<bytes>data)

    def writelines(self, list_of_data):
        """Send several pieces, gathered into one send; see asyncio.WriteTransport.writelines."""
        pieces = [piece if type(piece) is bytes else bytes(memoryview(piece)) for piece in list_of_data]
        self.check_writable(writelines)
        if self.too_late():
            self.ignore_write()
            return
        # All of them before the protocol hears of a full buffer: what it then writes comes after them.
        for piece in pieces:
            outbox_add(&self.outbox, <bytes>piece)
        self.written()

    cdef int accept_write(self, bytes piece) except -1:
        if not PyBytes_GET_SIZE(piece):
            return 0
        if self.too_late():
            return self.ignore_write()
        outbox_add(&self.outbox, piece)
        return self.written()

    cdef bint too_late(self) noexcept:
        """Is what is written now ignored?

        Not yet while earlier writes are being sent after close(), as asyncio has it: TLS, told to go on writing, hands
        over its last records only then.
        """
        return self.state > NL_DRAINING

    cdef int written(self) except -1:
        """Something was added to the outbox."""
        self.mark_dirty()
        if not self.ring.running and self.ring.is_idle():
            # Nobody knows when the loop will run again, so this goes at once.
            self.reap_send()
            self.send_now()
        elif self.outbox.size >= SEND_STREAM_NOW:
            self.send_now()
        if self.outbox.size > self.high_water:
            self.pause_writing_if_full()
        return 0

    cdef int send_now(self) except -1:
        """Send without waiting for the turn's end.

        Large pieces that live until then grow the heap and leave the cache: an echo of 16 KiB messages cost 1.7 times
        as much CPU. Small ones gain more from being submitted together.
        """
        if self.sending or not c.nl_ring_space(&self.ring.ring):
            return 0
        self.flush_send()
        self.ring.submit_sends()
        return self.reap_send()

    cdef int reap_send(self) except -1:
        """Take in the end of the send that is in flight, if it has come, before the turn that would dispatch it."""
        cdef int32_t result
        if self.sending and c.nl_ring_take(&self.ring.ring, self.token(c.NL_SEND, 0), &result):
            self.in_flight -= 1
            self.ring.in_flight -= 1
            self.take_sent(result)
            if self.protocol_paused:
                # Not at once: this may be the protocol's own call, in the context that resuming would enter.
                self.loop.call_soon(self._resume_writing)
        return 0

    def write_eof(self):
        """Shut the sending side down after what was written; see asyncio.WriteTransport.write_eof."""
        if self.write_ended or self.state >= NL_DRAINING:
            return
        self.write_ended = True
        self.step(c.NL_ON_WRITE_EOF)

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

    async def _send_part(self, bytes part, Py_ssize_t limit):
        """Send a part of a file, and wait until no more than `limit` bytes are left to send."""
        outbox_add(&self.outbox, part)
        self.mark_dirty()
        if not self.sending:
            self.send_now()
        await self._drained(limit)

    async def _writable(self, poll):
        """Wait for a poll that tells of room, or for a turn if there is none, or until the end: a ConnectionError."""
        if self.state >= NL_CANCELLING:
            if poll is not None:
                poll.close()
            raise ConnectionError("Connection is closed by peer")
        waiter = self.file_send.wait(self.loop, -1)

        def wake(_=None):
            if not waiter.done():
                waiter.set_result(None)

        if poll is None:
            self.loop.call_soon(wake)
        else:
            poll.add_done_callback(wake)
        try:
            await waiter
        finally:
            self.file_send.waiter = None
            if poll is not None:
                poll.cancel()
        if self.state >= NL_CANCELLING:
            raise ConnectionError("Connection is closed by peer")

    async def _drained(self, Py_ssize_t limit):
        """Wait until no more than `limit` bytes are left to send, or until the end, which is a ConnectionError."""
        if self.parted:
            raise ConnectionError("Connection is closed by peer")
        if self.state >= NL_CANCELLING or self.outbox.size > limit:
            await self.file_send.wait(self.loop, limit)


def make_stream(LoopCore loop, sock, protocol, waiter, dict extra, server, context=None):
    """A transport over a connected socket object, which it owns from now on; it starts in the next turn.

    The protocol is called in `context`, by default a copy of the current one.
    """
    cdef StreamTransport transport
    if context is None:
        context = PyContext_CopyCurrent()
    transport = new_stream(loop, c.nl_descriptor(sock.fileno()), sock, protocol, context, server, names_of(sock, extra))
    transport._own_descriptor(transport.file.number)
    loop.call_soon(transport._begin, waiter)
    return transport
