from netloop.core.ring cimport Ring


cdef class Origin:
    cdef Ring ring
    cdef object family
    cdef object type
    cdef int proto
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

    cdef object install(self)
    cdef check_open(self)
    cdef switch_option(self, int level, int option, bint on)
    cdef release(self)


cdef Origin new_origin(Ring ring, object listening, object local)
cdef object accepted_socket(Origin origin, int descriptor)
cdef FixedSocket new_fixed_socket(Origin origin, int slot, object peer)
