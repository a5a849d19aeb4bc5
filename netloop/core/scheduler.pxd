from cpython.ref cimport PyObject
from cython cimport final
from libc.stdint cimport uint64_t

from netloop.core.cext cimport nl_histogram, nl_timer, nl_timers


cdef class Handle:
    cdef readonly object _callback
    cdef readonly tuple _args
    cdef readonly object _context
    cdef readonly object _loop
    cdef readonly object _source_traceback
    cdef object _repr
    cdef readonly bint _cancelled
    cdef object __weakref__

    cdef bint disarm(self) except -1
    cdef int run(self) except -1
    cdef int report(self, object callback, tuple args) except -1


cdef class ThreadSafeHandle(Handle):
    cdef object lock


cdef class TimerHandle(Handle):
    cdef nl_timer timer
    cdef Timers timers
    cdef Py_ssize_t position
    # Is it to be counted how late its callback is called?
    cdef bint measured


@final
cdef class ReadyQueue:
    cdef list slots
    # How many handles have left the queue; the place of the oldest one is this, masked.
    cdef uint64_t head
    cdef Py_ssize_t mask
    cdef readonly Py_ssize_t count
    # The handle that was taken last, for as long as run() or its caller has it; nobody's reference.
    cdef PyObject *running

    cdef int push(self, Handle handle) except -1
    cdef object last(self)
    cdef object pop(self)
    cdef Py_ssize_t run(self, Py_ssize_t limit, bint *debug) except -1
    cdef int grow(self) except -1
    cpdef clear(self)


cdef class Timers:
    cdef nl_timers heap
    cdef list owners
    # Counts how late callbacks are called, if it is asked to; the timers' own, or NULL. Other threads ask for it.
    cdef nl_histogram *lag

    cdef int add(self, TimerHandle handle, double when) except -1
    cdef int remove(self, TimerHandle handle) except -1
    cdef TimerHandle pop_due(self, double now)
    cdef double first(self)
    cdef int measure(self) except -1
    cpdef clear(self)


cdef Handle new_handle(object callback, tuple args, object loop, object context, bint debug)
cdef Handle new_threadsafe_handle(object callback, tuple args, object loop, object context, bint debug)
cdef TimerHandle new_timer(double when, object callback, tuple args, object loop, object context, bint debug,
                           Timers timers, bint measured)
