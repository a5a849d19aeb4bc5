# cython: language_level=3
"""Descriptors of processes."""

import os

from libc.errno cimport errno


cdef extern from *:
    """
    #include <sys/syscall.h>
    #include <unistd.h>
    /* One number for all architectures; older headers do not know it. */
    #ifndef SYS_pidfd_open
    #define SYS_pidfd_open 434
    #endif
    static int nl_pidfd_open(int pid) { return (int)syscall(SYS_pidfd_open, pid, 0); }
    """
    int nl_pidfd_open(int pid)


def pidfd_open(int pid):
    """A descriptor of a process, closed on exec; see os.pidfd_open.

    That function is missing where Python was built with the headers of a kernel before Linux 5.3, as the interpreters
    that are distributed for all systems are.

    Raises OSError: ESRCH, there is no such process; EMFILE; ENOSYS or EPERM, a sandbox refuses the call.
    """
    cdef int descriptor = nl_pidfd_open(pid)
    if descriptor < 0:
        raise OSError(errno, "pidfd_open failed: " + os.strerror(errno))
    return descriptor
