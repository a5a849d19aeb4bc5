from netloop.core.cext cimport flag
from netloop.transports.base cimport SocketTransport

# What a datagram that waits counts for in the write buffer beside its payload, in bytes.
cdef Py_ssize_t header_size


cdef class DatagramBase(SocketTransport):
    # The only destination, or None.
    cdef object address
    cdef flag connected
    # Is a receive in flight, or the poll that it waits for, and was it cancelled?
    cdef flag receiving
    cdef flag receive_cancelled
    # Is a poll for room to send in flight, and was it cancelled? Has one said, since the last send, that there is room?
    cdef flag polling
    cdef flag poll_cancelled
    cdef flag polled
    # The timer after which a send is tried again.
    cdef object pausing
    cdef double pause
    # Errors that the protocol is to hear of in the next turn.
    cdef list untold

    cdef bint wants_data(self) noexcept
    cdef int accept(self, bytes payload, object address) except -1
    cdef int send_if_due(self) except -1
    cdef int wait_for_room(self) except -1
    cdef int stop_waiting(self) except -1
    cdef int on_polled(self, int res) except -1
    cdef int on_room(self) except -1
    cdef int note_progress(self) except -1
    cdef int deliver_datagram(self, bytes payload, object address) except -1
    cdef int tell_error(self, object exc) except -1
    cdef int tell_error_soon(self, object exc) except -1
    cdef int tell_errors(self) except -1
    cdef int note_cut(self, Py_ssize_t length) except -1
