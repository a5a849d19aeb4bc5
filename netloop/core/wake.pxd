from libc.stdint cimport uint64_t
from posix.types cimport dev_t, ino_t

from netloop.core.inbox cimport Inbox
from netloop.core.ring cimport Endpoint, Ring
from netloop.core.scheduler cimport ReadyQueue

cdef enum:
    # Nanoseconds for which a signal that comes in the last moment may go unnoticed.
    SHORT_WAIT = 50000000


cdef class Wake(Endpoint):
    cdef object loop
    cdef ReadyQueue ready
    cdef dict handlers
    cdef WakeupFd wakeup_fd
    cdef int read_fd
    cdef int write_fd
    cdef Inbox inbox
    cdef uint64_t wakeups
    cdef unsigned char bytes[256]

    cdef close(self)
    cdef int handle_signals(self, bytes numbers) except -1
    cdef int collect(self) except -1


cdef class WakeupFd:
    cdef readonly int own
    cdef int lender
    cdef bint borrowed
    cdef bint idle
    cdef int displaced
    cdef dev_t displaced_device
    cdef ino_t displaced_inode
    cdef object __weakref__

    cdef bint begin_wait(self) except -1
    cdef int end_wait(self, bint short, bint nothing) except -1
    cdef int listener(self) except -2
    cdef int pass_on(self, bytes numbers) except -1
    cdef int displaced_owner(self) noexcept
    cdef int remember(self, int descriptor) noexcept
