# cython: language_level=3, boundscheck=False, wraparound=False
"""The event loop's native half: scheduling calls, and the turn.

The other half, `netloop.event_loop.EventLoop`, is Python and inherits from asyncio.BaseEventLoop what happens once per
connection or once per loop. Attributes with a leading underscore are those that asyncio's half reads and writes.
"""

from asyncio import Future, base_events

from libc.stdint cimport INT64_MAX
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from netloop.core cimport cext as c
from netloop.core.cext cimport nl_histogram, nl_meter
from netloop.core.free_threading cimport (
    NL_FREE_THREADED, PyThread_get_thread_ident, nl_claim, nl_glance, nl_glance64, nl_load_histogram, nl_load_int,
    nl_load_meter, nl_load_thread, nl_store_int, nl_store_thread,
)
from netloop.core.scheduler cimport TimerHandle, new_handle, new_threadsafe_handle, new_timer
from netloop.core.threads cimport enter_thread, leave_thread
from netloop.core.wake cimport SHORT_WAIT, Wake
from netloop.core.wake import hears_signals


cdef extern from "Python.h":
    int PyErr_CheckSignals() except -1

cdef enum:
    # A wait longer than this is cut, as asyncio does, so that the kernel's clock arithmetic cannot overflow.
    LONGEST_WAIT = 24 * 3600
    # How many turns may pass without a system call before other threads are given the interpreter lock.
    YIELD_TURNS = 16


cdef double monotonic() noexcept:
    """The clock of loop.time(), in seconds: the one the kernel's wait is measured with."""
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return now.tv_sec + now.tv_nsec * 1e-9


cdef inline int schedule(LoopCore loop, Handle handle, bint wakes) except -1:
    """Add to the ready queue, behind all that was scheduled before by any thread; wake the loop, where it may sleep.

    A call_soon() of another thread is a mistake of the program's, which does to this loop what it does to asyncio's:
    the callback is called, but a loop that sleeps is not woken for it.
    """
    if NL_FREE_THREADED:
        if nl_load_thread(&loop.ring.running) != PyThread_get_thread_ident():
            return loop.inbox.put(handle, wakes)
        if nl_load_int(&loop.inbox.waiting):
            loop.inbox.take_in()
    elif wakes:
        return loop.inbox.put(handle, True)
    return loop.ready.push(handle)


cdef class LoopCore:
    """call_soon and its kin, and the turn that runs what they schedule."""

    def __cinit__(self, *args, **options):
        self.closed = True  # until there is a ring to close
        self.ready = ReadyQueue()
        self.inbox = Inbox(self.ready)
        self.timers = Timers()
        self.others = []
        self._signal_handlers = {}  # signal number: its handle, which is run as often as the signal comes

    def _set_up(self, dict options, double spin, bint eager_writes):
        """Make the rings, once, from the options of EventLoop: one, or one for each of the pollers. Raises OSError."""
        cdef Ring each
        self.spin = spin
        self.eager_writes = eager_writes
        pollers = options.pop("pollers") or [None]
        self.ring = Ring(**options, poller=pollers[0])
        self.others = [Ring(**options, poller=poller) for poller in pollers[1:]]
        for each in self.others:
            each.taken_up_by_all = &self.ring.taken_up
        self.wake = Wake(self, self.ring, self.inbox, self.ready, self._signal_handlers)
        c.nl_heap_settle()

    def _poll_busily(self, unsigned microseconds):
        """Have waits poll the queues of network cards for so long before they sleep. Raises OSError."""
        for ring in self._rings():
            ring.poll_busily(microseconds)

    def _rings(self):
        return [self.ring, *self.others]

    cdef Ring choose_ring(self):
        """The next connection's: each ring gets as many."""
        if not self.others:
            return self.ring
        self.next_ring = (self.next_ring + 1) % (1 + <size_t>len(self.others))
        return <Ring>self.others[self.next_ring - 1] if self.next_ring else self.ring

    # Scheduling -------------------------------------------------------------------------------------------------

    def time(self):
        """Seconds on the loop's clock, CLOCK_MONOTONIC."""
        return monotonic()

    def get_debug(self):
        """Is debug mode on? Every future and task asks."""
        return self._debug

    def create_future(self):
        """A future of this loop."""
        return Future(loop=self)

    cdef int check_call(self, object callback, str method, bint check_thread) except -1:
        if nl_load_int(&self.closed):
            self._check_closed()
        if self._debug:
            if check_thread:
                self._check_thread()
            self._check_callback(callback, method)
        return 0

    def call_soon(self, callback, *args, context=None):
        """Call ``callback(*args)`` in the next turn; see asyncio.loop.call_soon."""
        self.check_call(callback, "call_soon", True)
        cdef Handle handle = new_handle(callback, args, self, context, self._debug)
        schedule(self, handle, False)
        return handle

    def call_soon_threadsafe(self, callback, *args, context=None):
        """call_soon() from any thread, or from a signal handler. Only a loop that waits in the kernel is woken."""
        self.check_call(callback, "call_soon_threadsafe", False)
        cdef Handle handle = new_threadsafe_handle(callback, args, self, context, self._debug)
        schedule(self, handle, True)
        return handle

    def call_later(self, delay, callback, *args, context=None):
        """Call ``callback(*args)`` after ``delay`` seconds; see asyncio.loop.call_later."""
        if delay is None:
            raise TypeError("delay must not be None")
        self.check_call(callback, "call_at", True)
        self.ring.check_thread()
        cdef double now = monotonic()
        cdef double when
        if type(delay) is float:
            when = now + <double>delay
        else:
            when = now + delay  # as Python adds, with its error for what is no number
        cdef bint measured = nl_load_histogram(&self.timers.lag) != NULL and when >= now
        return new_timer(when, callback, args, self, context, self._debug, self.timers, measured)

    def call_at(self, when, callback, *args, context=None):
        """Call ``callback(*args)`` at ``when``, in seconds on the clock of time(); see asyncio.loop.call_at."""
        if when is None:
            raise TypeError("when cannot be None")
        self.check_call(callback, "call_at", True)
        self.ring.check_thread()
        cdef double due = when
        # What was due before it was scheduled cannot be late.
        cdef bint measured = nl_load_histogram(&self.timers.lag) != NULL and due >= monotonic()
        return new_timer(due, callback, args, self, context, self._debug, self.timers, measured)

    # The turn ---------------------------------------------------------------------------------------------------

    def _run_once(self):
        """Run turns until the loop is told to stop; asyncio's run_forever() calls this in a loop of its own."""
        while True:
            try:
                self.turn()
            except (SystemExit, KeyboardInterrupt):
                self.settle_exit()
                raise
            if self._stopping:
                self.settle()
                return

    cdef int settle(self) except -1:
        """Before the loop stops: hand over what was written in its last turn, whose ends nobody may come to fetch."""
        cdef Ring each
        for each in self._rings():
            if each.polled and each.silent:
                # What is to be sent may have to wait for what was sent before.
                each.enter(0, 0)
            if each.dirty or c.nl_ring_unsubmitted(&each.ring):
                each.flush()
                each.enter(0, 0)
        return 0

    cdef int settle_exit(self) except -1:
        """The same when an exception leaves the loop, unless it leaves a forked child."""
        if self.ring.ring.fd < 0:
            return 0
        try:
            self.settle()
        except OSError:
            pass  # should the loop run again, its enter meets the error again
        return 0

    cdef int turn(self) except -1:
        """Submit and wait in one system call; then run what is scheduled, dispatch completions and fire timers.

        What is scheduled comes before what has arrived, as in asyncio: a program that has just asked for something may
        count on being ready for the answer. What completions and timers schedule is run by the next turn, which enters
        the kernel before that only if there is something to submit or to fetch.
        """
        cdef int64_t limit
        cdef Py_ssize_t scheduled
        cdef Ring ring = self.ring
        cdef Ring other
        self.turns += 1
        if ring.ring.fd < 0:
            ring.check_usable()  # a callback of the last turn has forked, and this is the child
        ring.flush()
        for other in self.others:
            other.flush()
        if NL_FREE_THREADED and nl_load_int(&self.inbox.waiting):
            self.inbox.take_in()
        limit = self.wait_limit()
        if limit != 0 and ring.polled and self.look():
            limit = 0
        if limit != 0:
            if not self.spin or not self.spin_awhile(limit):
                self.wait()
        else:
            ring.go_on()
            self.pass_on(ring)
            for other in self.others:
                self.pass_on(other)
        # With what another thread has scheduled during the wait.
        if NL_FREE_THREADED and nl_load_int(&self.inbox.waiting):
            self.inbox.take_in()
        if ring.polled and (self.ready.count or self.has_completions()):
            self.catch_up()
        scheduled = self.ready.count
        PyErr_CheckSignals()
        if scheduled:
            self.dispatch_ending()
            self.run_ready(scheduled)
        ring.dispatch()
        for other in self.others:
            other.dispatch()
        if self.timers.heap.count:
            self.fire_timers()
        return 0

    cdef int pass_on(self, Ring ring) except -1:
        """Have what is written submitted, and what has completed brought in, without waiting."""
        if c.nl_ring_has_news(&ring.ring) or c.nl_ring_needs_enter(&ring.ring):
            ring.pass_on()
        elif self.turns % YIELD_TURNS == 0:
            # Callbacks that never let the loop wait would keep other threads out for 5 ms at a time.
            with nogil:
                pass
        return 0

    cdef int dispatch_ending(self) except -1:
        """Have callbacks find gone what is about to go."""
        cdef Ring other
        if self.ring.endings:
            self.ring.dispatch_ending()
        for other in self.others:
            if other.endings:
                other.dispatch_ending()
        return 0

    cdef int wait(self) except -1:
        """Submit, and sleep until something has arrived or a timer is due."""
        cdef Ring ring = self.ring
        cdef Ring other
        cdef int64_t limit
        cdef bint short = False
        try:
            if self.hears_signals:
                short = not self.wake.wakeup_fd.begin_wait()
            if ring.ring.fd < 0:
                ring.check_usable()  # a handler of a signal has forked, and this is the child
            # It was asked before, but since then there was time to spin, and handlers of signals may have run.
            limit = self.wait_limit()
            if ring.burst_over and limit != 0:
                limit = self.shrink_when_due(ring, limit)
            for other in self.others:
                if other.burst_over and limit != 0:
                    limit = self.shrink_when_due(other, limit)
            if ring.polled:
                limit = self.settle_limit(limit)
            short = short and (limit == c.NL_WAIT_FOREVER or limit > SHORT_WAIT)
            # From here until the wait begins no Python code runs in this thread, so nobody can add a handle that
            # neither the wait limit nor the wake-up takes into account.
            if not self.inbox.begin_wait():
                limit = 0
            if limit != 0 and self.others:
                ring.wait_any(self.others, SHORT_WAIT if short else limit)
            elif limit != 0:
                ring.enter(1, SHORT_WAIT if short else limit)
            else:
                for other in self._rings():
                    other.pass_on()
                ring.begin_work(True)  # there was no rest that enter() would have ended
        finally:
            self.inbox.end_wait()
            if self.hears_signals:
                self.wake.wakeup_fd.end_wait(short, not self.has_completions() and not self.has_ready())
        return 0

    cdef int64_t shrink_when_due(self, Ring ring, int64_t limit) except? -2:
        """After a burst: give its memory back if that is due, or wait no longer than until it is."""
        cdef double left = ring.burst_over - monotonic()
        if left <= 0:
            ring.shrink_buffers()
        elif limit == c.NL_WAIT_FOREVER or limit > left * 1e9:
            return <int64_t>(left * 1e9) + 1
        return limit

    cdef bint spin_awhile(self, int64_t limit) except -1:
        """Submit, and ask the kernel again and again for what has arrived; says whether there is something to do."""
        cdef double seconds = self.spin if limit == c.NL_WAIT_FOREVER else min(self.spin, limit * 1e-9)
        cdef double end = monotonic() + seconds
        cdef bint found = False
        cdef Ring ring
        self.ring.end_work()
        while not found:
            for ring in self._rings():
                ring.pass_on()
            # What a poller has taken may let go what waited for that.
            found = self.has_work() or self.has_ready()
            if not found and monotonic() >= end:
                return False
        self.ring.begin_work(True)
        return True

    cdef bint has_completions(self) noexcept:
        """Does one of the rings have something to dispatch?"""
        cdef Ring other
        if c.nl_ring_ready(&self.ring.ring):
            return True
        for other in self.others:
            if c.nl_ring_ready(&other.ring):
                return True
        return False

    cdef bint has_work(self):
        """Does one of the rings have something to flush or to dispatch?"""
        cdef Ring other
        if self.ring.has_work():
            return True
        for other in self.others:
            if other.has_work():
                return True
        return False

    cdef int64_t settle_limit(self, int64_t limit) noexcept:
        """With pollers: wait no longer than until the ends of silent operations are to be looked for."""
        cdef Ring other
        cdef int64_t most = self.ring.settle_limit()
        for other in self.others:
            most = min(most, other.settle_limit())
        if limit == c.NL_WAIT_FOREVER:
            return limit if most == INT64_MAX else most
        return min(limit, most)

    cdef bint look(self) except -1:
        """Before a wait: look whether pollers are about to take what somebody waits for. Is there something to do?"""
        cdef Ring other
        if self.ring.awaited and self.ring.look():
            return True
        for other in self.others:
            if other.awaited and other.look():
                return True
        return False

    cdef int catch_up(self) except -1:
        """Before code of the application runs, which may block: have pollers take what somebody waits for.

        So what was written a turn ago is on its way, as it is without pollers.
        """
        cdef Ring other
        if self.ring.awaited:
            self.ring.catch_up()
        for other in self.others:
            if other.awaited:
                other.catch_up()
        return 0

    cdef bint has_ready(self) noexcept:
        """Has this thread or another one scheduled something?"""
        return self.ready.count != 0 or (NL_FREE_THREADED and nl_load_int(&self.inbox.waiting))

    cdef int schedule_farewell(self, Endpoint endpoint) except -1:
        """Have on_farewell() called in the next turn, at the place in the ready queue that call_soon() would give it.

        Endpoints between which nothing else is scheduled share one place, and one system call that closes their files.
        """
        if self.farewell is None or self.ready.last() is not self.farewell:
            self.farewells = []
            self.farewell = new_handle(self._say_farewells, (self.farewells,), self, None, False)
            self.ready.push(self.farewell)
        self.farewells.append(endpoint)
        return 0

    def _say_farewells(self, list ending):
        cdef Py_ssize_t said = 0
        if ending is self.farewells:
            self.farewell = self.farewells = None
        try:
            while said < len(ending):
                said += 1
                (<Endpoint>ending[said - 1]).on_farewell()
        finally:
            # Their files are closed now: the next callback may block, and their peers would not hear of the end.
            for ring in self._rings():
                (<Ring>ring).submit()
            if said < len(ending):
                # An exit from the loop: the others say it when the loop runs again.
                self.ready.push(new_handle(self._say_farewells, (ending[said:],), self, None, False))

    cdef int64_t wait_limit(self) except? -2:
        """How long the kernel may wait: nanoseconds, 0 for not at all, NL_WAIT_FOREVER for no limit."""
        cdef double seconds
        if self.ready.count or self._stopping or self.has_work():
            return 0
        if not self.timers.heap.count:
            return c.NL_WAIT_FOREVER
        seconds = self.timers.first() - monotonic()
        if seconds <= 0:
            return 0
        if seconds > LONGEST_WAIT:
            seconds = LONGEST_WAIT
        # Rounded up: waking a moment early would cost a turn that finds nothing due.
        return <int64_t>(seconds * 1e9) + 1

    cdef int fire_timers(self) except -1:
        cdef double now = monotonic() + self._clock_resolution
        cdef TimerHandle handle
        while True:
            handle = self.timers.pop_due(now)
            if handle is None:
                return 0
            self.ready.push(handle)

    cdef int run_ready(self, Py_ssize_t remaining) except -1:
        """Run the first of the callbacks that are ready. Those they add come later."""
        while remaining > 0 and self.ready.count:
            if self._debug:
                remaining -= 1
                self.run_handle(<Handle>self.ready.pop())
            else:
                remaining = self.ready.run(remaining, &self._debug)
        return 0

    cdef int run_handle(self, Handle handle) except -1:
        try:
            if handle._cancelled:
                return 0
            return self.run_timed(handle) if self._debug else handle.run()
        finally:
            self.ready.running = NULL

    cdef int run_timed(self, object handle) except -1:
        """Debug mode: run a handle and log it when it kept the loop for too long."""
        cdef double begun
        self._current_handle = handle
        try:
            begun = monotonic()
            (<Handle>handle).run()
            took = monotonic() - begun
            if took >= self.slow_callback_duration:
                base_events.logger.warning("Executing %s took %.3f seconds", _describe(handle), took)
        finally:
            self._current_handle = None
        return 0

    # Looking on from another thread -----------------------------------------------------------------------------

    def _take_pulse(self):
        """Have _pulse() tell since when the loop works, if no detector asks for that."""
        if self.stalls is None:
            self._new_stall_detector(0)

    def _pulse(self):
        """How long the turn that is under way has taken, 0 if the loop rests; and the CPU time of the loop's thread.

        Both in seconds; 0 if the pulse is not taken, or the loop has not run yet.
        """
        return (0.0, 0.0) if self.stalls is None else self.stalls.pulse()

    def _stack(self):
        """The Python stack of the loop's thread; see StallDetector.stack(). Empty if the pulse is not taken."""
        return [] if self.stalls is None else self.stalls.stack()

    def _new_stall_detector(self, double threshold):
        """Make the loop's stall detector, for another thread to ask."""
        self.stalls = StallDetector(self)
        self.stalls.begin(&self.ready.head, &self.ring.taken_up, threshold)
        self.ring.pulse = &self.stalls.stall.pulse
        return self.stalls

    def _end_stall_detector(self):
        """Have the detector say that it is closed, when it has told the end of what it has seen."""
        self.ring.pulse = NULL
        if self.stalls is not None:
            self.stalls.close()

    def _measure(self):
        """Have it counted how long turns take and how late timers are, from now on; any thread, one at a time."""
        self.ring.measure()
        self.timers.measure()

    def _measured(self):
        """What _measure() has had counted so far, by name: how many in which bucket, and their nanoseconds in all.

        Only buckets that hold something are told.
        """
        cdef nl_meter *meter = nl_load_meter(&self.ring.meter)
        return {
            "turn": counted(NULL if meter == NULL else &meter.turns),
            "lag": counted(nl_load_histogram(&self.timers.lag)),
        }

    def _glance(self):
        """The handle that is being run, or None, and how many callbacks and events wait; see StallDetector.take_down().
        """
        cdef Py_ssize_t waiting = self.ready.count
        for ring in self._rings():
            if (<Ring>ring).ring.fd >= 0:
                waiting += <Py_ssize_t>c.nl_ring_ready(&(<Ring>ring).ring)
        if self.ready.running == NULL:
            return None, waiting
        return <object>self.ready.running, waiting

    def _endpoints(self):
        """Who owns operations or could: transports, listeners, operations under way."""
        return [each for ring in self._rings() for each in (<Ring>ring).all_endpoints()]

    # Threads, signals, the end ----------------------------------------------------------------------------------

    @property
    def _closed(self):
        return nl_load_int(&self.closed)

    @_closed.setter
    def _closed(self, bint closed):
        nl_store_int(&self.closed, closed)

    @property
    def _thread_id(self):
        cdef unsigned long thread_id = nl_load_thread(&self.thread_id)
        return thread_id if thread_id else None

    @_thread_id.setter
    def _thread_id(self, thread_id):
        nl_store_thread(&self.thread_id, 0 if thread_id is None else thread_id)

    def _runs_elsewhere(self):
        """Does the loop run, and in another thread than the calling one?"""
        return self.ring is not None and self.ring.runs_elsewhere()

    def _hold(self):
        """Have the loop for this thread alone, to run or to close it; says whether the caller is to give it back.

        Raises RuntimeError if another thread has it.
        """
        cdef unsigned long me = PyThread_get_thread_ident()
        if nl_claim(&self.holder, me):
            return True
        if nl_load_thread(&self.holder) != me:
            raise RuntimeError("This event loop is already running, or is being closed, in another thread")
        return False

    def _let_go(self):
        nl_store_thread(&self.holder, 0)

    def _enter_thread(self):
        self._hold()
        try:
            for ring in self._rings():
                enter_thread(ring, self.wake)
        except BaseException:
            for ring in self._rings():
                nl_store_thread(&(<Ring>ring).running, 0)
            self._let_go()
            raise
        self.inbox.begin_run()
        # With a ring that was replaced, the wake-up that was under way is gone too.
        self.inbox.note_read()
        self.wake.mark_dirty()
        self.hears_signals = hears_signals()
        if self.ring.pulse != NULL:
            self.stalls.enter()

    def _leave_thread(self):
        try:
            self.wake.collect()
        finally:
            try:
                for ring in self._rings():
                    leave_thread(ring, self.wake)
            finally:
                self.ring.end_work()
                self.inbox.end_run()
                self._let_go()

    def _wakeup_fd(self):
        """The process's wake-up descriptor, as far as this loop has it."""
        return self.wake.wakeup_fd

    def _new_handle(self, callback, args):
        """A handle that may be scheduled more than once."""
        return new_handle(callback, args, self, None, self._debug)

    def _before_fork(self):
        """The process is about to fork."""
        if self.ring is not None:
            for ring in self._rings():
                ring.before_fork()

    def _after_fork(self):
        """After fork, in the parent."""
        if self.ring is not None:
            for ring in self._rings():
                ring.after_fork(False)

    def _abandon(self):
        """After fork, in the child: give up the parent's ring."""
        self.inbox.after_fork()
        if self.ring is not None:
            for ring in self._rings():
                ring.after_fork(True)
                ring.abandon()
            self._end_stall_detector()

    def _close_ring(self):
        """Drop what is scheduled, cancel what is in flight, close the ring. Closing twice does nothing."""
        self.inbox.close()
        self.ready.clear()
        self.timers.clear()
        self.farewell = self.farewells = None
        if self.ring is not None and self.wake is not None:
            for ring in [*self.others, self.ring]:
                ring.close()
            self.wake.wakeup_fd.close()
            self.wake.close()

    def _ring_counters(self):
        """What loop.statistics().rings tells, for each ring."""
        return [ring.own_counters() for ring in self._rings()]

    def _counters(self):
        """The numbers of loop.statistics()."""
        counters = self.ring.counters()
        for ring in self.others:
            for name, value in ring.counters().items():
                counters[name] = counters[name] and value if name == "restricted" else counters[name] + value
        counters["in_flight"] -= <int>nl_glance(&self.wake.in_flight)
        counters.update(
            turns=nl_glance64(&self.turns), wakeups=nl_glance64(&self.wake.wakeups),
            ready=nl_glance64(&self.ready.count) + self.inbox.count(), timers=nl_glance64(&self.timers.heap.count),
            connections_accepted=nl_glance64(&self.connections_accepted),
            packets_received=nl_glance64(&self.packets_received), packets_sent=nl_glance64(&self.packets_sent),
            packets_dropped=nl_glance64(&self.packets_dropped),
            segmentation_refused=nl_glance64(&self.segmentation_refused),
        )
        return counters


cdef counted(const nl_histogram *histogram):
    """The counts of a histogram by bucket, and the nanoseconds; of one that another thread may be adding to."""
    cdef dict counts = {}
    cdef unsigned bucket
    cdef uint64_t count
    if histogram == NULL:
        return counts, 0
    for bucket in range(c.NL_HISTOGRAM_BUCKETS):
        count = nl_glance64(&histogram.counts[bucket])
        if count:
            counts[bucket] = count
    return counts, nl_glance64(&histogram.sum)


def histogram_bounds():
    """The longest time of each bucket of a histogram but the last, in seconds."""
    return tuple([c.nl_histogram_bound(bucket) / 1e9 for bucket in range(c.NL_HISTOGRAM_BUCKETS - 1)])


def _describe(handle):
    """A handle for the slow-callback log: by its task where it is a task's step."""
    owner = getattr(handle._callback, "__self__", None)
    if owner is not None and hasattr(owner, "get_coro"):
        return repr(owner)
    return str(handle)
