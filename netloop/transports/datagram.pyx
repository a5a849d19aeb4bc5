# cython: language_level=3, boundscheck=False, wraparound=False
"""The datagram transport: UDP and UNIX datagrams, from the kernel's buffer to the protocol and from sendto() back.

Order. The kernel tries the sends of one submission in their order, but where one finds the socket full those behind
it may still find room. Therefore datagrams are sent in batches that are sure to fit: the room in the socket's buffer is
asked for first, which nobody else fills, and the next batch begins when the last one is back. Linking the sends would
keep their order as well, but with deferred task work the kernel advances a chain only step by step, at each enter.
UNIX datagrams are reliable and need room at the receiver, which cannot be known, so they are sent one by one.

Waiting. A send does not wait in the kernel. Linux 6.18 has copied a UNIX datagram's payload when it finds the receiver
full, and what it sends later is empty. So a send that would block comes back, and is submitted anew when a poll says
that there is room. Of a receiver that the socket is not connected to no poll can tell; there it is tried again after a
pause.
"""

import asyncio
import socket
import sys
from asyncio import transports
from asyncio.log import logger

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.errno cimport EAGAIN, EINTR, ENOBUFS
from libc.stdint cimport int32_t

from netloop.core cimport cext as c
from netloop.transports.address cimport Peer, encode_destination, known_peer
from netloop.core.cext cimport NL_CANCELLING, NL_DRAINING
from netloop.core.turn cimport LoopCore
from netloop.transports.outbox cimport DatagramOutbox
from netloop.transports.socket_transport cimport SEND_NOW, names_of, os_error


cdef extern from "Python.h":
    int PyContext_Enter(object context) except -1
    int PyContext_Exit(object context) except -1
    object PyContext_CopyCurrent()

cdef enum:
    # Sends in one batch; a lane has eight bits of a token.
    BATCH_LIMIT = 64
    # Submission entries of a flush that are not for sends: to arm or cancel the receive, and to close.
    OTHER_ENTRIES = 3

cdef extern from "<poll.h>":
    enum:
        POLLOUT

# Seconds to the next try where no poll tells of room, doubled each time.
cdef double FIRST_PAUSE = 0.001
cdef double LAST_PAUSE = 0.05

# Since Python 3.13 an empty datagram is sent, and one counts for eight bytes more in the write buffer.
cdef bint sends_empty = sys.version_info >= (3, 13)
cdef Py_ssize_t header_size = 8 if sys.version_info >= (3, 13) else 0


class DatagramInterface(transports._FlowControlMixin, asyncio.DatagramTransport):
    """What isinstance() takes a DatagramTransport for; see StreamInterface."""

    __slots__ = ()


cdef class DatagramTransport(SocketTransport):
    """asyncio.DatagramTransport over a datagram socket, driven by the ring."""

    def __cinit__(self):
        self.outbox = DatagramOutbox(header_size)
        self.untold = []  # errors that the protocol is to hear of in the next turn
        self.pause = FIRST_PAUSE

    @property
    def __class__(self):
        return DatagramInterface

    cdef bint has_receive(self) noexcept:
        return self.receiving

    cdef bint has_sends(self) noexcept:
        return self.sending != 0

    cdef Py_ssize_t unsent(self) noexcept:
        return self.outbox.size

    cdef int discard(self) except -1:
        self.untold.clear()
        return 0 if self.sending else self.outbox.clear()

    cdef int on_closed(self) except -1:
        """The file is closed: nothing of this endpoint is left."""
        return self.leave_ring()

    cdef int on_farewell(self) except -1:
        self.outbox.clear()
        try:
            if self.untold:
                self.tell_errors()
        finally:
            SocketTransport.on_farewell(self)
        return 0

    # What is wanted becomes submissions -------------------------------------------------------------------------

    cdef int on_flush(self) except -1:
        if self.state <= NL_DRAINING:
            self.flush_send(c.nl_ring_space(&self.ring.ring) - OTHER_ENTRIES)
        self.flush_receive()
        if self.state == NL_CANCELLING:
            self.stop_waiting()
            self.close_file()
        return 0

    cdef int flush_receive(self) except -1:
        """Arm the multishot receive, or cancel it, as wanted."""
        cdef bint wanted = self.started and self.state < NL_DRAINING and not self.paused
        if wanted and not self.receiving:
            self.ring.datagrams.open(self.ring)
            self.receive_message.msg_namelen = <c.socklen_t>c.NL_DATAGRAM_NAME_ROOM
            c.nl_prep_recvmsg_multishot(self.sqe(), self.file, &self.receive_message,
                                        self.ring.datagrams.buffers.group, self.token(c.NL_RECVMSG, 0))
            self.receiving = True
        elif self.receiving and not wanted and not self.receive_cancelled:
            c.nl_prep_cancel(c.nl_ring_sqe(&self.ring.ring), self.token(c.NL_RECVMSG, 0), self.token(c.NL_CANCEL, 0))
            self.receive_cancelled = True
        return 0

    cdef int flush_send(self, Py_ssize_t entries) except -1:
        """Send the next batch, of at most so many datagrams, unless the last one is not back or waits for room."""
        cdef Py_ssize_t count, lane
        if self.sending or self.polling or self.pausing is not None:
            return 0
        if not self.outbox.waiting():
            self.state = c.nl_next_state(self.state, c.NL_ON_DRAINED)
            return 0
        if self.full:
            return self.wait_for_room()
        count = min(self.outbox.waiting(), self.batch_limit, entries)
        if count > 1:
            count = self.outbox.fitting(count, c.nl_datagram_room(self.file.number))
        self.outbox.batch = count
        for lane in range(count):
            self.prepare_send(lane)
        self.sending = count
        return 0

    cdef int prepare_send(self, Py_ssize_t lane) except -1:
        cdef bytes payload = self.outbox.payload(lane)
        cdef bytes name = self.outbox.name(lane)
        c.nl_prep_sendto(
            self.sqe(), self.file, PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload),
            NULL if name is None else PyBytes_AS_STRING(name), 0 if name is None else PyBytes_GET_SIZE(name),
            c.MSG_DONTWAIT, self.token(c.NL_SEND, <unsigned>lane))
        return 0

    cdef int wait_for_room(self) except -1:
        if self.polled:
            self.pausing = self.loop.call_later(self.pause, self._end_pause)
            self.pause = min(2 * self.pause, LAST_PAUSE)
            return 0
        c.nl_prep_poll(self.sqe(), self.file, POLLOUT, self.token(c.NL_POLL, 0))
        self.polling = True
        return 0

    def _end_pause(self):
        self.pausing = None
        self.full = False
        if self.attached:
            self.mark_dirty()

    cdef int stop_waiting(self) except -1:
        if self.pausing is not None:
            self.pausing.cancel()
            self.pausing = None
        if self.polling and not self.poll_cancelled:
            c.nl_prep_cancel(c.nl_ring_sqe(&self.ring.ring), self.token(c.NL_POLL, 0), self.token(c.NL_CANCEL, 0))
            self.poll_cancelled = True
        return 0

    cdef int on_completion(self, unsigned op, unsigned lane, int res, unsigned flags) except -1:
        if op == c.NL_RECVMSG:
            self.on_received(res, flags)
        elif op == c.NL_SEND:
            self.on_sent(lane, res)
        elif op == c.NL_POLL:
            # Whatever it says, an error too: the next send will find out.
            self.polling = self.full = False
            self.polled = True
            self.mark_dirty()
        elif op == c.NL_CLOSE:
            # An error means that somebody else closed the descriptor: closed it is.
            return self.on_closed()
        return 0

    # Receiving --------------------------------------------------------------------------------------------------

    cdef int on_received(self, int res, unsigned flags) except -1:
        if not flags & c.IORING_CQE_F_MORE:
            self.receiving = self.receive_cancelled = False
            if res != -ENOBUFS or self.state >= NL_DRAINING:
                # Marked before the protocol is called, because an exit from there must not leave it disarmed.
                self.mark_dirty()
        if res >= 0 and flags & c.IORING_CQE_F_BUFFER:
            return self.receive_datagram(res, flags)
        self.ring.datagrams.drop(flags)
        if self.state >= NL_DRAINING or res >= 0 or res == -c.ECANCELED or res == -EAGAIN or res == -EINTR:
            return 0
        if res == -ENOBUFS:
            # Nothing is lost: datagrams stay in the socket until the receive is armed again.
            return self.ring.datagrams.starve(self)
        return self.tell_error(os_error(res))

    cdef int receive_datagram(self, int res, unsigned flags) except -1:
        """A datagram has arrived in a buffer of the group."""
        cdef const unsigned char *buffer = c.nl_buffers_take(&self.ring.datagrams.buffers, flags)
        cdef c.nl_datagram datagram = c.nl_datagram_read(buffer, res)
        cdef bytes payload = None
        cdef object address
        c.nl_buffers_note(&self.ring.datagrams.buffers, res)
        try:
            if self.state < NL_DRAINING:
                payload = PyBytes_FromStringAndSize(<const char *>datagram.payload, datagram.length)
                address = self.sender_of(&datagram)
        finally:
            c.nl_buffers_give(&self.ring.datagrams.buffers, flags)
        if payload is None:
            return 0
        if datagram.truncated:
            logger.warning("%r: a datagram was cut to %d bytes, the most that can be received", self, len(payload))
        if self.paused or self.backlog:
            return self.hold_back((payload, address))
        return self.deliver_datagram(payload, address)

    cdef object sender_of(self, const c.nl_datagram *datagram):
        """The sender's address; one that comes again and again is the same object."""
        self.sender = known_peer(datagram.name, datagram.name_length)
        return self.sender.address

    cdef int deliver(self, object item) except -1:
        """Hand over what was held back."""
        return self.deliver_datagram(item[0], item[1])

    cdef int deliver_datagram(self, bytes payload, object address) except -1:
        PyContext_Enter(self.context)
        try:
            self.protocol.datagram_received(payload, address)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            self.report(exc, "Error in protocol.datagram_received()")
        finally:
            PyContext_Exit(self.context)
        return 0

    cdef int tell_error(self, object exc) except -1:
        """A send or a receive has failed; the next one may well succeed."""
        PyContext_Enter(self.context)
        try:
            self._tell_error(exc)
        finally:
            PyContext_Exit(self.context)
        return 0

    cdef int tell_error_soon(self, object exc) except -1:
        """Tell of an error that a call of the protocol's own has met, not from within that call."""
        self.untold.append(exc)
        self.loop.call_soon(self._tell_errors, context=self.context)
        return 0

    def _tell_errors(self):
        while self.untold:
            self._tell_error(self.untold.pop(0))

    cdef int tell_errors(self) except -1:
        """Before the end: those of what was sent before close() have not been told yet."""
        PyContext_Enter(self.context)
        try:
            self._tell_errors()
        finally:
            PyContext_Exit(self.context)
        return 0

    def _tell_error(self, exc):
        try:
            self.protocol.error_received(exc)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            self.report(error, "Error in protocol.error_received()")

    # Sending ----------------------------------------------------------------------------------------------------

    def sendto(self, data, addr=None):
        """Send a datagram; never blocks. See asyncio.DatagramTransport.sendto.

        bytes are sent in place. A bytearray or memoryview is copied, because the caller may go on to change it.
        """
        cdef bytes name
        if type(data) is not bytes:
            if not isinstance(data, (bytes, bytearray, memoryview)):
                raise TypeError(f"data argument must be a bytes-like object, not {type(data).__name__!r}")
            data = bytes(data)
        if not data and not sends_empty:
            return
        if self.address is not None:
            if addr is not None and addr != self.address:
                raise ValueError(f"Invalid address: must be None or {self.address}")
            addr = self.address
        if self.state >= NL_DRAINING:
            self.ignore_write()
            return
        try:
            name = self.destination_of(addr)
        except OSError as exc:
            self.tell_error_soon(exc)
            return
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            # As asyncio has it: an address that cannot be understood is fatal.
            self.fail(exc, "Fatal write error on datagram transport")
            return
        self.outbox.add(<bytes>data, name)
        self.mark_dirty()
        if not self.sending and not self.full and (
                self.outbox.size >= SEND_NOW or self.outbox.waiting() >= self.batch_limit
                # Nobody knows when a loop that does not run will run again.
                or not self.ring.running and self.ring.is_idle()):
            self.send_now()
        if self.outbox.size > self.high_water:
            self.pause_writing_if_full()

    cdef object destination_of(self, object address):
        """The kernel's form of an address; None where the socket is connected."""
        cdef bytes name
        if self.connected:
            return None
        if address is not None:
            # A reply to the datagram just received, or one more to where the last one went.
            if self.sender is not None and address is self.sender.address:
                return self.sender.name
            if self.receiver is not None and address is self.receiver.address:
                return self.receiver.name
        name = encode_destination(self.family, address)
        # Only what cannot change may be recognised by its identity.
        if type(address) is tuple:
            self.receiver = Peer.__new__(Peer)
            self.receiver.address, self.receiver.name = address, name
        return name

    cdef int send_now(self) except -1:
        """Send a batch without waiting for the turn's end, and take in what has become of it.

        Many or large datagrams that live until then grow the heap, and would pause a protocol that need not wait.
        """
        cdef int32_t result
        cdef Py_ssize_t lane, count
        if not c.nl_ring_space(&self.ring.ring):
            return 0
        self.flush_send(c.nl_ring_space(&self.ring.ring))
        self.ring.submit_sends()
        count = self.sending
        for lane in range(count):
            if not c.nl_ring_take(&self.ring.ring, self.token(c.NL_SEND, <unsigned>lane), &result):
                break
            self.in_flight -= 1
            self.ring.in_flight -= 1
            if self.take_sent(<unsigned>lane, result):
                self.tell_error_soon(os_error(result))
        if self.protocol_paused:
            self.loop.call_soon(self._resume_writing)
        return 0

    cdef int on_sent(self, unsigned lane, int res) except -1:
        if self.take_sent(lane, res):
            self.tell_error(os_error(res))
        if self.state < NL_CANCELLING:
            self.resume_writing_if_drained()
        return 0

    cdef int take_sent(self, unsigned lane, int res) except -1:
        """A send has completed, with a length or -errno. Says whether it failed, and the protocol is to know."""
        cdef bint again = res == -EAGAIN or res == -EINTR
        self.sending -= 1
        if self.state >= NL_CANCELLING:
            if not self.sending:
                self.outbox.clear()
            self.mark_dirty()
            return False
        if again:
            self.full = True
        else:
            self.outbox.sent(lane)
            self.polled = False
            self.pause = FIRST_PAUSE
        if not self.sending:
            self.outbox.settle()
            if self.outbox.waiting() or self.state == NL_DRAINING:
                self.mark_dirty()
        return res < 0 and not again


def make_datagram(LoopCore loop, sock, protocol, address, waiter, dict extra):
    """A transport over a datagram socket, which it owns from now on; it starts in the next turn.

    ``address`` is the only destination of a socket that is not connected, or None.
    """
    cdef DatagramTransport transport = DatagramTransport.__new__(DatagramTransport)
    extra = names_of(sock, extra)
    transport.family = sock.family
    transport.address = address or None
    # A pair of UNIX sockets is connected though neither end has a name.
    transport.connected = extra["peername"] is not None
    transport.batch_limit = BATCH_LIMIT if sock.family in (socket.AF_INET, socket.AF_INET6) else 1
    transport.own(loop, c.nl_descriptor(sock.fileno()), sock, protocol, PyContext_CopyCurrent(), extra)
    transport._own_descriptor(transport.file.number)
    loop.call_soon(transport._begin, waiter)
    return transport
