from cython cimport final

from netloop.core.free_threading cimport nl_lock
from netloop.core.scheduler cimport Handle, ReadyQueue


@final
cdef class Inbox:
    cdef ReadyQueue ready
    # Does the loop sleep in the kernel? Is a wake-up under way that it has not read yet?
    cdef bint blocked
    cdef bint written
    cdef bint closed
    # The writing end of the pipe that wakes the loop, -1 where there is none.
    cdef int write_fd
    # Without the interpreter lock: what has arrived while the loop ran and was not taken in, and is there any; the lock
    # for all of this, and for the ready queue while the loop does not run.
    cdef nl_lock lock
    cdef bint running
    cdef ReadyQueue arrived
    cdef ReadyQueue taken
    cdef bint waiting

    cdef int put(self, Handle handle, bint wakes) except -1
    cdef int begin_run(self) noexcept
    cdef int end_run(self) except -1
    cdef int take_in(self) except -1
    cdef Py_ssize_t count(self) noexcept
    cdef int wake(self) noexcept
    cdef int write(self) noexcept
    cdef bint begin_wait(self) noexcept
    cdef int end_wait(self) noexcept
    cdef int note_read(self) noexcept
    cdef int open(self, int write_fd) noexcept
    cdef int close(self) except -1
    cdef int after_fork(self) noexcept
