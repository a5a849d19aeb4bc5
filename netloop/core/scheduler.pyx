# cython: language_level=3, boundscheck=False, wraparound=False
"""What is to run and when: handles, the ready queue, the timers."""

import asyncio
import sys
from asyncio import events, format_helpers
from threading import RLock

cimport cython
from cpython.ref cimport PyObject
from libc.stdlib cimport calloc, free

from netloop.core cimport cext as c
from netloop.core.free_threading cimport NL_FREE_THREADED, nl_load_int, nl_store_histogram, nl_store_int


cdef extern from "Python.h":
    object PyContext_CopyCurrent()
    # Declared without their exceptions, so that the common case pays for no exception machinery.
    int PyContext_Enter(PyObject *context)
    int PyContext_Exit(PyObject *context)
    PyObject *PyObject_Call(PyObject *callable, PyObject *args, PyObject *keywords)
    void Py_INCREF(PyObject *value)
    void Py_DECREF(PyObject *value)
    # Both move a reference and count none.
    object take_item "PyList_GET_ITEM"(list values, Py_ssize_t index)
    void put_item "PyList_SET_ITEM"(list values, Py_ssize_t index, PyObject *value)

cdef enum:
    # Places of a ready queue to begin with; a power of two, as are all its later sizes.
    SLOTS = 256

cdef bint threadsafe_cancelling = sys.version_info >= (3, 14)


cdef int raise_pending() except -1:
    """Turn the exception that a C call has left behind into one that `except` sees."""
    return -1


# A turn may well schedule a thousand callbacks. The memory of handles that were used is kept for the next ones.
@cython.freelist(1024)
cdef class Handle:
    """A callback with its arguments and context, as asyncio.Handle (same attributes, same methods)."""

    cdef int run(self) except -1:
        """Call the callback in its context. Raises nothing but SystemExit and KeyboardInterrupt."""
        return call(self)

    cdef int report(self, object callback, tuple args) except -1:
        try:
            raise_pending()
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            source = format_helpers._format_callback_source(callback, args)
            details = {"message": f"Exception in callback {source}", "exception": exc, "handle": self}
            if self._source_traceback:
                details["source_traceback"] = self._source_traceback
            self._loop.call_exception_handler(details)
        return 0

    @property
    def __class__(self):
        # A compiled class cannot inherit from asyncio.Handle, whose slots fix another layout.
        return asyncio.Handle

    def _run(self):
        self.run()

    def cancel(self):
        """Keep the callback from being called. Cancelling twice, or after the call, does nothing."""
        if self._cancelled:
            return
        if NL_FREE_THREADED and self._loop._runs_elsewhere():
            # The loop's thread may be calling it this moment, so it is forgotten by that thread.
            nl_store_int(&self._cancelled, True)
            if isinstance(self, TimerHandle):
                self._loop.call_soon_threadsafe(self._disarm)
            return
        self.disarm()

    cdef bint disarm(self) except -1:
        """Cancel, and forget the callback, which nobody else is calling."""
        nl_store_int(&self._cancelled, True)
        if self._loop.get_debug():
            # Kept for messages about a handle that has forgotten its callback.
            self._repr = repr(self)
        self._callback = None
        self._args = None
        return True

    def cancelled(self):
        """Was cancel() called?"""
        return self._cancelled

    def get_context(self):
        """The contextvars.Context the callback runs in."""
        return self._context

    def _repr_info(self):
        info = [type(self).__name__]
        if self._cancelled:
            info.append("cancelled")
        if self._callback is not None:
            info.append(format_helpers._format_callback_source(self._callback, self._args))
        if self._source_traceback:
            *_, frame = self._source_traceback
            info.append(f"created at {frame[0]}:{frame[1]}")
        return info

    def __repr__(self):
        if self._repr is not None:
            return self._repr
        return f"<{' '.join(self._repr_info())}>"


cdef class ThreadSafeHandle(Handle):
    """A handle that other threads cancel, as asyncio's of Python 3.14: they wait for a call that is under way.

    So when cancel() has returned, the callback does not run any more, in whatever thread that was.
    """

    @property
    def __class__(self):
        return events._ThreadSafeHandle

    cdef int run(self) except -1:
        with self.lock:
            # Cancelled, perhaps, while this thread waited for the lock.
            if not self._cancelled:
                call(self)
        return 0

    def cancel(self):
        """Keep the callback from being called; if another thread is calling it, wait for the end of that."""
        with self.lock:
            if not self._cancelled:
                self.disarm()

    def cancelled(self):
        """Was cancel() called? Waits for the end of a call by another thread."""
        with self.lock:
            return self._cancelled

    def __repr__(self):
        with self.lock:
            return Handle.__repr__(self)


cdef inline int call(Handle handle) except -1:
    # Held here, because the callback may cancel its own handle. The context stays with the handle.
    cdef object callback = handle._callback
    cdef tuple args = handle._args
    cdef PyObject *context = <PyObject *>handle._context
    cdef PyObject *result = NULL
    # Refused for a context that is entered already and for what is no context; asyncio reports both.
    if PyContext_Enter(context) == 0:
        result = PyObject_Call(<PyObject *>callback, <PyObject *>args, NULL)
        PyContext_Exit(context)
    if result != NULL:
        Py_DECREF(result)
        return 0
    return handle.report(callback, args)


# The collector must not clear `timers`: the heap has a pointer into every handle until the handle has left it.
@cython.no_gc_clear
cdef class TimerHandle(Handle):
    """A handle that becomes ready at a time, as asyncio.TimerHandle."""

    @property
    def __class__(self):
        return asyncio.TimerHandle

    def __dealloc__(self):
        # Handles are freed by their owner only after they have left the heap; this guards the heap all the same.
        if self.timer.place != c.NL_TIMER_IDLE and self.timers is not None:
            c.nl_timers_remove(&self.timers.heap, &self.timer)

    cdef int run(self) except -1:
        if self.measured:
            c.nl_histogram_add(self.timers.lag, c.nl_lateness(self.timer.when))
        return call(self)

    def _disarm(self):
        """In the loop's thread, for another one that has cancelled."""
        self.disarm()

    cdef bint disarm(self) except -1:
        """A timer leaves the heap at once."""
        Handle.disarm(self)
        self.timers.remove(self)
        return True

    def when(self):
        """When the callback is due, in seconds on the clock of loop.time()."""
        return self.timer.when

    @property
    def _when(self):
        return self.timer.when

    @property
    def _scheduled(self):
        return self.timer.place != c.NL_TIMER_IDLE

    def _repr_info(self):
        info = Handle._repr_info(self)
        info.insert(2 if self._cancelled else 1, f"when={self.timer.when}")
        return info

    def __hash__(self):
        return hash(self.timer.when)

    def _key(self):
        return (self.timer.when, self._callback, self._args, self._cancelled)

    def __eq__(self, other):
        if not isinstance(other, TimerHandle):
            return NotImplemented
        return self._key() == other._key()

    def __lt__(self, other):
        return self.timer.when < other.when() if isinstance(other, TimerHandle) else NotImplemented

    def __gt__(self, other):
        return self.timer.when > other.when() if isinstance(other, TimerHandle) else NotImplemented

    def __le__(self, other):
        return self < other or self == other if isinstance(other, TimerHandle) else NotImplemented

    def __ge__(self, other):
        return self > other or self == other if isinstance(other, TimerHandle) else NotImplemented


cdef inline int fill(Handle handle, object callback, tuple args, object loop, object context, bint debug) except -1:
    handle._callback = callback
    handle._args = args
    handle._loop = loop
    handle._context = PyContext_CopyCurrent() if context is None else context
    if debug:
        # Compiled functions have no frame: the topmost one is the caller's.
        handle._source_traceback = format_helpers.extract_stack(sys._getframe(0))
    return 0


cdef Handle new_handle(object callback, tuple args, object loop, object context, bint debug):
    cdef Handle handle = Handle.__new__(Handle)
    fill(handle, callback, args, loop, context, debug)
    return handle


cdef Handle new_threadsafe_handle(object callback, tuple args, object loop, object context, bint debug):
    cdef ThreadSafeHandle handle
    if not threadsafe_cancelling:
        return new_handle(callback, args, loop, context, debug)
    handle = ThreadSafeHandle.__new__(ThreadSafeHandle)
    handle.lock = RLock()
    fill(handle, callback, args, loop, context, debug)
    return handle


cdef TimerHandle new_timer(double when, object callback, tuple args, object loop, object context, bint debug,
                           Timers timers, bint measured):
    cdef TimerHandle handle = TimerHandle.__new__(TimerHandle)
    handle.timer.place = c.NL_TIMER_IDLE
    handle.timer.owner = <void *>handle
    handle.timers = timers
    handle.measured = measured
    fill(handle, callback, args, loop, context, debug)
    timers.add(handle, when)
    return handle


cdef class ReadyQueue:
    """Handles to run, first in, first out.

    The handles stand in a list used as a circle. A list instead of an array of pointers, so that the garbage collector
    sees through it: a loop that is forgotten with callbacks in its queue must still be collectable.
    """

    def __cinit__(self):
        self.clear()

    def __len__(self):
        return self.count

    cdef int push(self, Handle handle) except -1:
        if self.count > self.mask:
            self.grow()
        # A free place holds None, for the sake of those who look at all objects there are. Its reference is not
        # given back here, so that pop() need not take one.
        Py_INCREF(<PyObject *>handle)
        put_item(self.slots, (self.head + self.count) & self.mask, <PyObject *>handle)
        self.count += 1
        return 0

    cdef object last(self):
        """The newest handle, or None."""
        return self.slots[(self.head + self.count - 1) & self.mask] if self.count else None

    cdef object pop(self):
        """The oldest handle; the queue must not be empty."""
        cdef Py_ssize_t place = self.head & self.mask
        cdef object handle = take_item(self.slots, place)
        put_item(self.slots, place, <PyObject *>None)
        self.head += 1
        self.count -= 1
        self.running = <PyObject *>handle
        return handle

    cdef Py_ssize_t run(self, Py_ssize_t limit, bint *debug) except -1:
        """Run up to so many handles, or until debug mode is on; returns how many of them are left to run."""
        cdef object handle
        try:
            while limit > 0 and self.count and not debug[0]:
                limit -= 1
                handle = self.pop()
                # Other threads cancel, too.
                if nl_load_int(&(<Handle>handle)._cancelled):
                    continue
                if type(handle) is Handle:
                    call(<Handle>handle)
                else:
                    (<Handle>handle).run()
        finally:
            # Before the last handle is given up here.
            self.running = NULL
        return min(limit, self.count)

    cdef int grow(self) except -1:
        cdef Py_ssize_t place = self.head & self.mask
        cdef list handles = self.slots[place:] + self.slots[:place] + [None] * (self.mask + 1)
        self.mask = 2 * self.mask + 1
        # Turned so that the oldest comes to stand at its place in the larger circle.
        place = len(handles) - (self.head & self.mask)
        self.slots = handles[place:] + handles[:place]
        return 0

    cpdef clear(self):
        self.slots = [None] * SLOTS
        self.count = 0
        self.mask = SLOTS - 1


cdef class Timers:
    """The timer heap and the handles in it.

    The heap itself is C and holds no references; `owners` does, in no order, where the garbage collector sees them.
    """

    def __cinit__(self):
        c.nl_timers_init(&self.heap)
        self.owners = []

    def __dealloc__(self):
        c.nl_timers_free(&self.heap)
        free(self.lag)

    cdef int measure(self) except -1:
        """Have it counted how late the callbacks of later timers are called. Any thread, one at a time."""
        cdef c.nl_histogram *lag
        if self.lag == NULL:
            lag = <c.nl_histogram *>calloc(1, sizeof(c.nl_histogram))
            if lag == NULL:
                raise MemoryError("no memory to count how late callbacks are called")
            nl_store_histogram(&self.lag, lag)
        return 0

    def __len__(self):
        return self.heap.count

    cdef int add(self, TimerHandle handle, double when) except -1:
        if c.nl_timers_add(&self.heap, &handle.timer, when):
            raise MemoryError("no memory for another timer")
        handle.position = len(self.owners)
        self.owners.append(handle)
        return 0

    cdef int remove(self, TimerHandle handle) except -1:
        if handle.timer.place == c.NL_TIMER_IDLE:
            return 0
        c.nl_timers_remove(&self.heap, &handle.timer)
        # The last owner takes the free place, which keeps removal cheap and the list dense.
        cdef TimerHandle last = <TimerHandle>self.owners.pop()
        if last is not handle:
            self.owners[handle.position] = last
            last.position = handle.position
        return 0

    cdef TimerHandle pop_due(self, double now):
        """Take the first timer that is due before `now`, or None."""
        cdef c.nl_timer *first = c.nl_timers_first(&self.heap)
        if first == NULL or first.when >= now:
            return None
        cdef TimerHandle handle = <TimerHandle>first.owner
        self.remove(handle)
        return handle

    cdef double first(self):
        """When the first timer is due; there must be one."""
        return c.nl_timers_first(&self.heap).when

    cpdef clear(self):
        c.nl_timers_free(&self.heap)
        self.owners.clear()
