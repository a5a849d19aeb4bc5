from cpython.ref cimport PyObject
from libc.stdint cimport uint32_t

from netloop.core.cext cimport flag, nl_arrival, nl_datagram
from netloop.core.pool cimport Lease
from netloop.transports.address cimport Peer


# A datagram as the kernel has delivered it, which may be several that it has coalesced.
cdef struct Record:
    # Of these, which have all else in common: the first one's number in the batch.
    uint32_t first
    flag truncated
    nl_arrival arrival
    # A Peer; a reference of the batch's own.
    PyObject *sender
    # With a pool: the Lease of them all, likewise, or NULL; and the size of each of them but the last.
    PyObject *lease
    Py_ssize_t size


cdef class Packet:
    cdef readonly object payload
    cdef Peer sender
    cdef nl_arrival arrival
    cdef unsigned port
    cdef readonly bint truncated


cdef class PacketBatch:
    # The payloads, where they are not in leases.
    cdef list contents
    cdef Py_ssize_t total
    cdef flag released
    cdef Record *records
    cdef Py_ssize_t recorded
    cdef Py_ssize_t room
    # The port of the socket, which packets were sent to.
    cdef unsigned port
    cdef readonly unsigned long dropped
    # The kernel's count of datagrams that the socket has dropped, as the last packet tells it; 0: none yet.
    cdef uint32_t total_dropped

    cdef int add(self, const nl_datagram *datagram, Peer sender, bint told, Lease lease) except -1
    cdef int check_held(self) except -1
    cdef int add_views(self, Py_ssize_t place, list views) except -1
    cdef object payload(self, Py_ssize_t index, Py_ssize_t place)
    cdef Py_ssize_t end_of(self, Py_ssize_t place) noexcept
    cdef int give_back(self) except -1
    cdef int add_copies(self, const char *payload, Py_ssize_t left, Py_ssize_t size) except -1
    cdef int reserve(self) except -1
    cdef Packet packet(self, Py_ssize_t index, Py_ssize_t place)
    cdef Py_ssize_t place_of(self, Py_ssize_t index) noexcept


cdef PacketBatch new_batch(unsigned port)
