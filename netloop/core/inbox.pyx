# cython: language_level=3, boundscheck=False, wraparound=False
"""What other threads hand over to a loop, and how it is woken for that.

The interpreter lock makes the ready queue itself the inbox. Without that lock the ready queue is the running loop's
thread's alone, and other threads have a queue of their own, under a lock that is held for a moment only and never while
code of the application runs. The loop takes it in at the beginning of each turn, and before call_soon() adds something,
so that everything is called in the order in which it was scheduled, as in asyncio. While the loop does not run, the
lock stands before the ready queue itself.

No wake-up is lost, because the loop says under that lock that it is about to sleep, and does not where something has
arrived. Whoever comes later finds it said.
"""

from posix.unistd cimport write as write_descriptor

from netloop.core.free_threading cimport (
    NL_FREE_THREADED, nl_glance64, nl_load_int, nl_lock_give, nl_lock_reset, nl_lock_take, nl_store_int,
)


cdef class Inbox:
    """The callbacks that call_soon_threadsafe() hands over."""

    def __cinit__(self, ReadyQueue ready):
        self.ready = ready
        self.write_fd = -1
        if NL_FREE_THREADED:
            self.arrived, self.taken = ReadyQueue(), ReadyQueue()

    # For all threads --------------------------------------------------------------------------------------------

    cdef int put(self, Handle handle, bint wakes) except -1:
        """Schedule a callback; if it `wakes`, a loop that sleeps is woken for it."""
        if not NL_FREE_THREADED:
            self.ready.push(handle)
            if wakes and self.blocked and not self.written:
                self.write()
            return 0
        cdef bint closed
        nl_lock_take(&self.lock)
        try:
            closed = self.closed
            if not self.running and not closed:
                self.ready.push(handle)
            elif not closed:
                self.arrived.push(handle)
                nl_store_int(&self.waiting, True)
                if wakes and nl_load_int(&self.blocked) and not nl_load_int(&self.written):
                    self.write()
        finally:
            nl_lock_give(&self.lock)
        if closed:
            raise RuntimeError("Event loop is closed")
        return 0

    cdef int wake(self) noexcept:
        """End the loop's wait, or the next one."""
        nl_lock_take(&self.lock)
        self.write()
        nl_lock_give(&self.lock)
        return 0

    cdef int write(self) noexcept:
        """Write to the pipe, which the lock keeps open. One that is full has woken the loop already."""
        if self.write_fd >= 0:
            nl_store_int(&self.written, True)
            write_descriptor(self.write_fd, b"\0", 1)
        return 0

    cdef Py_ssize_t count(self) noexcept:
        """How many callbacks have not been taken in."""
        cdef Py_ssize_t count = 0
        if NL_FREE_THREADED:
            nl_lock_take(&self.lock)
            # The loop's thread may be moving what it has taken.
            count = self.arrived.count + <Py_ssize_t>nl_glance64(&self.taken.count)
            nl_lock_give(&self.lock)
        return count

    # For the loop's thread --------------------------------------------------------------------------------------

    cdef int begin_run(self) noexcept:
        """The ready queue is the calling thread's from now on."""
        nl_lock_take(&self.lock)
        self.running = True
        nl_lock_give(&self.lock)
        return 0

    cdef int end_run(self) except -1:
        """The loop has stopped: what comes goes to the ready queue, behind what has arrived by now."""
        if not NL_FREE_THREADED:
            return 0
        nl_lock_take(&self.lock)
        try:
            self.running = False
            while self.taken.count:
                self.ready.push(<Handle>self.taken.pop())
            while self.arrived.count:
                self.ready.push(<Handle>self.arrived.pop())
            nl_store_int(&self.waiting, False)
        finally:
            nl_lock_give(&self.lock)
        return 0

    cdef int take_in(self) except -1:
        """Move what has arrived to the end of the ready queue."""
        if not self.taken.count:
            nl_lock_take(&self.lock)
            self.arrived, self.taken = self.taken, self.arrived
            nl_store_int(&self.waiting, False)
            nl_lock_give(&self.lock)
        while self.taken.count:
            self.ready.push(<Handle>self.taken.pop())
        return 0

    cdef bint begin_wait(self) noexcept:
        """The loop is about to sleep: wake it from now on. Says whether it may, which it may not if something is here.
        """
        cdef bint may_wait
        if not NL_FREE_THREADED:
            self.blocked = True
            return True
        nl_lock_take(&self.lock)
        may_wait = not self.waiting and not self.taken.count
        nl_store_int(&self.blocked, may_wait)
        nl_lock_give(&self.lock)
        return may_wait

    cdef int end_wait(self) noexcept:
        nl_store_int(&self.blocked, False)
        return 0

    cdef int note_read(self) noexcept:
        """No wake-up is under way any more."""
        nl_store_int(&self.written, False)
        return 0

    cdef int open(self, int write_fd) noexcept:
        """There is a pipe that wakes the loop."""
        self.write_fd = write_fd
        return 0

    cdef int close(self) except -1:
        """The loop is closed: drop what has arrived, and refuse what comes. The pipe is not written to any more."""
        cdef ReadyQueue dropped = None, empty = None
        if NL_FREE_THREADED:
            empty = ReadyQueue()
        nl_lock_take(&self.lock)
        self.closed = True
        self.write_fd = -1
        if NL_FREE_THREADED:
            # What ends with the callbacks may call anything, and so not under the lock.
            dropped, self.arrived = self.arrived, empty
            nl_store_int(&self.waiting, False)
        nl_lock_give(&self.lock)
        if NL_FREE_THREADED:
            dropped.clear()
            self.taken.clear()
        return 0

    cdef int after_fork(self) noexcept:
        """In a forked child: who held the lock is not there."""
        nl_lock_reset(&self.lock)
        return 0
