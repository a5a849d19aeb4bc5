# cython: language_level=3, boundscheck=False, wraparound=False
"""What another thread sees of a loop that does not go on: which callback, where in it, and what it spends its time on.

The waiting is done in C, without the interpreter lock (cext/nl_stall.h). What is seen is taken down in one go, while
this thread has the lock: nothing here runs Python code that could give it up in the middle, and let the loop go on.
"""

import gc
import sys
import weakref

from netloop.core cimport cext as c

cdef extern from "Python.h":
    unsigned long PyThread_get_thread_ident()

cdef extern from "<time.h>" nogil:
    enum:
        CLOCK_MONOTONIC

cdef extern from "nl_pulse.h" nogil:
    int64_t nl_clock(int clock)

cdef dict _KINDS = {
    c.NL_STALL_BLOCKED: "blocked", c.NL_STALL_BLOCKED_OVER: "blocked",
    c.NL_STALL_SATURATED: "saturated", c.NL_STALL_SATURATED_OVER: "saturated",
}


def stack_of(unsigned long thread):
    """The Python stack of a thread at this moment: the code and the line of each call, the outermost first."""
    cdef list stack = []
    cdef object frame = sys._current_frames().get(thread)
    while frame is not None:
        # Taken down now: the line of a frame that is kept goes on with its thread.
        stack.append((frame.f_code, frame.f_lineno))
        frame = frame.f_back
    stack.reverse()
    return stack


cdef class Sighting:
    """What the detector has seen, at one moment.

    ``kind`` is "blocked" or "saturated"; ``over`` says that what was seen before has come to its end after ``seconds``,
    and then the rest has no meaning.

    ``cpu_share`` and ``delay_share`` say which part of the time the loop's thread was on a CPU, and was ready for one
    but given none. ``gc_seconds`` is what collections of garbage have taken in this turn, ``lock_seconds`` how long
    this thread has waited for the interpreter lock while CPUs were given to it and to the loop's. ``without_lock`` says
    that the loop itself waited for that lock, to begin its turn. ``state`` and ``channel`` are the thread's state, as
    in proc_pid_stat(5), and the function of the kernel in which it slept. ``stands`` says that the loop has not gone on
    since, so that ``handle`` and ``stack`` are those of the stall. ``waiting`` counts the callbacks that wait.
    """


cdef class StallDetector:
    """Tells a thread of its own, which calls next(), of each turn of the loop that takes too long.

    It refers to the loop weakly: a loop that is forgotten must be collectable although that thread lives. So whoever
    closes the loop sees to it that next() has returned None, or is not called any more, before the loop's memory goes.
    """

    def __init__(self, object loop):
        self.loop = weakref.ref(loop)

    cdef int begin(self, const uint64_t *callbacks, const uint64_t *completions, double threshold) except -1:
        c.nl_stall_init(&self.stall, callbacks, completions, <int64_t>(threshold * 1e9))
        gc.callbacks.append(self.note_collection)
        return 0

    def enter(self):
        """The loop begins to run in the calling thread."""
        self.thread = PyThread_get_thread_ident()
        c.nl_stall_enter(&self.stall)
        c.nl_pulse_begin(&self.stall.pulse, True)

    def close(self):
        """Have next() return None, once it has told the end of what it has seen."""
        c.nl_pulse_rest(&self.stall.pulse)
        if self.note_collection in gc.callbacks:
            gc.callbacks.remove(self.note_collection)
        c.nl_stall_close(&self.stall)

    def release(self):
        """Have next() return None at once: called by its own thread, to which the loop has come to be closed."""
        self.let_go = True

    def next(self):
        """Wait for the next sighting, in the detector's own thread; None when the detector has been closed."""
        cdef int event
        cdef c.nl_spent noticed
        cdef int64_t own_delay = 0
        cdef bint without_lock = False
        cdef char state = 0
        cdef char channel[64]
        channel[0] = 0
        if self.let_go:
            return None
        with nogil:
            event = c.nl_stall_next(&self.stall)
            noticed.at = 0
            if event == c.NL_STALL_BLOCKED or event == c.NL_STALL_SATURATED:
                # Asked before the lock is: whoever holds it may let go of it only when the stall is over.
                state = c.nl_stall_state(&self.stall, channel, sizeof(channel))
                without_lock = not self.stall.pulse.has_lock
                own_delay = c.nl_own_delay()
                noticed = c.nl_stall_spent(&self.stall)
        if event == c.NL_STALL_CLOSED:
            return None
        return self.see(event, &noticed, own_delay, without_lock, chr(state),
                        (<bytes>channel).decode("ascii", "replace"))

    cdef object see(self, int event, const c.nl_spent *noticed, int64_t own_delay, bint without_lock, str state,
                    str channel):
        cdef Sighting sighting = Sighting.__new__(Sighting)
        cdef c.nl_spent spent
        cdef double window
        sighting.kind = _KINDS[event]
        sighting.over = event == c.NL_STALL_BLOCKED_OVER or event == c.NL_STALL_SATURATED_OVER
        sighting.seconds = self.stall.length * 1e-9
        if sighting.over:
            return sighting
        sighting.stands = c.nl_stall_stands(&self.stall) or (
            sighting.kind == "saturated" and self.stall.turn == self.stall.pulse.since)
        sighting.stack = stack_of(self.thread)
        loop = self.loop()
        if loop is not None:
            sighting.handle, sighting.waiting = loop._glance()
        sighting.state, sighting.channel, sighting.without_lock = state, channel, without_lock
        # Of less weight than what is above, so that it may be of a moment later.
        spent = c.nl_stall_spent(&self.stall)
        sighting.gc_seconds = self.collected_until(spent.at) * 1e-9
        sighting.seconds += (spent.at - noticed.at) * 1e-9
        # Whoever has the lock, or waits for it, may also just not be given a CPU.
        sighting.lock_seconds = max(
            0, spent.at - noticed.at - max(spent.delay - noticed.delay, c.nl_own_delay() - own_delay)) * 1e-9
        window = spent.at - self.stall.before.at
        if self.stall.before.at and window > 0:
            sighting.cpu_share = min(1.0, (spent.cpu - self.stall.before.cpu) / window)
            sighting.delay_share = min(1.0, (spent.delay - self.stall.before.delay) / window)
        return sighting

    def pulse(self):
        """For how long the turn that is under way has run, 0 if none is; and the CPU time of the loop's thread."""
        cdef int64_t since = self.stall.pulse.since
        cdef int64_t now = nl_clock(CLOCK_MONOTONIC)
        if not self.thread:
            return 0.0, 0.0
        return max(0, now - since) * 1e-9 if since else 0.0, c.nl_stall_spent(&self.stall).cpu * 1e-9

    def stands(self):
        """Has the loop still not gone on since the last sighting?"""
        return c.nl_stall_stands(&self.stall)

    def note_collection(self, str phase, dict info):
        """The garbage collector begins or ends a collection, in whatever thread; one of gc.callbacks."""
        cdef int64_t now
        if PyThread_get_thread_ident() != self.thread:
            return
        now = nl_clock(CLOCK_MONOTONIC)
        if phase == "start":
            self.collecting_since = now
        elif self.collecting_since:
            if self.collected_turn != self.stall.pulse.since:
                self.collected_turn, self.collected = self.stall.pulse.since, 0
            self.collected += now - self.collecting_since
            self.collecting_since = 0

    cdef int64_t collected_until(self, int64_t now):
        """How long garbage has been collected in the turn that is looked at; nanoseconds."""
        cdef int64_t past = self.collected if self.collected_turn == self.stall.turn else 0
        return past + (now - self.collecting_since if self.collecting_since else 0)
