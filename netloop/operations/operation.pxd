from libc.stdint cimport uint64_t

from netloop.core.turn cimport LoopCore
from netloop.core.ring cimport Endpoint


cdef enum State:
    WAITING
    DONE
    CANCELLED


cdef class Operation(Endpoint):
    cdef LoopCore loop
    cdef State state
    cdef int fd
    cdef unsigned op
    cdef bint cancelling
    cdef bint taken
    cdef public bint _asyncio_future_blocking
    cdef object value
    cdef object failure
    cdef object message
    cdef object callback
    cdef object context
    cdef list more_callbacks

    cdef start(self, LoopCore loop, int fd, unsigned op)
    cdef int prepare(self) except -1
    cdef object result_of(self, int res, unsigned flags)
    cdef object error_of(self, int res)
    cdef int keep(self, object value, object failure) except -1
    cdef int set_aside(self) except -1
    cdef int forget(self) except -1
    cdef int retire(self) except -1
    cdef int finish(self, object value, object failure) except -1
    cdef int settle(self, int res, unsigned flags) except -1
    cdef int wake(self) except -1
    cdef bint end_wait(self) except -1
    cdef int withdraw(self) except -1
    cdef object outcome(self)
    cdef int cancel_once(self) except -1

    cdef inline uint64_t own_token(self) noexcept:
        return self.token(self.op, 0)


cdef class Unclaimed:
    cdef bint closed
    # Socket's id → (weak reference, what was taken from it that nobody got, in order: (data, address) or an exception).
    cdef dict by_socket
    # (socket's id, is it a send?) → how many operations on it are being cancelled in the kernel.
    cdef dict cancels

    cdef bint is_cancelling(self, object sock, bint writing) except -1
    cdef int add_cancel(self, object sock, bint writing) except -1
    cdef int remove_cancel(self, object sock, bint writing) except -1
    cdef int add(self, object sock, object data, object address) except -1
    cdef int add_failure(self, object sock, object failure) except -1
    cdef object entries_of(self, object sock)
    cdef object take(self, object sock, Py_ssize_t room)


cdef bint is_stream(object sock) except -1
cdef bint can_claim(object sock) except -1
