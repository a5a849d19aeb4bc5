from netloop.core.turn cimport LoopCore


cdef class Kept:
    cdef LoopCore loop
    # What operations that are being cancelled may still take: (socket's id, is it a send?) → how many there are.
    cdef dict leaving
    # Socket → what was taken from it that nobody got, in order: (data, address) or an exception.
    cdef object by_socket
    cdef dict entries

    cdef bint is_leaving(self, object sock, bint writing) except -1
    cdef int add_leaving(self, object sock, bint writing) except -1
    cdef int remove_leaving(self, object sock, bint writing) except -1
    cdef int add(self, object sock, tuple entry) except -1
    cdef int add_failure(self, object sock, object failure) except -1
    cdef object take(self, object sock, Py_ssize_t room)


cdef bint is_stream(object sock) except -1
