from libc.stdint cimport uint32_t, uint64_t

from netloop.core.turn cimport LoopCore
from netloop.core.ring cimport Endpoint
from netloop.core.scheduler cimport Handle


cdef extern from "<sys/epoll.h>" nogil:
    ctypedef union epoll_data_t:
        uint64_t u64

    struct epoll_event:
        uint32_t events
        epoll_data_t data

cdef enum:
    # Events that are fetched at once. Where more are ready the kernel goes on with the others at the next turn.
    MOST_EVENTS = 256


cdef class Watch:
    cdef int fd
    cdef uint32_t serial
    cdef object file
    cdef Handle reader
    cdef Handle writer

    cdef uint64_t mark(self) noexcept
    cdef uint32_t wanted(self) noexcept
    cdef Handle replace(self, bint reading, Handle handle)


cdef class WatchSet(Endpoint):
    cdef LoopCore loop
    cdef int epoll
    cdef dict watches
    cdef uint32_t serial
    cdef bint cancelling
    cdef int polls_to_make
    # The turn that runs callbacks scheduled by the last fetch.
    cdef uint64_t turn
    cdef epoll_event events[MOST_EVENTS]

    cdef int prepare(self) except -1
    cdef Watch find(self, object file, int fd)
    cdef Watch register(self, object file, int fd, uint32_t events)
    cdef int control(self, int operation, Watch watch, uint32_t events) noexcept
    cdef int forget(self, Watch watch) except -1
    cdef int ask_for_flush(self) except -1
    cdef bint is_scheduled(self) except -1
    cdef list fetch(self)
    cdef list fetch_alone(self)
    cdef bint unregister(self, int fd) except -1
    cdef int renew(self) except -1
    cdef int report(self, str message, int error) except -1
