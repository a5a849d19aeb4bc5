from netloop.core.cext cimport flag, nl_event
from netloop.core.turn cimport LoopCore
from netloop.core.ring cimport Endpoint

cdef enum:
    HIGH_WATER = 64 * 1024


cdef class ByteTaker:
    cdef int take(self, const unsigned char *data, Py_ssize_t length) except -1


cdef class Transport(Endpoint):
    cdef LoopCore loop
    cdef object protocol
    cdef object context
    cdef dict extra
    cdef object error
    cdef dict __dict__
    cdef object __weakref__
    cdef Py_ssize_t high_water
    cdef Py_ssize_t low_water
    cdef int ignored_writes
    cdef unsigned char state  # one of nl_state
    cdef flag protocol_paused

    cdef int set_up(self, LoopCore loop, object protocol, object context, dict extra) except -1
    cdef int step(self, nl_event event) except -1
    cdef Py_ssize_t unsent(self) noexcept
    cdef int discard(self) except -1
    cdef int release(self) except -1
    cdef int lose(self, object exc) except -1
    cdef int fail(self, object exc, str message) except -1
    cdef int ignore_write(self) except -1
    cdef str ignored_write_text(self)
    cdef int tell_made(self) except -1
    cdef int tell_lost(self) except -1
    cdef int tell_flow(self, str method) except -1
    cdef int pause_writing_if_full(self) except -1
    cdef int resume_writing_if_drained(self) except -1


cdef class ReadingTransport(Transport):
    cdef list backlog
    cdef flag paused
    cdef flag read_ended
    cdef flag end_held_back

    cdef int give_back(self, unsigned flags) except -1
    cdef int hold_back(self, object item) except -1
    cdef int deliver(self, object item) except -1
    cdef int end_reading(self) except -1
