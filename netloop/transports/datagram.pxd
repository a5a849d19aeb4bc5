cimport cython

from netloop.core.cext cimport msghdr, nl_datagram
from netloop.transports.address cimport Peer
from netloop.transports.datagram_base cimport DatagramBase
from netloop.transports.outbox cimport DatagramOutbox


@cython.final
cdef class DatagramTransport(DatagramBase):
    cdef int family
    # The peers that a datagram came from last, and that one went to.
    cdef Peer sender
    cdef Peer receiver
    cdef msghdr receive_message

    cdef DatagramOutbox outbox
    # Sends in flight, and how many may be.
    cdef Py_ssize_t sending
    cdef Py_ssize_t batch_limit
    # Did the last batch find no room?
    cdef bint full

    cdef int flush_receive(self) except -1
    cdef int flush_send(self, Py_ssize_t entries) except -1
    cdef int prepare_send(self, Py_ssize_t lane) except -1
    cdef int on_received(self, int res, unsigned flags) except -1
    cdef int receive_datagram(self, int res, unsigned flags) except -1
    cdef object sender_of(self, const nl_datagram *datagram)
    cdef object destination_of(self, object address)
    cdef bint must_not_wait(self)
    cdef int send_now(self) except -1
    cdef int on_sent(self, unsigned lane, int res) except -1
    cdef int take_sent(self, unsigned lane, int res) except -1
