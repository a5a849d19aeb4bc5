from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

from netloop.core.cext cimport (
    NL_CANCEL, flag, io_uring_cqe, io_uring_sqe, nl_buffers, nl_fault, nl_file, nl_files, nl_meter, nl_meter_go_on,
    nl_meter_rest, nl_older, nl_poller, nl_prep_cancel, nl_pulse, nl_pulse_begin, nl_pulse_go_on, nl_pulse_rest,
    nl_registered, nl_ring, nl_ring_position, nl_ring_ready, nl_ring_sqe, nl_ring_take, nl_slots, nl_sys, nl_token,
)

from netloop.core.free_threading cimport (
    NL_FREE_THREADED, PyThread_get_thread_ident, nl_load_meter, nl_load_thread,
)

# A stream in the worst case re-arms its receive, cancels and sends in one flush.
cdef enum:
    FLUSH_RESERVE = 4


cdef class FaultPlan:
    cdef nl_fault fault

    cdef nl_sys *system(self) noexcept


cdef class OlderKernel(FaultPlan):
    cdef nl_older older


cdef class Endpoint:
    cdef Ring ring
    cdef uint32_t slot
    cdef uint32_t generation
    cdef int in_flight
    # The position in the submission queue of its last silent operation.
    cdef unsigned silent_at
    cdef flag attached
    cdef flag dirty
    # Does the endpoint table hold it only weakly, because nothing of it is in flight? See Ring.rest().
    cdef flag resting
    # Is an operation of it under way that completes only if it fails? See Ring.settle_silent().
    cdef flag silent
    # Is its end near? Its completions are then dispatched before callbacks run, so that these find it gone.
    cdef flag ending

    cdef int on_flush(self) except -1
    cdef int on_flush_failed(self, object error) except -1
    cdef int on_completion(self, unsigned op, unsigned lane, int res, unsigned flags) except -1
    cdef int on_silent_end(self) except -1
    cdef int on_gathered(self) except -1
    cdef int on_farewell(self) except -1
    cdef int on_park(self) except -1
    cdef int on_parked(self, io_uring_cqe *cqe) except -1
    cdef int on_ring_replaced(self) except -1
    cdef int on_abandoned(self, unsigned op, unsigned lane, int res, unsigned flags) except -1
    cdef int on_ring_closed(self) except -1
    cdef int before_fork(self) except -1
    cdef int after_fork(self, bint in_child) except -1
    cdef bint on_left_behind(self) except -1
    cdef io_uring_sqe *sqe(self)

    cdef inline uint64_t token(self, unsigned op, unsigned lane) noexcept:
        return nl_token(self.slot, self.generation, op, lane)

    cdef inline int check_thread(self) except -1:
        """Without the interpreter lock, refuse what would race with the thread that runs the loop."""
        return self.ring.check_thread() if self.ring is not None else 0

    cdef inline int mark_dirty(self) except -1:
        """Have on_flush called before the next enter."""
        if not self.dirty:
            self.ring.dirty.append(self)
            self.dirty = True
        return 0

    cdef inline io_uring_sqe *silent_sqe(self):
        """A submission entry for an operation that completes only if it fails; one at a time."""
        self.ring.silent.append(self)
        self.silent = True
        self.silent_at = nl_ring_position(&self.ring.ring)
        return self.sqe()

    cdef inline int write_cancel(self, unsigned op, unsigned lane) noexcept:
        """Write the submission that cancels an operation of this endpoint; there must be space for it."""
        nl_prep_cancel(nl_ring_sqe(&self.ring.ring), self.token(op, lane), self.token(NL_CANCEL, 0))
        return 0

    cdef inline bint take(self, unsigned op, unsigned lane, int32_t *result) noexcept:
        """Take in the completion of an operation of this endpoint, if it has come, before it would be dispatched."""
        if not nl_ring_take(&self.ring.ring, self.token(op, lane), result):
            return False
        self.in_flight -= 1
        self.ring.in_flight -= 1
        return True


cdef class BufferGroup:
    cdef nl_buffers buffers
    cdef unsigned number, count, count_max
    cdef size_t size
    cdef object starved

    cdef int open(self, Ring ring) except -1
    cdef int move(self, Ring ring, bytearray parked) except -1
    cdef int shrink_unregistered(self, Ring ring) except -1
    cdef bytearray find_parked(self, Ring ring)
    cdef int drop(self, unsigned flags) noexcept
    cdef int starve(self, Endpoint endpoint) except -1
    cdef int feed_starved(self) except -1
    cdef inline bint can_feed(self):
        """Are there both receives that wait for a buffer and buffers?"""
        return self.starved and self.buffers.taken < self.buffers.offered


cdef class Ring:
    cdef object __weakref__
    cdef nl_ring ring
    # Has it a poller: a thread of the kernel's, as described, that submits in the place of the loop's?
    cdef flag polled
    cdef nl_poller poller
    # Is something written whose descriptor the program may close as soon as its code runs again? That is taken first.
    cdef flag pressing
    # Where the loop counts the completions that it has taken up, of all its rings: in its first.
    cdef uint64_t taken_up
    cdef uint64_t *taken_up_by_all
    # Where to write since when the loop's thread has been at work, if there is a stall detector; the loop's, or NULL.
    cdef nl_pulse *pulse
    # Counts how long the turns are at work, if it is asked to; the ring's own, or NULL. Other threads ask for it.
    cdef nl_meter *meter
    cdef nl_sys sys
    cdef FaultPlan faults
    cdef nl_slots slots
    cdef BufferGroup streams
    cdef BufferGroup datagrams
    cdef nl_files files
    # Memory that is pinned for operations that name it by an index; and the groups of pools, by their number.
    cdef nl_registered registered
    cdef list pools
    cdef uint64_t pools_dry
    cdef list endpoints
    cdef dict resting
    # Endpoints that hand over together what completions of one dispatch have brought.
    cdef list gathered
    cdef list dirty
    cdef list flushing
    # Endpoints whose silent operations the kernel may not have taken yet, in their order.
    cdef list silent
    # With a poller: does an endpoint have more to do when that has taken its silent operation, and which is the last?
    cdef flag awaited
    cdef unsigned awaited_at
    cdef int in_flight
    # Open sockets of transports that are on it.
    cdef long connections
    # How many endpoints' end is near.
    cdef int endings
    # The kernel's number of the thread that may submit, and how many times the loop has stopped in it.
    cdef unsigned long owner
    cdef unsigned stops
    # The interpreter's number of the thread that runs the loop, 0 for none; other threads ask.
    cdef unsigned long running
    cdef bint enabled
    cdef bint abandoned
    cdef bint closing
    cdef unsigned submission_entries, completion_entries
    # Microseconds for which waits poll the queues of network cards, or 0.
    cdef unsigned busy_poll
    cdef unsigned fixed_files
    cdef bint files_refused
    # Can an accept be kept from waiting? Does the kernel refuse to tell a fixed file's names?
    cdef flag accepts_asked
    cdef flag accepts_now
    cdef flag names_refused
    cdef uint64_t stale
    # When the burst that a group of buffers grew for may be taken to be over, on the loop's clock; 0: none has.
    cdef double burst_over
    # How many calls were made, for their tokens; and the memory of those that had no answer in time, by token.
    cdef uint64_t calls
    cdef dict late_calls
    cdef unsigned most_completions
    # How many completions the last dispatch found.
    cdef unsigned dispatched

    cdef inline bint has_work(self):
        """Is there something to flush or to dispatch, so that the loop must not sleep?"""
        if self.dirty or nl_ring_ready(&self.ring):
            return True
        # Receives wait for a buffer, and there are some: those offered one last did not want it any more.
        return self.streams.can_feed() or self.datagrams.can_feed()

    cdef inline bint runs_elsewhere(self) noexcept:
        """Does the loop run, and in another thread than the calling one?"""
        cdef unsigned long running = nl_load_thread(&self.running)
        return running != 0 and running != PyThread_get_thread_ident()

    cdef inline int check_thread(self) except -1:
        """Without the interpreter lock, refuse what would race with the thread that runs the loop."""
        return refuse_thread() if NL_FREE_THREADED and self.runs_elsewhere() else 0

    # What a turn tells about itself: to the stall detector and to the meter, where there are any.

    cdef inline int begin_work(self, bint has_lock) noexcept nogil:
        """The loop goes to work after a rest, with the interpreter lock, or it is about to ask for that."""
        cdef nl_meter *meter = nl_load_meter(&self.meter)
        if self.pulse != NULL:
            nl_pulse_begin(self.pulse, has_lock)
        if meter != NULL:
            nl_meter_go_on(meter)
        return 0

    cdef inline int end_work(self) noexcept nogil:
        """The loop waits in the kernel, or stops."""
        cdef nl_meter *meter = nl_load_meter(&self.meter)
        if self.pulse != NULL:
            nl_pulse_rest(self.pulse)
        if meter != NULL:
            nl_meter_rest(meter)
        return 0

    cdef inline int go_on(self) noexcept nogil:
        """Another turn begins, without a rest before it."""
        cdef nl_meter *meter = nl_load_meter(&self.meter)
        if self.pulse != NULL:
            nl_pulse_go_on(self.pulse)
        if meter != NULL:
            nl_meter_go_on(meter)
        return 0

    cdef int measure(self) except -1
    cdef nl_sys *system(self) noexcept
    cdef int set_up(self, nl_ring *ring, unsigned flags) except? -1
    cdef int set_up_polled(self, nl_ring *ring) except? -1
    cdef int enable(self) except -1
    cdef int register_descriptor(self, bint wanted) except -1
    cdef int set_aside(self) except -1
    cdef int replace(self) except -1
    cdef int park_one(self, io_uring_cqe *cqe) except -1
    cdef int shrink_buffers(self) except -1
    cdef int drop_stale(self, unsigned op, unsigned flags) except -1
    cdef int attach(self, Endpoint endpoint) except -1
    cdef int detach(self, Endpoint endpoint) except -1
    cdef int rest(self, Endpoint endpoint) except -1
    cdef int hold(self, Endpoint endpoint) except -1
    cdef list all_endpoints(self)
    cdef int flush(self) except -1
    cdef int flush_some(self, list batch, Py_ssize_t *flushed) except -1
    cdef int enter(self, unsigned wait, int64_t timeout) except -1
    cdef int pass_on(self) except -1
    cdef int conclude(self, int result) except -1
    cdef int judge(self, int result) except -1
    cdef int note_awaited(self) except -1
    cdef bint look(self) except -1
    cdef int catch_up(self) except -1
    cdef int64_t settle_limit(self) noexcept
    cdef int dispatch(self) except -1
    cdef int dispatch_ending(self) except -1
    cdef unsigned dispatch_ending_from(self, unsigned index) except? 0
    cdef int dispatch_one(self, const io_uring_cqe *cqe) except -1
    cdef BufferGroup group_of(self, unsigned op)
    cdef int drop_buffer(self, unsigned op, unsigned flags) except -1
    cdef int register_memory(self, void *memory, size_t length) noexcept
    cdef int forget_memory(self, unsigned index) noexcept
    cdef int settle_silent(self) except -1
    cdef int note_failures(self) except -1
    cdef int note_failure(self, uint64_t token) except -1
    cdef bint open_files(self) except -1
    cdef int adopt(self, int descriptor) except -2
    cdef int wait_any(self, list others, int64_t timeout) except -1
    cdef bint can_install(self) except -1
    cdef int can_release(self) noexcept
    cdef bint can_accept_now(self) except -1
    cdef int make_space(self, unsigned entries) except -1
    cdef io_uring_sqe *call_sqe(self) except NULL
    cdef uint64_t new_call(self, unsigned op) noexcept
    cdef int32_t call(self, uint64_t token, object memory) except? -1
    cdef int on_late_call(self, uint64_t token, int res) except -1
    cdef bint submit(self) except -1
    cdef bint is_owner(self)
    cdef bint is_idle(self)
    cdef int check_usable(self) except -1
    cdef int cancel_all(self, double seconds) except -1
    cdef bint owner_has_ended(self) except -1
    cdef int leave_behind(self) except -1
    cdef int count_parked_ends(self, Endpoint endpoint) noexcept
    cdef int keep_for_ever(self, list endpoints) except -1


cdef int refuse_thread() except -1
cdef uint64_t unawaited_token(unsigned op) noexcept
