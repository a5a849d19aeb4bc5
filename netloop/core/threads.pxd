from netloop.core.ring cimport Endpoint, Ring


cdef int enter_thread(Ring ring, Endpoint wake) except -1
cdef int leave_thread(Ring ring, Endpoint wake) except -1
