from libc.stdint cimport int64_t, uint64_t

from netloop.core.cext cimport nl_spent, nl_stall


cdef extern from *:
    ctypedef struct PyThreadState


cdef class Sighting:
    cdef readonly str kind
    cdef readonly bint over
    cdef readonly double seconds
    cdef readonly double cpu_share
    cdef readonly double delay_share
    cdef readonly double gc_seconds
    cdef readonly double lock_seconds
    cdef readonly bint without_lock
    cdef readonly str state
    cdef readonly str channel
    cdef readonly bint stands
    cdef readonly Py_ssize_t waiting
    cdef readonly object handle
    cdef readonly list stack


cdef class StallDetector:
    cdef nl_stall stall
    cdef object loop
    cdef bint let_go
    # The loop's thread, by the interpreter's identifier.
    cdef readonly unsigned long thread
    cdef PyThreadState *thread_state
    # The collections of garbage in one turn: which turn, how much time, and since when one is under way.
    cdef int64_t collected_turn
    cdef int64_t collected
    cdef int64_t collecting_since

    cdef int begin(self, const uint64_t *callbacks, const uint64_t *completions, double threshold) except -1
    cdef object see(self, int event, const nl_spent *noticed, int64_t own_delay, bint without_lock, str state,
                    str channel)
    cdef int take_down(self, Sighting sighting) except -1
    cdef int take_stack(self, list stack) except -1
    cdef int64_t collected_until(self, int64_t now)
