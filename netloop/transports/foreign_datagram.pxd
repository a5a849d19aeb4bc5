cimport cython

from netloop.transports.datagram_base cimport DatagramBase


@cython.final
cdef class ForeignDatagramTransport(DatagramBase):
    # Datagrams that found no room, each with its address, and what they count for in the write buffer.
    cdef object waiting
    cdef Py_ssize_t waiting_size

    cdef int flush_receive(self) except -1
    cdef int receive(self) except -1
    cdef bint receive_one(self) except -1
    cdef bint try_to_send(self, bytes payload, object address) except -1
    cdef int send_waiting(self) except -1
