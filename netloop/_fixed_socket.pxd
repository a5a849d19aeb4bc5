from netloop._ring cimport Ring


cdef class FixedSocket:
    cdef Ring ring
    cdef int slot
    cdef readonly object family
    cdef readonly object type
    cdef readonly int proto
    cdef object real
    cdef object local
    cdef object peer
    cdef public object transport
    cdef bint closed

    cdef object install(self)
    cdef check_open(self)
    cdef switch_option(self, int level, int option, bint on)
    cdef release(self)


cdef FixedSocket new_fixed_socket(Ring ring, int slot, object family, object type, int proto, object local,
                                  object peer)
