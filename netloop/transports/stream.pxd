from libc.stdint cimport int32_t

cimport cython

from netloop.core.cext cimport flag, nl_file
from netloop.core.pool cimport Lease, LeaseReceiver
from netloop.core.ring cimport Ring
from netloop.core.turn cimport LoopCore
from netloop.transports.base cimport SocketTransport
from netloop.transports.outbox cimport FileSend, NextSend, Outbox
from netloop.transports.zero_copy cimport ZeroCopySender


cdef class ProtocolBuffer:
    cdef Py_buffer view


@cython.final
cdef class StreamTransport(SocketTransport):
    cdef object server

    # Receiving. What the protocol is: a BufferedProtocol, one of netloop's own that takes bytes without a call.
    cdef flag buffered
    cdef flag takes_bytes
    # The operation that receives or polls, 0 for none, and whether it was cancelled.
    cdef unsigned char receive_op
    cdef flag receive_cancelled
    # Does it receive by itself, without the group? How many receives in a row have spoken for the other way?
    cdef flag alone
    cdef unsigned char in_a_row
    # The memory of a receive that the kernel did not take at once: bytes, a ProtocolBuffer or a Lease.
    cdef object held
    # The pool received into, if the protocol is or was a LeaseProtocol.
    cdef LeaseReceiver leases

    # Sending.
    cdef Outbox outbox
    cdef FileSend file_send
    # How much a send that says nothing unless it fails is to send, 0 if none is in flight, -1 if the last one failed.
    cdef int32_t quietly
    cdef flag sending
    cdef flag send_cancelled
    cdef flag write_ended
    cdef flag shutting_down
    # Sends leases without a copy, if large ones were written; else None.
    cdef ZeroCopySender zero_copy

    cdef int flush_receive(self) except -1
    cdef bint receives_elsewhere(self) noexcept
    cdef int flush_send(self) except -1
    cdef bint may_be_silent(self, Py_ssize_t length) noexcept
    cdef bint send_leases(self, NextSend *send, Py_ssize_t length) except -1

    cdef int on_received(self, int res, unsigned flags) except -1
    cdef int feed(self, const unsigned char *data, Py_ssize_t length) except -1
    cdef int feed_once(self, const unsigned char *data, Py_ssize_t length, Py_ssize_t *used) except -1
    cdef int put_back(self, const unsigned char *data, Py_ssize_t length) except -1
    cdef int on_no_data(self, int res) except -1

    cdef int choose_pool(self, object protocol, bint wanted) except -1
    cdef int on_leased(self, int res, unsigned flags) except -1
    cdef int receive_lease(self) except -1
    cdef int deliver_lease(self, Lease lease) except -1

    cdef int note_large(self, int length) except -1
    cdef int on_readable(self, int res) except -1
    cdef int32_t receive_now(self, void *memory, size_t length) except? -1
    cdef int receive_bytes(self) except -1
    cdef int receive_into_protocol(self) except -1
    cdef int take_own(self, object data) except -1
    cdef int on_held_filled(self, int res) except -1

    cpdef write(self, data)
    cdef int add_pieces(self, list pieces) except -1
    cdef int add_lease(self, Lease lease) except -1
    cdef int check_writable(self, str method) except -1
    cdef bint too_late(self) noexcept
    cdef int added(self) except -1
    cdef int send_now(self) except -1
    cdef int reap_send(self) except -1
    cdef int on_sent(self, int res) except -1
    cdef int shut_down_at_rest(self) except -1


cdef Ring ring_for(LoopCore loop, object protocol)
cdef StreamTransport new_stream(LoopCore loop, Ring ring, nl_file file, object sock, object protocol, object context,
                                object server, dict extra)
