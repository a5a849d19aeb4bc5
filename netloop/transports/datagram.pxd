from netloop.transports.address cimport Peer
from netloop.core.cext cimport msghdr, nl_datagram
from netloop.transports.outbox cimport DatagramOutbox
from netloop.transports.socket_transport cimport SocketTransport


cdef class DatagramTransport(SocketTransport):
    cdef int family
    cdef object address
    cdef bint connected
    cdef Peer sender
    cdef Peer receiver

    cdef bint receiving
    cdef bint receive_cancelled
    cdef msghdr receive_message

    cdef DatagramOutbox outbox
    cdef list untold
    cdef Py_ssize_t sending
    cdef Py_ssize_t batch_limit
    cdef bint full
    cdef bint polling
    cdef bint polled
    cdef bint poll_cancelled
    cdef object pausing
    cdef double pause

    cdef int on_closed(self) except -1
    cdef int flush_receive(self) except -1
    cdef int flush_send(self, Py_ssize_t entries) except -1
    cdef int prepare_send(self, Py_ssize_t lane) except -1
    cdef int wait_for_room(self) except -1
    cdef int stop_waiting(self) except -1
    cdef int on_received(self, int res, unsigned flags) except -1
    cdef int receive_datagram(self, int res, unsigned flags) except -1
    cdef object sender_of(self, const nl_datagram *datagram)
    cdef int deliver_datagram(self, bytes payload, object address) except -1
    cdef int tell_error(self, object exc) except -1
    cdef object destination_of(self, object address)
    cdef int tell_error_soon(self, object exc) except -1
    cdef int tell_errors(self) except -1
    cdef int send_now(self) except -1
    cdef int on_sent(self, unsigned lane, int res) except -1
    cdef int take_sent(self, unsigned lane, int res) except -1
