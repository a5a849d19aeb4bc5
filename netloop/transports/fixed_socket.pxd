from netloop.core.ring cimport Ring


cdef class Origin:
    cdef Ring ring
    cdef object family
    cdef object type
    cdef int proto
    cdef bint tcp
    # Our own address, or None where connections may differ in it.
    cdef object local


cdef class FixedSocket:
    cdef Ring ring
    cdef Origin origin
    cdef int slot
    cdef object real
    cdef object local
    cdef object peer
    cdef public object transport
    cdef bint closed
    # Was the descriptor made for a fork that is under way?
    cdef bint lent
    # Is this the child of a fork, where the descriptor is all there is?
    cdef bint inherited

    cdef object keep(self)
    cdef int install(self) except -1
    cdef object borrow(self, str method, tuple arguments)
    cdef check_open(self)
    cdef switch_option(self, int level, int option, bint on)
    cdef object ask_name(self)
    cdef release(self)
    cdef int leave_table(self) except -1
    cdef int before_fork(self) except -1
    cdef int after_fork(self, bint in_child) except -1


cdef Origin new_origin(Ring ring, object listening, object local)
cdef object accepted_socket(Origin origin, int descriptor)
cdef FixedSocket new_fixed_socket(Origin origin, int slot, object peer)
