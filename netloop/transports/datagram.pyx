# cython: language_level=3, boundscheck=False, wraparound=False
"""The datagram transport: UDP and UNIX datagrams, from the kernel's buffer to the protocol and from sendto() back.

Order. The kernel tries the sends of one submission in their order, but where one finds the socket full those behind
it may still find room. Therefore datagrams are sent in batches that are sure to fit: the room in the socket's buffer is
asked for first, which nobody else fills, and the next batch begins when the last one is back. Linking the sends would
keep their order as well, but with deferred task work the kernel advances a chain only step by step, at each enter.
UNIX datagrams are reliable and need room at the receiver, which cannot be known, so they are sent one by one.

A send does not wait in the kernel. Linux 6.18 has copied a UNIX datagram's payload when it finds the receiver full, and
what it sends later is empty.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.errno cimport EAGAIN, EINTR, ENOBUFS
from libc.stdint cimport int32_t

from netloop.core cimport cext as c
from netloop.core.cext cimport NL_CANCELLING, NL_CLOSING, NL_DRAINING
from netloop.core.turn cimport LoopCore
from netloop.transports.address cimport Peer, encode_destination, known_peer
from netloop.transports.base cimport names_of, os_error
from netloop.transports.datagram_base cimport DatagramBase, header_size
from netloop.transports.foreign_datagram cimport ForeignDatagramTransport
from netloop.transports.outbox cimport DatagramOutbox


cdef extern from "Python.h":
    object PyContext_CopyCurrent()

cdef enum:
    # Sends in one batch; a lane has eight bits of a token.
    BATCH_LIMIT = 64
    # Submission entries of a flush that are not for sends: to arm or cancel the receive.
    OTHER_ENTRIES = 3
    # A write buffer of so many bytes is not kept until the turn's end.
    SEND_NOW = 16 * 1024


@cython.final
cdef class DatagramTransport(DatagramBase):
    """asyncio.DatagramTransport over a socket of the internet or of UNIX, driven by the ring."""

    def __cinit__(self):
        self.outbox = DatagramOutbox(header_size)

    cdef bint has_sends(self) noexcept:
        return self.sending != 0

    cdef Py_ssize_t unsent(self) noexcept:
        return self.outbox.size

    cdef int discard(self) except -1:
        self.untold.clear()
        return 0 if self.sending else self.outbox.clear()

    # What is wanted becomes submissions -------------------------------------------------------------------------

    cdef int on_flush(self) except -1:
        if self.state <= NL_DRAINING:
            self.flush_send(c.nl_ring_space(&self.ring.ring) - OTHER_ENTRIES)
        elif self.state == NL_CLOSING:
            return self.flush_close()
        else:
            self.stop_waiting()
        return self.flush_receive()

    cdef int flush_receive(self) except -1:
        """Arm the multishot receive, or cancel it, as wanted."""
        cdef bint wanted = self.wants_data()
        if wanted and not self.receiving:
            self.ring.datagrams.open(self.ring)
            self.receive_message.msg_namelen = <c.socklen_t>c.NL_DATAGRAM_NAME_ROOM
            c.nl_prep_recvmsg_multishot(self.sqe(), self.file, &self.receive_message,
                                        self.ring.datagrams.buffers.group, self.token(c.NL_RECVMSG, 0))
            self.receiving = True
        elif self.receiving and not wanted and not self.receive_cancelled:
            self.write_cancel(c.NL_RECVMSG, 0)
            self.receive_cancelled = True
        return 0

    cdef int flush_send(self, Py_ssize_t entries) except -1:
        """Send the next batch, of at most so many datagrams, unless the last one is not back or waits for room."""
        cdef Py_ssize_t count, lane
        if self.sending or self.polling or self.pausing is not None:
            return 0
        if not self.outbox.waiting():
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

    cdef int on_completion(self, unsigned op, unsigned lane, int res, unsigned flags) except -1:
        if op == c.NL_RECVMSG:
            self.on_received(res, flags)
        elif op == c.NL_SEND:
            self.on_sent(lane, res)
        elif op == c.NL_POLL:
            self.on_polled(res)
        elif op == c.NL_CLOSE:
            # An error means that somebody else closed the file: closed it is.
            return self.step(c.NL_ON_FILE_CLOSED)
        return self.note_quiet()

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
        cdef c.nl_datagram datagram = c.nl_datagram_read(buffer, res, 0, c.NL_DATAGRAM_LIMIT)
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
            self.note_cut(len(payload))
        if self.paused or self.backlog:
            return self.hold_back((payload, address))
        return self.deliver_datagram(payload, address)

    cdef object sender_of(self, const c.nl_datagram *datagram):
        """The sender's address; one that comes again and again is the same object."""
        self.sender = known_peer(datagram.name, datagram.name_length)
        return self.sender.address

    # Sending ----------------------------------------------------------------------------------------------------

    cdef int accept(self, bytes payload, object address) except -1:
        self.outbox.add(payload, self.destination_of(address))
        return self.mark_dirty()

    cdef int send_if_due(self) except -1:
        return self.send_now() if not self.sending and not self.full and self.must_not_wait() else 0

    cdef int send_rest(self) except -1:
        if not self.sending and not self.full and self.state <= NL_DRAINING and (
                self.ring.running or self.ring.is_idle()):
            self.send_now()
        return 0

    cdef bint must_not_wait(self):
        """Is what is in the outbox for now, and not for the turn's end?"""
        if not self.ring.running:
            # Nobody knows when the loop will run again. A thread that the ring is not for can do nothing about it.
            return self.ring.is_idle()
        return (self.loop.eager_writes or self.outbox.size >= SEND_NOW
                or self.outbox.waiting() >= self.batch_limit)

    cdef int on_room(self) except -1:
        self.full = False
        return self.mark_dirty()

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
        self.ring.submit()
        count = self.sending
        for lane in range(count):
            if not self.take(c.NL_SEND, <unsigned>lane, &result):
                break
            if self.take_sent(<unsigned>lane, result):
                self.tell_error_soon(os_error(result))
        if self.protocol_paused:
            self.loop.call_soon(self._after_sent)
            return 0
        return self.note_drained()

    cdef int on_sent(self, unsigned lane, int res) except -1:
        if self.take_sent(lane, res):
            self.tell_error(os_error(res))
        return self.after_sent()

    cdef int take_sent(self, unsigned lane, int res) except -1:
        """A send has completed, with a length or -errno. Says whether it failed, and the protocol is to know."""
        cdef bint again = res == -EAGAIN or res == -EINTR
        self.sending -= 1
        if self.state >= NL_CANCELLING:
            self.discard()
            return False
        if again:
            self.full = True
        else:
            self.outbox.sent(lane)
            self.note_progress()
        if not self.sending:
            self.outbox.settle()
            if self.outbox.waiting():
                self.mark_dirty()
        return res < 0 and not again


def make_datagram(LoopCore loop, sock, protocol, address, waiter, dict extra):
    """A transport over a datagram socket, which it owns from now on; it starts in the next turn.

    ``address`` is the only destination of a socket that is not connected, or None.
    """
    cdef DatagramBase transport = new_transport(sock.family)
    extra = names_of(sock, extra)
    transport.address = address or None
    # A pair of UNIX sockets is connected though neither end has a name.
    transport.connected = extra["peername"] is not None
    transport.own(loop, loop.ring, c.nl_descriptor(sock.fileno()), sock, protocol, PyContext_CopyCurrent(), extra)
    transport._own_descriptor(transport.file.number)
    loop.call_soon(transport._begin, waiter)
    return transport


cdef DatagramBase new_transport(int family):
    cdef DatagramTransport transport
    if family not in (c.AF_INET, c.AF_INET6, c.AF_UNIX):
        return ForeignDatagramTransport.__new__(ForeignDatagramTransport)
    transport = DatagramTransport.__new__(DatagramTransport)
    transport.family = family
    transport.batch_limit = 1 if family == c.AF_UNIX else BATCH_LIMIT
    return transport
