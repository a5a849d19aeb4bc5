from netloop._cext cimport iovec, msghdr


cdef class Outbox:
    cdef list pieces
    cdef Py_ssize_t first
    cdef Py_ssize_t offset
    cdef readonly Py_ssize_t size
    cdef iovec *vectors
    cdef Py_ssize_t capacity
    cdef msghdr message

    cdef int add(self, bytes piece) except -1
    cdef int reserve(self, Py_ssize_t count) except -1
    cdef Py_ssize_t gather(self) except -1
    cdef int advance(self, Py_ssize_t sent) except -1
    cdef int clear(self) except -1
