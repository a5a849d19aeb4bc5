from netloop.core.cext cimport nl_file
from netloop.core.pool cimport ZERO_COPY_ALWAYS, ZERO_COPY_AUTO, Lease
from netloop.core.ring cimport Endpoint
from netloop.core.turn cimport LoopCore
from netloop.transports.outbox cimport NextSend

cdef enum:
    # Of pools that do not always want it, sends of less are copied: to pin pages and be told of their end costs more.
    ZERO_COPY_LEAST = 16 * 1024


cdef inline bint wants_zero_copy(Lease lease) noexcept:
    """Is it to be sent without a copy, if that is possible and pays?"""
    return lease.pool.zero_copy == ZERO_COPY_ALWAYS or (
        lease.pool.zero_copy == ZERO_COPY_AUTO and lease.length >= ZERO_COPY_LEAST)


cdef enum Way:
    REFUSED
    WITHOUT_REPORT
    WITH_REPORT


cdef class Route:
    # Is a send under way that is to show whether the kernel copies?
    cdef bint trying
    cdef bint pays
    # How many sends are still to pass before the next trial, and how many after it if it fails.
    cdef unsigned left, pause

    cdef bint is_to_try(self) noexcept
    cdef int untold(self) noexcept
    cdef int told(self, bint copied) noexcept


cdef class ZeroCopySender(Endpoint):
    cdef LoopCore loop
    # None if no route can be better than another.
    cdef Route route
    # Whose send has not completed yet, and its lane; or None.
    cdef Endpoint transport
    cdef unsigned lane
    # The leases that the kernel still refers to, by the lane of their send.
    cdef dict held
    # Those of these sends that have failed.
    cdef set failed
    # What the kernel takes on this connection, one of `Way`; and is the next send to be an ordinary one?
    cdef unsigned char way
    cdef bint pausing

    cdef bint send(self, Endpoint transport, nl_file file, list leases, NextSend *send, Py_ssize_t length) except -1
    cdef bint is_wanted(self, list leases, Py_ssize_t length) except -1
    cdef int free_lane(self) except -1
    cdef int cancel(self) noexcept
    cdef int on_sent(self, int res) except -1
    cdef int on_refused(self, int res) except -1
    cdef int let_go(self, unsigned lane, bint copied) except -1


cdef ZeroCopySender new_sender(LoopCore loop, object peer)
