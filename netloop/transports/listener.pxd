from netloop.core.cext cimport nl_file, sockaddr_storage, socklen_t
from netloop.transports.fixed_socket cimport Origin
from netloop.core.turn cimport LoopCore
from netloop.core.ring cimport Endpoint

cdef enum:
    LANES = 16


cdef struct accept_lane:
    sockaddr_storage address
    socklen_t length
    int slot
    bint armed
    # Did its last accept leave another connection in the socket's queue?
    bint more


cdef class Listener(Endpoint):
    cdef LoopCore loop
    cdef object sock
    cdef object protocol_factory
    cdef object server
    cdef object context
    cdef Origin origin
    cdef nl_file file
    cdef accept_lane lanes[LANES]
    cdef unsigned lanes_used
    # NL_ACCEPT_POLL_FIRST where the kernel knows it.
    cdef unsigned first_wait
    cdef bint stopped
    cdef bint resting

    cdef int arm(self, unsigned lane) except -1
    cdef int on_refused(self, int error) except -1
    cdef int accepted(self, accept_lane *lane, int descriptor) except -1
    cdef int connect(self, nl_file file, accept_lane *lane) except -1
    cdef int refuse(self, nl_file file) except -1
    cdef int collect(self) except -1
    cdef int retire_if_done(self) except -1
