from cpython.bytes cimport PyBytes_Check, PyBytes_GET_SIZE
from cpython.ref cimport PyObject, Py_INCREF

from netloop.core.cext cimport iovec, msghdr
from netloop.core.pool cimport Lease
from netloop.core.turn cimport LoopCore


cdef struct Outbox:
    # What waits: NULL, a bytes object whose last `size` bytes do, or a PieceQueue. A reference of the outbox's own.
    PyObject *waiting
    # Bytes, never 0 where something waits.
    Py_ssize_t size


cdef struct NextSend:
    # One piece, or a message of several.
    const char *data
    msghdr *message


cdef class PieceQueue:
    cdef list pieces
    cdef Py_ssize_t first
    cdef Py_ssize_t offset
    cdef Py_ssize_t capacity
    cdef msghdr *message
    # Are some of the pieces leases?
    cdef bint has_leases

    cdef int finish(self, Py_ssize_t count, bint sent) except -1
    cdef int reserve(self, Py_ssize_t count) except -1
    cdef Py_ssize_t gather(self, NextSend *send) except -1
    cdef Py_ssize_t next_piece(self, NextSend *send) except -1
    cdef int advance(self, Py_ssize_t sent) except -1


cdef int outbox_add_another(Outbox *box, bytes piece) except -1
cdef int outbox_add_lease(Outbox *box, Lease lease) except -1
cdef Py_ssize_t outbox_gather(Outbox *box, NextSend *send) except -1
cdef Py_ssize_t outbox_next_piece(Outbox *box, NextSend *send) except -1
cdef int outbox_advance(Outbox *box, Py_ssize_t sent) except -1
cdef int outbox_clear(Outbox *box) noexcept


cdef list outbox_leases(Outbox *box, Py_ssize_t length)


cdef inline int outbox_add(Outbox *box, bytes piece) except -1:
    if box.waiting != NULL:
        return outbox_add_another(box, piece)
    if PyBytes_GET_SIZE(piece):
        Py_INCREF(piece)
        box.waiting = <PyObject *>piece
        box.size = PyBytes_GET_SIZE(piece)
    return 0


cdef inline bint outbox_has_leases(Outbox *box) noexcept:
    return box.waiting != NULL and not PyBytes_Check(<object>box.waiting) and (<PieceQueue>box.waiting).has_leases


cdef class FileSend:
    # Who waits until no more than `limit` bytes are left to send, or, with -1, for the end.
    cdef object waiter
    cdef Py_ssize_t limit
    # How much of what was written was never sent, because the connection came to its end.
    cdef Py_ssize_t lost

    cdef object wait(self, LoopCore loop, Py_ssize_t limit)
    cdef int on_sent(self, Py_ssize_t left) except -1
    cdef int on_end(self) except -1


cdef class DatagramOutbox:
    cdef list payloads
    cdef list names
    cdef Py_ssize_t first
    cdef Py_ssize_t header
    cdef readonly Py_ssize_t size
    # How many lanes the batch in flight has.
    cdef Py_ssize_t batch

    cdef int add(self, bytes payload, bytes name) except -1
    cdef inline Py_ssize_t waiting(self) noexcept:
        """Datagrams not sent yet; right only while no batch is in flight."""
        return len(self.payloads) - self.first
    cdef Py_ssize_t fitting(self, Py_ssize_t count, long room)
    cdef inline bytes payload(self, Py_ssize_t lane):
        return <bytes>self.payloads[self.first + lane]
    cdef inline bytes name(self, Py_ssize_t lane):
        return <bytes>self.names[self.first + lane]
    cdef int sent(self, Py_ssize_t lane) except -1
    cdef int settle(self) except -1
    cdef int clear(self) except -1
