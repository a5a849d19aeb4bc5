# cython: language_level=3, boundscheck=False, wraparound=False
"""What another thread sees of a loop that does not go on: which callback, where in it, and what it spends its time on.

The waiting is done in C, without the interpreter lock (cext/nl_stall.h). What is seen is taken down in one go, while
this thread has the lock, or where there is none, has stopped all others: nothing here runs Python code that could give
it up in the middle, and let the loop go on.
"""

import gc
import weakref

from netloop.core cimport cext as c

cdef extern from *:
    """
    #ifdef Py_GIL_DISABLED
    /* As sys._current_frames() and the collector stop all other threads, each where it could be interrupted. CPython
       exports them for its own modules only, so one that does not is taken for possible. */
    extern void _PyEval_StopTheWorld(PyInterpreterState *) __attribute__((weak));
    extern void _PyEval_StartTheWorld(PyInterpreterState *) __attribute__((weak));
    static int nl_stop_threads(void)
    {
        if (!_PyEval_StopTheWorld || !_PyEval_StartTheWorld)
            return 0;
        _PyEval_StopTheWorld(PyInterpreterState_Get());
        return 1;
    }
    static void nl_start_threads(void) { _PyEval_StartTheWorld(PyInterpreterState_Get()); }
    #else
    static int nl_stop_threads(void) { return 1; }
    static void nl_start_threads(void) {}
    #endif

    /* Appends the code and the line of each call, the innermost first. */
    static int nl_take_stack(PyThreadState *thread, PyObject *list)
    {
        PyFrameObject *frame = PyThreadState_GetFrame(thread), *back;
        int failed = 0;
        for (; frame && !failed; frame = back) {
            int line = PyFrame_GetLineNumber(frame); /* -1: it has none */
            PyObject *call = Py_BuildValue("(Ni)", PyFrame_GetCode(frame), line < 0 ? 0 : line);
            failed = !call || PyList_Append(list, call);
            Py_XDECREF(call);
            back = PyFrame_GetBack(frame);
            Py_DECREF(frame);
        }
        Py_XDECREF(frame);
        return failed ? -1 : 0;
    }
    """
    PyThreadState *PyThreadState_Get()
    unsigned long PyThread_get_thread_ident()
    bint nl_stop_threads()
    void nl_start_threads()
    int nl_take_stack(PyThreadState *thread, list stack) except -1

cdef extern from "<time.h>" nogil:
    enum:
        CLOCK_MONOTONIC

cdef extern from "nl_pulse.h" nogil:
    int64_t nl_clock(int clock)

cdef dict _KINDS = {
    c.NL_STALL_BLOCKED: "blocked", c.NL_STALL_BLOCKED_OVER: "blocked",
    c.NL_STALL_SATURATED: "saturated", c.NL_STALL_SATURATED_OVER: "saturated",
}


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
        self.thread_state = PyThreadState_Get()
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
        self.take_down(sighting)
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

    cdef int take_down(self, Sighting sighting) except -1:
        """What the loop's thread does at this moment, if that is still what was noticed."""
        loop = self.loop()
        glance = None if loop is None else loop._glance
        sighting.stack = []
        if not nl_stop_threads():
            return 0
        try:
            sighting.stands = c.nl_stall_stands(&self.stall) or (
                sighting.kind == "saturated" and self.stall.turn == self.stall.pulse.since)
            if sighting.stands:
                self.take_stack(sighting.stack)
            if glance is not None:
                sighting.handle, sighting.waiting = glance()
        finally:
            nl_start_threads()
        return 0

    cdef int take_stack(self, list stack) except -1:
        """Fill in the calls of the loop's thread, if that is at work: in a turn it is there, whatever else it may be.

        All other threads must be stopped.
        """
        if self.stall.pulse.since:
            nl_take_stack(self.thread_state, stack)
            stack.reverse()
        return 0

    def stack(self):
        """The Python stack of the loop's thread: the code and the line of each call, the outermost first.

        It is empty while the loop waits or does not run.
        """
        cdef list stack = []
        if nl_stop_threads():
            try:
                self.take_stack(stack)
            finally:
                nl_start_threads()
        return stack

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
