# cython: language_level=3, boundscheck=False, wraparound=False
"""Pipe transports: one direction of a pipe, a FIFO, a socket or a terminal.

The descriptor is set non-blocking, as asyncio does. Linux 6.18 waits in the ring for such a file all the same; a kernel
that answers EAGAIN instead is asked to poll first. A terminal that blocks would take a worker thread of the kernel's
for each read, and its hang-up would stay unnoticed there.

Messages. Some files keep what one write has brought apart from the next: packets of a TUN device, messages of a socket
that is no stream, packets of a pipe opened with O_DIRECT. There a write is made at once and alone, because gathering is
all that waiting for the turn's end is good for. What finds no room goes through the ring, a message at a time. Messages
are read into the buffers of datagrams, because what does not fit into its buffer is lost; a LeaseProtocol has to name a
pool of large ones.

The pipe object is closed after connection_lost(), where asyncio's protocols still find it open.
"""

import asyncio
import fcntl
import os
import stat
from asyncio import futures, transports
from asyncio.log import logger

cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.errno cimport EAGAIN, EBADFD, EINTR, EINVAL, EIO, ENOBUFS, EOPNOTSUPP, errno
from posix.unistd cimport write as write_descriptor

from netloop.core cimport cext as c
from netloop.core.cext cimport NL_CANCELLING, NL_DRAINING, NL_OPEN
from netloop.core.lease_protocol import LeaseProtocol
from netloop.core.pool cimport BufferPool, Lease, LeaseReceiver, private_lease, taken_bytes
from netloop.core.ring cimport BufferGroup
from netloop.core.turn cimport LoopCore
from netloop.transports.base cimport os_error
from netloop.transports.outbox cimport (
    NextSend, outbox_add, outbox_advance, outbox_clear, outbox_gather, outbox_next_piece,
)


cdef extern from "Python.h":
    int PyContext_Enter(object context) except -1
    int PyContext_Exit(object context) except -1
    object PyContext_CopyCurrent()

cdef extern from "<limits.h>":
    enum:
        PIPE_BUF

cdef extern from "<poll.h>":
    enum:
        POLLIN
        POLLOUT
        POLLRDHUP

cdef extern from "<sys/socket.h>":
    enum:
        SOCK_STREAM
        SOL_SOCKET
        SO_TYPE

    int getsockopt(int fd, int level, int option, void *value, c.socklen_t *length)


cdef str writing_end = "nothing is read from a transport that writes to a pipe"


class ReadPipeInterface(asyncio.ReadTransport):
    """What isinstance() takes a ReadPipeTransport for; see StreamInterface."""

    __slots__ = ()


class WritePipeInterface(transports._FlowControlMixin, asyncio.WriteTransport):
    """What isinstance() takes a WritePipeTransport for; see StreamInterface."""

    __slots__ = ()


@cython.final
cdef class ReadPipeTransport(ReadingTransport):
    """asyncio.ReadTransport over a pipe, driven by the ring."""

    @property
    def __class__(self):
        return ReadPipeInterface

    def __repr__(self):
        return (f"<ReadPipeTransport {self.state_name()} fd={self.fd} "
                f"read={'armed' if self.read_op else 'idle'}>")

    def set_protocol(self, protocol):
        """Change the protocol; see asyncio.BaseTransport.set_protocol."""
        cdef bint leased = isinstance(protocol, LeaseProtocol)
        if leased or self.leases is not None:
            self.choose_pool(protocol, leased)
        ReadingTransport.set_protocol(self, protocol)

    cdef int choose_pool(self, object protocol, bint wanted) except -1:
        """Read into the pool that a LeaseProtocol names, or into none if that is not wanted any more."""
        cdef LeaseReceiver leases = LeaseReceiver() if self.leases is None else self.leases
        cdef BufferPool before = leases.pool
        leases.choose(protocol, wanted, self.loop)
        if wanted and leases.pool.buffers.size < PIPE_BUF and stat.S_ISFIFO(os.fstat(self.fd).st_mode):
            size, leases.pool = leases.pool.buffers.size, before
            raise ValueError(f"a pipe is read into buffers of at least {PIPE_BUF} bytes, and those of the pool have "
                             f"{size}: of a packet that is larger than its buffer the rest would be lost")
        self.leases = leases
        return self.mark_dirty() if self.attached else 0

    def _start(self):
        self.started = True
        self.mark_dirty()

    def close(self):
        """Stop reading and close the pipe; see asyncio.BaseTransport.close."""
        self.check_thread()
        self.lose(None)

    cdef int discard(self) except -1:
        return 0

    cdef int close_file(self) except -1:
        if self.leases is not None:
            self.leases.drop(self.backlog)
        self.backlog = None
        self.pipe.close()
        return self.step(c.NL_ON_FILE_CLOSED)

    cdef int fail(self, object exc, str message) except -1:
        # A terminal whose other side is closed says EIO: an end, though not a clean one.
        if isinstance(exc, OSError) and exc.errno == EIO:
            return Transport.fail(self, exc, message)
        self.report(exc, message)
        return self.lose(exc)

    cdef int on_flush(self) except -1:
        cdef bint wanted = self.started and self.state == NL_OPEN and not self.paused and not self.read_ended
        if wanted and not self.read_op:
            self.arm()
        elif self.read_op and not self.read_cancelled and (not wanted or self.reads_elsewhere()):
            self.write_cancel(self.read_op, self.leases.lane if self.read_op == c.NL_RECV_LEASED else 0)
            self.read_cancelled = True
        return self.note_quiet()

    cdef bint wants_leases(self) noexcept:
        return self.leases is not None and self.leases.pool is not None

    cdef bint reads_elsewhere(self) noexcept:
        """Does the read in flight take other buffers than are wanted now?"""
        if self.read_op == c.NL_RECV_LEASED:
            return self.leases.pool is not self.leases.armed
        return self.read_op != c.NL_POLL and self.wants_leases()

    cdef int arm(self) except -1:
        """Read, or wait until a read is worth trying."""
        if self.must_poll:
            self.read_op = c.NL_POLL
            c.nl_prep_poll(self.sqe(), c.nl_descriptor(self.fd), POLLIN, self.token(c.NL_POLL, 0))
            return 0
        cdef BufferGroup group
        if self.wants_leases():
            armed = self.leases.arm_read(self, c.nl_descriptor(self.fd), not self.single)
            self.read_op = c.NL_RECV_LEASED if armed else 0
            return 0
        group = self.group()
        group.open(self.ring)
        self.read_op = c.NL_READ_MESSAGE if self.messages else c.NL_READ
        c.nl_prep_read_group(self.sqe(), c.nl_descriptor(self.fd), not self.single, group.buffers.group,
                             self.token(self.read_op, 0))
        return 0

    cdef BufferGroup group(self):
        """The buffers that are read into."""
        if self.messages:
            return self.ring.datagrams
        return self.ring.streams

    cdef int on_completion(self, unsigned op, unsigned lane, int res, unsigned flags) except -1:
        if not flags & c.IORING_CQE_F_MORE:
            self.read_op = 0
            self.read_cancelled = False
            # Marked before the protocol is called, because an exit from there must not leave it disarmed.
            if res != -ENOBUFS:
                self.mark_dirty()
        if op == c.NL_RECV_LEASED:
            self.on_leased(res, flags)
        elif op != c.NL_POLL:
            self.on_read(res, flags)
        elif res < 0 and res != -c.ECANCELED and self.state == NL_OPEN:
            self.fail(os_error(res), "Fatal poll error on pipe transport")
        else:
            self.must_poll = False
        return self.note_quiet()

    cdef int on_read(self, int res, unsigned flags) except -1:
        if res > 0:
            return self.receive_data(res, flags)
        self.group().drop(flags)
        if self.read_op or self.state != NL_OPEN:
            return 0
        # Nothing is lost: the data stays in the pipe until the read is armed again.
        return self.group().starve(self) if res == -ENOBUFS else self.on_nothing(res)

    cdef int on_leased(self, int res, unsigned flags) except -1:
        """A read into a buffer of a pool has brought a chunk, or has ended."""
        cdef BufferPool pool = self.leases.armed
        cdef Lease lease = self.leases.received(res, flags, self.token(c.NL_RECV_LEASED, 0))
        if not self.read_op:
            self.leases.armed = None
        if lease is not None and (res <= 0 or self.state != NL_OPEN):
            lease.release()
        if self.state != NL_OPEN:
            return 0
        if res > 0:
            if self.messages and <size_t>res == lease.pool.buffers.size:
                self.note_full_buffer(res)
            return self.hold_back(lease) if self.paused or self.backlog else self.deliver(lease)
        if self.read_op:
            return 0
        return self.starve(pool) if res == -ENOBUFS else self.on_nothing(res)

    cdef int starve(self, BufferPool pool) except -1:
        """That pool has no buffer. It may be another one by now that is wanted, or none."""
        return self.leases.starve(self) if pool is self.leases.pool else self.mark_dirty()

    cdef int on_nothing(self, int res) except -1:
        """A read has ended without data: the end, or -errno."""
        if res == 0:
            return self.end_reading()
        if res == -EAGAIN:
            self.must_poll = True
            return 0
        if res == -c.ECANCELED or res == -EINTR:
            return 0
        if not self.single and (res == -EBADFD or res == -EINVAL or res == -EOPNOTSUPP):
            # Before Linux 6.7 there is no multishot read; and none of a device that cannot be polled.
            self.single = True
            return 0
        return self.fail(os_error(res), "Fatal read error on pipe transport")

    cdef int receive_data(self, int length, unsigned flags) except -1:
        """A chunk has arrived in a buffer of the group."""
        cdef BufferGroup group = self.group()
        cdef const unsigned char *data = c.nl_buffers_take(&group.buffers, flags)
        cdef bytes copy
        c.nl_buffers_note(&group.buffers, length)
        try:
            copy = PyBytes_FromStringAndSize(<const char *>data, length)
        finally:
            c.nl_buffers_give(&group.buffers, flags)
        if self.state != NL_OPEN:
            return 0
        if self.messages and <size_t>length == group.size:
            self.note_full_buffer(length)
        if self.paused or self.backlog:
            return self.hold_back(copy)
        return self.deliver(copy)

    cdef int note_full_buffer(self, int length) except -1:
        """A socket's message that fills its buffer was cut, or happens to be as long. Devices may fill any buffer."""
        if stat.S_ISSOCK(os.fstat(self.fd).st_mode):
            logger.warning("%r: a message was cut to %d bytes, the most that can be received", self, length)
        return 0

    cdef int deliver(self, object data) except -1:
        if self.leases is not None:
            if self.leases.pool is not None:
                return self.deliver_lease(<Lease>data if type(data) is Lease else private_lease(<bytes>data))
            if type(data) is Lease:
                data = taken_bytes(<Lease>data)
        # As in asyncio, and unlike a stream's, an error in the protocol does not end the reading.
        PyContext_Enter(self.context)
        try:
            self.protocol.data_received(data)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            self.report(exc, "Error in protocol.data_received()")
        finally:
            PyContext_Exit(self.context)
        return 0

    cdef int deliver_lease(self, Lease lease) except -1:
        PyContext_Enter(self.context)
        try:
            self.protocol.lease_received(lease)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            self.report(exc, "Error in protocol.lease_received()")
        finally:
            PyContext_Exit(self.context)
        return 0

    cdef int on_parked(self, c.io_uring_cqe *cqe) except -1:
        return self.leases.park(cqe) if c.nl_token_op(cqe.user_data) == c.NL_RECV_LEASED else 0

    cdef int on_abandoned(self, unsigned op, unsigned lane, int res, unsigned flags) except -1:
        cdef Lease lease = self.leases.received(res, flags, 0) if op == c.NL_RECV_LEASED else None
        if lease is not None:
            lease.release()
        return 0

    cdef int on_ring_closed(self) except -1:
        # What is not with the kernel goes back at once, though who holds this transport may keep it for long.
        if self.leases is not None and not self.in_flight:
            self.leases.drop(self.backlog)
        return ReadingTransport.on_ring_closed(self)

    cdef int end_reading(self) except -1:
        """The last writer has closed its end."""
        self.read_ended = True
        if self.paused or self.backlog:
            self.end_held_back = True
            return 0
        if self.loop._debug:
            logger.info("%r was closed by peer", self)
        # In a turn of its own, followed by connection_lost(); whatever it returns, a pipe has no other direction.
        self.loop.call_soon(self.protocol.eof_received, context=self.context)
        return self.lose(None)

    def get_extra_info(self, name, default=None):
        """ "pipe"; see asyncio.BaseTransport.get_extra_info."""
        return self.extra.get(name, default)


@cython.final
cdef class WritePipeTransport(Transport):
    """asyncio.WriteTransport over a pipe, driven by the ring."""

    def __dealloc__(self):
        outbox_clear(&self.outbox)

    @property
    def __class__(self):
        return WritePipeInterface

    def __repr__(self):
        return (f"<WritePipeTransport {self.state_name()} fd={self.fd} "
                f"write=<{'in flight' if self.write_op else 'idle'}, bufsize={self.get_write_buffer_size()}>>")

    def _start(self):
        self.started = True
        self.mark_dirty()

    def close(self):
        """Write what was accepted, then close the pipe; see asyncio.BaseTransport.close."""
        self.check_thread()
        if self.state >= NL_DRAINING:
            return
        self.step(c.NL_ON_CLOSE)
        self.note_drained()

    def write_eof(self):
        """The same as close(): a pipe's end is what its reader takes for the end of the file."""
        self.close()

    def can_write_eof(self):
        return True

    cdef Py_ssize_t unsent(self) noexcept:
        return self.outbox.size

    cdef str ignored_write_text(self):
        return "pipe closed by peer or os.write(pipe, data) raised exception."

    cdef int discard(self) except -1:
        return 0 if self.write_op == c.NL_WRITE else outbox_clear(&self.outbox)

    cdef int close_file(self) except -1:
        self.pipe.close()
        return self.step(c.NL_ON_FILE_CLOSED)

    # What is wanted becomes submissions -------------------------------------------------------------------------

    cdef int on_flush(self) except -1:
        if self.state <= NL_DRAINING:
            self.flush_write()
        if self.state == NL_CANCELLING:
            self.flush_cancel()
        elif self.watched and self.started and not self.watching:
            # An error or a hang-up needs no asking for; they are what a pipe without a reader shows.
            c.nl_prep_poll(self.sqe(), c.nl_descriptor(self.fd), POLLRDHUP, self.token(c.NL_POLL, 1))
            self.watching = True
        return self.note_quiet()

    cdef int flush_write(self) except -1:
        """Write what is in the outbox; one write at a time, because two in flight would interleave."""
        cdef NextSend send
        cdef Py_ssize_t length
        cdef c.nl_file file = c.nl_descriptor(self.fd)
        if self.write_op:
            return 0
        length = outbox_next_piece(&self.outbox, &send) if self.messages else outbox_gather(&self.outbox, &send)
        if not length:
            return 0
        if self.must_poll:
            self.write_op = c.NL_POLL
            c.nl_prep_poll(self.sqe(), file, POLLOUT, self.token(c.NL_POLL, 0))
        else:
            self.write_op = c.NL_WRITE
            # An offset of -1 means the file's own position, the only one a pipe has.
            if send.message == NULL:
                c.nl_prep_write(self.sqe(), file, send.data, <unsigned>length, <c.uint64_t>-1,
                                self.token(c.NL_WRITE, 0))
            else:
                c.nl_prep_writev(self.sqe(), file, send.message.msg_iov, <unsigned>send.message.msg_iovlen,
                                 <c.uint64_t>-1, self.token(c.NL_WRITE, 0))
        return 0

    cdef int flush_cancel(self) except -1:
        """Cancel what is in flight."""
        if self.write_op and not self.write_cancelled:
            self.write_cancel(self.write_op, 0)
            self.write_cancelled = True
        if self.watching and not self.watch_cancelled:
            self.write_cancel(c.NL_POLL, 1)
            self.watch_cancelled = True
        return 0

    cdef int on_completion(self, unsigned op, unsigned lane, int res, unsigned flags) except -1:
        if op == c.NL_POLL and lane == 1:
            self.watching = False
            if res > 0:
                self.on_reader_gone()
            elif res == -c.ECANCELED:
                self.mark_dirty()  # a loop that stops cancels what is to be begun anew when it runs again
            elif self.state < NL_CANCELLING:
                self.watched = False
                self.fail(os_error(res), "Fatal poll error on pipe transport")
        else:
            self.write_op = 0
            if op == c.NL_WRITE:
                self.on_written(res)
            else:
                self.must_poll = False
                self.mark_dirty()
        return self.note_quiet()

    cdef int on_written(self, int res) except -1:
        if self.state >= NL_CANCELLING:
            return outbox_clear(&self.outbox)
        if res >= 0:
            outbox_advance(&self.outbox, res)
        elif res == -EAGAIN:
            self.must_poll = True
        elif res != -EINTR and res != -c.ECANCELED:
            return self.fail(os_error(res), "Fatal write error on pipe transport")
        if self.outbox.size:
            self.mark_dirty()
        return self.after_sent()

    cdef int on_reader_gone(self) except -1:
        """Nobody will read what is written from now on."""
        if self.state >= NL_CANCELLING:
            return 0
        if self.loop._debug:
            logger.info("%r was closed by peer", self)
        return self.lose(BrokenPipeError() if self.outbox.size else None)

    # Writing ----------------------------------------------------------------------------------------------------

    def write(self, data):
        """Write bytes; never blocks. See asyncio.WriteTransport.write.

        bytes are written in place. A bytearray or memoryview is copied, because the caller may go on to change it.
        """
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(f"data argument must be a bytes-like object, not {type(data).__name__!r}")
        self.accept_write(data if type(data) is bytes else bytes(data))

    def writelines(self, list_of_data):
        """Write several pieces, gathered into one write; see asyncio.WriteTransport.writelines."""
        pieces = [piece if type(piece) is bytes else bytes(memoryview(piece)) for piece in list_of_data]
        if self.must_not_wait():
            self.accept_write(b"".join(pieces))
            return
        for piece in pieces:
            self.accept_write(<bytes>piece)

    cdef int accept_write(self, bytes piece) except -1:
        self.check_thread()
        if not PyBytes_GET_SIZE(piece):
            return 0
        if self.state >= NL_DRAINING:
            return self.ignore_write()
        cdef bint alone = not self.outbox.size
        outbox_add(&self.outbox, piece)
        if alone and self.must_not_wait():
            self.write_at_once()
        if not self.outbox.size:
            return 0
        self.mark_dirty()
        return self.pause_writing_if_full()

    cdef bint must_not_wait(self) noexcept:
        """Is a write for now and not for the turn's end, because nothing may be added to it, or nobody knows when a
        loop that does not run will run again, or the application wants it so?
        """
        return self.messages or not self.ring.running or self.loop.eager_writes

    cdef int write_at_once(self) except -1:
        """Write all that is in the outbox, piece by piece, as far as the file has room for it.

        Not through the ring, where the kernel gives a terminal's writes to a thread of its own.
        """
        cdef NextSend send
        cdef Py_ssize_t length, taken
        while self.outbox.size:
            length = outbox_next_piece(&self.outbox, &send)
            taken = write_descriptor(self.fd, send.data, length)
            if taken < 0 and errno != EAGAIN and errno != EINTR:
                return self.fail(os_error(-errno), "Fatal write error on pipe transport")
            if taken > 0:
                outbox_advance(&self.outbox, taken)
            if taken < length:
                break
        return 0

    cdef int send_rest(self) except -1:
        return 0 if self.write_op or self.state > NL_DRAINING else self.write_at_once()

    def is_reading(self):
        """Not of a pipe's writing end. asyncio has the method, and raises this."""
        raise NotImplementedError(writing_end)

    def pause_reading(self):
        """Not of a pipe's writing end; see is_reading()."""
        raise NotImplementedError(writing_end)

    def resume_reading(self):
        """Not of a pipe's writing end; see is_reading()."""
        raise NotImplementedError(writing_end)

    def get_extra_info(self, name, default=None):
        """ "pipe"; see asyncio.BaseTransport.get_extra_info."""
        return self.extra.get(name, default)


def make_read_pipe(LoopCore loop, pipe, protocol, waiter, extra):
    """A transport that reads from a file object, which it owns from now on; it starts in the next turn.

    Raises ValueError for a file that is neither a pipe nor a socket nor a character device.
    """
    cdef int fd = pipe.fileno()
    mode = os.fstat(fd).st_mode
    if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or stat.S_ISCHR(mode)):
        raise ValueError("Pipe transport is for pipes/sockets only.")
    os.set_blocking(fd, False)
    cdef ReadPipeTransport transport = ReadPipeTransport.__new__(ReadPipeTransport)
    transport.pipe = pipe
    transport.fd = fd
    # The reading end of a pipe does not say what the writing end does; the packets of one are no larger than PIPE_BUF.
    transport.messages = loop.ring.streams.size < PIPE_BUF if stat.S_ISFIFO(mode) else keeps_messages(fd, mode)
    transport.set_up(loop, loop.ring, protocol, PyContext_CopyCurrent(), {**(extra or {}), "pipe": pipe})
    start_reading(loop, transport, waiter)
    return transport


def make_write_pipe(LoopCore loop, pipe, protocol, waiter, extra):
    """A transport that writes to a file object, which it owns from now on; it starts in the next turn.

    Raises ValueError for a file that is neither a pipe nor a socket nor a character device.
    """
    cdef int fd = pipe.fileno()
    mode = os.fstat(fd).st_mode
    # A terminal hangs up when its last reader is gone, but may get another one.
    cdef bint watched = stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
    if not (watched or stat.S_ISCHR(mode)):
        raise ValueError("Pipe transport is only for pipes, sockets and character devices")
    os.set_blocking(fd, False)
    cdef WritePipeTransport transport = WritePipeTransport.__new__(WritePipeTransport)
    transport.pipe = pipe
    transport.fd = fd
    transport.messages = keeps_messages(fd, mode)
    transport.watched = watched
    transport.set_up(loop, loop.ring, protocol, PyContext_CopyCurrent(), {**(extra or {}), "pipe": pipe})
    start_writing(loop, transport, waiter)
    return transport


cdef bint keeps_messages(int fd, mode) except -1:
    """Does the file keep what one write brings apart from the next, so that each read gives one of them?

    A device does not say. A terminal is a stream of bytes; of any other it is assumed, because a device that takes
    packets or events misunderstands two in one write, while one that takes bytes is only written to more often.
    """
    cdef int kind = SOCK_STREAM
    cdef c.socklen_t length = sizeof(kind)
    if stat.S_ISSOCK(mode):
        return getsockopt(fd, SOL_SOCKET, SO_TYPE, &kind, &length) == 0 and kind != SOCK_STREAM
    if stat.S_ISFIFO(mode):
        return fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_DIRECT != 0
    return not os.isatty(fd)


cdef start_reading(LoopCore loop, ReadPipeTransport transport, waiter):
    """connection_made(), then the answer to who waits, then reading: each may end the loop's run.

    Who waits runs in the turn after the answer, and so has the transport in hand before the first data is delivered.
    """
    loop.call_soon(transport.protocol.connection_made, transport)
    if waiter is not None:
        loop.call_soon(futures._set_result_unless_cancelled, waiter, None)
    loop.call_soon(loop.call_soon, transport._start)


cdef start_writing(LoopCore loop, WritePipeTransport transport, waiter):
    """connection_made(), then watching the reader, then the answer to who waits: each may end the loop's run."""
    loop.call_soon(transport.protocol.connection_made, transport)
    loop.call_soon(transport._start)
    if waiter is not None:
        loop.call_soon(futures._set_result_unless_cancelled, waiter, None)
