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
    cdef int forget(self) except -1
    cdef int retire(self) except -1
    cdef int finish(self, object value, object failure) except -1
    cdef int settle(self, int res, unsigned flags) except -1
    cdef int wake(self) except -1
    cdef bint abandon(self) except -1
    cdef int withdraw(self) except -1
    cdef object outcome(self)
    cdef int cancel_once(self) except -1

    cdef inline uint64_t own_token(self) noexcept:
        return self.token(self.op, 0)
