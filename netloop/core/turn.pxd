from libc.stdint cimport int64_t, uint64_t

from netloop.core.inbox cimport Inbox
from netloop.core.ring cimport Endpoint, Ring
from netloop.core.scheduler cimport Handle, ReadyQueue, Timers
from netloop.core.stalls cimport StallDetector
from netloop.core.wake cimport Wake


cdef class LoopCore:
    # The first ring; and the others, of a loop whose I/O is done on several CPUs.
    cdef Ring ring
    cdef list others
    cdef size_t next_ring
    cdef ReadyQueue ready
    cdef Timers timers
    cdef Inbox inbox
    cdef Wake wake
    # Looks on from a thread of its own, if it is asked to.
    cdef StallDetector stalls
    cdef bint hears_signals
    cdef readonly dict _signal_handlers
    cdef double spin
    # Is what is written sent at once, and not with the turn's other submissions?
    cdef bint eager_writes
    cdef readonly uint64_t turns
    cdef public bint _stopping
    cdef bint closed
    # The thread between the beginning and the end of run_forever(), as asyncio knows it; and the one that runs the loop
    # or closes it, as claimed before anything of it is touched. 0 for none. Other threads ask.
    cdef unsigned long thread_id
    cdef unsigned long holder
    cdef public bint _debug
    cdef public object _current_handle
    cdef public double _clock_resolution
    # The endpoints whose on_farewell() is called at one place of the ready queue, and the handle at that place.
    cdef list farewells
    cdef Handle farewell
    cdef public uint64_t connections_accepted
    # Of packet endpoints; see Statistics.
    cdef uint64_t packets_received
    cdef uint64_t packets_sent
    cdef uint64_t packets_dropped
    cdef uint64_t segmentation_refused

    cdef int turn(self) except -1
    cdef int settle(self) except -1
    cdef int settle_exit(self) except -1
    cdef int wait(self) except -1
    cdef int pass_on(self, Ring ring) except -1
    cdef int dispatch_ending(self) except -1
    cdef bint has_completions(self) noexcept
    cdef bint has_work(self)
    cdef Ring choose_ring(self)
    cdef bint spin_awhile(self, int64_t limit) except -1
    cdef int schedule_farewell(self, Endpoint endpoint) except -1
    cdef int64_t wait_limit(self) except? -2
    cdef int64_t shrink_when_due(self, Ring ring, int64_t limit) except? -2
    cdef int64_t settle_limit(self, int64_t limit) noexcept
    cdef bint look(self) except -1
    cdef int catch_up(self) except -1
    cdef int run_ready(self, Py_ssize_t remaining) except -1
    cdef int run_handle(self, Handle handle) except -1
    cdef int run_timed(self, object handle) except -1
    cdef bint has_ready(self) noexcept
    cdef int fire_timers(self) except -1
    cdef int check_call(self, object callback, str method, bint check_thread) except -1


cdef double monotonic() noexcept
