from netloop._cext cimport iovec, sockaddr_storage, socklen_t
from netloop._loop cimport LoopCore
from netloop._ring cimport Endpoint


cdef class Operation(Endpoint):
    cdef LoopCore loop
    cdef readonly object future
    cdef int fd
    cdef bint started
    cdef bint cancelled

    cdef start(self, LoopCore loop, int fd)
    cdef int prepare(self) except -1
    cdef object result(self, int res)
