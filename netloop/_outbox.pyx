# cython: language_level=3, boundscheck=False, wraparound=False
"""What write() has accepted and the kernel has not sent yet."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdlib cimport free, realloc

from netloop cimport _cext as c

cdef enum:
    # The kernel takes at most 1024 pieces in one message (UIO_MAXIOV).
    VECTORS_LIMIT = 1024
    VECTORS_FIRST = 8
    # One send covers at most this much, so that the write buffer's size shrinks, and a protocol may go on writing,
    # while a large transfer is still under way. The last piece may exceed it only by being cut.
    SEND_LIMIT = 256 * 1024
    # Pieces sent are dropped from the list's front in batches of this size.
    TRIM = 256


cdef class Outbox:
    """A queue of bytes objects, sent in place.

    gather() describes the next send; advance() tells how much of it the kernel took. Between the two, the pieces
    described must not move or go away, whatever is added meanwhile: they are objects of their own in a list that only
    grows at its end.
    """

    def __cinit__(self):
        self.pieces = []

    def __dealloc__(self):
        free(self.vectors)

    cdef int add(self, bytes piece) except -1:
        if PyBytes_GET_SIZE(piece):
            self.pieces.append(piece)
            self.size += PyBytes_GET_SIZE(piece)
        return 0

    cdef Py_ssize_t gather(self) except -1:
        """Describe the next send in `message`; returns its length, 0 when there is nothing to send."""
        cdef Py_ssize_t count = 0, total = 0, start = self.offset, length
        cdef Py_ssize_t waiting = min(len(self.pieces) - self.first, VECTORS_LIMIT)
        cdef bytes piece
        if waiting > self.capacity:
            self.reserve(waiting)
        while count < waiting and total < SEND_LIMIT:
            piece = <bytes>self.pieces[self.first + count]
            length = min(PyBytes_GET_SIZE(piece) - start, SEND_LIMIT - total)
            self.vectors[count].iov_base = PyBytes_AS_STRING(piece) + start
            self.vectors[count].iov_len = length
            total += length
            start = 0
            count += 1
        self.message.msg_iov = self.vectors
        self.message.msg_iovlen = count
        return total

    cdef int reserve(self, Py_ssize_t count) except -1:
        cdef Py_ssize_t capacity = max(self.capacity, VECTORS_FIRST)
        while capacity < count:
            capacity *= 2
        cdef c.iovec *vectors = <c.iovec *>realloc(self.vectors, capacity * sizeof(c.iovec))
        if vectors == NULL:
            raise MemoryError("no memory to describe a send")
        self.vectors = vectors
        self.capacity = capacity
        return 0

    cdef int advance(self, Py_ssize_t sent) except -1:
        """The kernel has taken `sent` bytes from the front."""
        cdef Py_ssize_t rest
        self.size -= sent
        while sent:
            rest = PyBytes_GET_SIZE(<bytes>self.pieces[self.first]) - self.offset
            if sent < rest:
                self.offset += sent
                break
            sent -= rest
            self.offset = 0
            self.pieces[self.first] = None
            self.first += 1
        if self.first == len(self.pieces):
            self.pieces.clear()
            self.first = 0
        elif self.first >= TRIM:
            del self.pieces[:self.first]
            self.first = 0
        return 0

    cdef int clear(self) except -1:
        """Forget everything. Nothing of it may be in flight."""
        self.pieces.clear()
        self.first = self.offset = self.size = 0
        return 0
