from netloop._cext cimport iovec, msghdr


cdef class Outbox:
    cdef list pieces
    cdef Py_ssize_t first
    cdef Py_ssize_t offset
    cdef readonly Py_ssize_t size
    # What gather() has described: how many pieces, where they are, and, if they are several, the message of them. One
    # piece needs no memory of its own, which is all that most connections ever send at a time.
    cdef Py_ssize_t count
    cdef iovec *vectors
    cdef msghdr *message
    cdef iovec single
    cdef Py_ssize_t capacity

    cdef int add(self, bytes piece) except -1
    cdef int reserve(self, Py_ssize_t count) except -1
    cdef Py_ssize_t gather(self) except -1
    cdef int advance(self, Py_ssize_t sent) except -1
    cdef int clear(self) except -1


cdef struct Lane:
    msghdr message
    iovec vector


cdef class DatagramOutbox:
    cdef list payloads
    cdef list names
    cdef Py_ssize_t first
    cdef Py_ssize_t header
    cdef readonly Py_ssize_t size
    cdef Lane *lanes
    cdef Py_ssize_t capacity

    cdef int add(self, bytes payload, bytes name) except -1
    cdef inline Py_ssize_t waiting(self) noexcept:
        """Datagrams not sent yet; right only while no batch is in flight."""
        return len(self.payloads) - self.first
    cdef Py_ssize_t fitting(self, Py_ssize_t count, long room)
    cdef int reserve(self, Py_ssize_t count) except -1
    cdef msghdr *describe(self, Py_ssize_t lane) except NULL
    cdef int sent(self, Py_ssize_t lane) except -1
    cdef int settle(self) except -1
    cdef int clear(self) except -1
