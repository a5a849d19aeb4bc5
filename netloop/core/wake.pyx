# cython: language_level=3, boundscheck=False, wraparound=False
"""What ends the kernel's wait from outside: other threads and signals."""

import os
import signal
import threading
import weakref

from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport int32_t
from posix.fcntl cimport O_NONBLOCK, F_GETFL, F_SETFL, fcntl
from posix.stat cimport fstat, struct_stat
from posix.unistd cimport close as close_descriptor, write as write_descriptor

from netloop.core cimport cext as c


cdef extern from *:
    """
    /* signal.set_wakeup_fd() without its checks and their system calls. Before Python 3.13 the headers have it and the
       interpreter does not export it. */
    #if PY_VERSION_HEX >= 0x030D0000
    #define nl_set_wakeup_fd PySignal_SetWakeupFd
    enum { NL_SETS_WAKEUP_FD = 1 };
    #else
    static int nl_set_wakeup_fd(int descriptor) { return descriptor; }
    enum { NL_SETS_WAKEUP_FD = 0 };
    #endif
    """
    bint NL_SETS_WAKEUP_FD
    int nl_set_wakeup_fd(int descriptor) noexcept

cdef extern from "Python.h":
    ctypedef struct PyInterpreterState
    PyInterpreterState *PyInterpreterState_Get()
    PyInterpreterState *PyInterpreterState_Main()
    int PyErr_CheckSignals() except -1

cdef extern from "nl_wake.h" nogil:
    int nl_wake_ends(int *ends)

cdef enum:
    NOBODY = -1

# Each loop's by its descriptor.
cdef object of_loops = weakref.WeakValueDictionary()


def hears_signals():
    """Is this the main thread of the main interpreter, which alone hears of signals and may set the descriptor?"""
    return (threading.current_thread() is threading.main_thread()
            and PyInterpreterState_Get() == PyInterpreterState_Main())


cdef class Wake(Endpoint):
    """Ends the kernel's wait from outside: by another thread or by a signal.

    Both write to one pipe that the ring reads: threads a zero byte, CPython's C-level signal handler the signal's
    number (see WakeupFd). An eventfd would do for threads, but takes no single bytes from the signal handler.
    The ring's MSG_RING was not chosen because the signal handler cannot use it.

    Linux 6.1 reads pipes in a thread of the kernel's, so that the signal that ends a run of the loop is read after it.
    There two connected sockets take the pipe's place. They are not taken everywhere because a wake-up by them costs a
    twentieth more, the other thread's part included.
    """

    def __cinit__(self):
        self.read_fd = self.write_fd = -1

    def __init__(self, object loop, Ring ring, Inbox inbox, ReadyQueue ready, dict handlers):
        cdef int ends[2]
        if nl_wake_ends(ends):
            raise OSError(errno, "cannot make the pipe that wakes the loop: " + os.strerror(errno))
        self.read_fd, self.write_fd = ends[0], ends[1]
        # Only the writing end: a read on a non-blocking descriptor fails with EAGAIN instead of waiting in the ring.
        fcntl(self.write_fd, F_SETFL, fcntl(self.write_fd, F_GETFL, 0) | O_NONBLOCK)
        self.wakeup_fd = WakeupFd(self.write_fd)
        self.loop, self.inbox, self.ready, self.handlers = loop, inbox, ready, handlers
        inbox.open(self.write_fd)
        ring.attach(self)
        self.mark_dirty()

    def __dealloc__(self):
        self.close()

    cdef close(self):
        if self.read_fd >= 0:
            close_descriptor(self.read_fd)
            close_descriptor(self.write_fd)
            self.read_fd = self.write_fd = -1

    cdef int on_flush(self) except -1:
        if not self.in_flight:
            # An offset of -1 means the file's own position, the only one that a pipe or a socket has.
            c.nl_prep_read(self.sqe(), c.nl_descriptor(self.read_fd), self.bytes, sizeof(self.bytes),
                           <c.uint64_t>-1, self.token(c.NL_READ, 0))
        return 0

    cdef int on_ring_closed(self) except -1:
        # Its memory may have to outlive the ring; all that the loop refers to need not.
        self.loop = None
        return 0

    cdef int on_completion(self, unsigned op, unsigned lane, int res, unsigned flags) except -1:
        self.inbox.note_read()
        self.wakeups += 1
        if res > 0:
            self.handle_signals(self.bytes[:res])
        elif res != -EINTR and res != -EAGAIN and res != -c.ECANCELED:
            self.loop.call_exception_handler({
                "message": "the pipe that wakes the event loop cannot be read; was its descriptor closed?",
                "exception": OSError(-res, os.strerror(-res)),
            })
            return 0
        self.mark_dirty()
        return 0

    cdef int handle_signals(self, bytes numbers) except -1:
        """Schedule the handlers of signals. No Python code runs meanwhile, so none is lost to a KeyboardInterrupt."""
        for number in numbers:
            handle = self.handlers.get(number)
            if handle is not None:
                self.ready.push(handle)
        return self.wakeup_fd.pass_on(numbers)

    cdef int collect(self) except -1:
        """The loop ends its run: take in the signals of its last wait, if others are to hear of them."""
        cdef int32_t result
        while self.wakeup_fd.listener() >= 0 and self.attached and self.ring.ring.fd >= 0:
            if not self.in_flight:
                self.on_flush()
            self.ring.enter(0, 0)
            if not self.take(c.NL_READ, 0, &result):
                break
            self.on_completion(c.NL_READ, 0, result, 0)
        self.wakeup_fd.lender = NOBODY
        return 0


cdef int set_wakeup_fd(int descriptor) except? -2:
    """Returns the previous one. A descriptor that is closed by now is taken for nobody's."""
    if NL_SETS_WAKEUP_FD:
        return nl_set_wakeup_fd(descriptor)
    try:
        return signal.set_wakeup_fd(descriptor, warn_on_full_buffer=False)
    except (ValueError, OSError):
        return signal.set_wakeup_fd(NOBODY)


cdef class WakeupFd:
    """The descriptor that signal.set_wakeup_fd() sets, which a loop borrows for its waits and keeps for its handlers.

    CPython's C-level handler writes each signal's number to it. A process has only one, and others want it too: Twisted
    to hear of its children, trio to hear of an interrupt. asyncio's loop takes it when it is given a signal handler.
    A loop without it can sleep through a signal that has come just before the kernel's wait began.

    So it is borrowed, in the main thread, while the loop waits. No Python code of that thread runs then, and no other
    thread may ask for it: nobody can see that. Where borrowing takes several system calls, a wait is only cut short
    at first (SHORT_WAIT), and it is borrowed when nothing has come by then. With signal handlers it is kept, as by
    asyncio. Either way the numbers that were read are passed on to whoever has it otherwise.
    """

    def __init__(self, int own):
        self.own = own
        self.lender = self.displaced = NOBODY
        of_loops[own] = self

    def close(self):
        """The loop is closed, and the number of its descriptor may soon be somebody else's."""
        if of_loops.pop(self.own, None) is not None:
            if hears_signals():
                self.release()
            self.own = NOBODY

    # In the main thread, for a wait -----------------------------------------------------------------------------

    cdef bint begin_wait(self) except -1:
        """Have signals end the wait that follows; if not all of them will, it must be a SHORT_WAIT.

        Runs the Python handlers of those that have come already.
        """
        PyErr_CheckSignals()
        if not NL_SETS_WAKEUP_FD and not self.idle:
            return False
        self.lender = set_wakeup_fd(self.own)
        self.borrowed = True
        # Those of the last moment, whose numbers the lender got.
        PyErr_CheckSignals()
        cdef int now = set_wakeup_fd(self.own)
        if now != self.own:
            self.lender = now  # set by a handler that has just run
        return True

    cdef int end_wait(self, bint short, bint nothing) except -1:
        """Give back what was borrowed, after a wait that was cut short or was not, and in which nothing has come."""
        self.idle = nothing and (short or self.idle)
        if self.borrowed:
            self.borrowed = False
            set_wakeup_fd(self.lender)
        return 0

    # For signal handlers ----------------------------------------------------------------------------------------

    def keep(self):
        """Have the numbers written here until release(). Raises ValueError outside the main thread."""
        cdef int previous = signal.set_wakeup_fd(self.own, warn_on_full_buffer=False)
        if self.borrowed:
            previous, self.lender = self.lender, self.own
        # As with asyncio, of several loops the last one to be given a handler has it. They must not tell each other:
        # what one passed on would come back.
        # Another thread may close its loop meanwhile, so each is asked for once.
        other = of_loops.get(previous)
        while previous != self.own and other is not None:
            previous = (<WakeupFd>other).displaced_owner()
            other = of_loops.get(previous)
        if previous != self.own:
            self.remember(previous)

    def release(self):
        """Give the descriptor back to whom keep() took it from, unless it has been set to another since."""
        cdef int now
        if not self.borrowed:
            now = set_wakeup_fd(NOBODY)
            set_wakeup_fd(self.displaced_owner() if now == self.own else now)
        elif self.lender == self.own:
            self.lender = self.displaced_owner()
        self.displaced = NOBODY

    def owner_before(self):
        """Whose it is when it is not ours."""
        return self.lender if self.borrowed and self.lender != self.own else self.displaced_owner()

    # Passing on -------------------------------------------------------------------------------------------------

    cdef int listener(self) except -2:
        """Who else is to hear of the signals that were written here, of the last wait too."""
        cdef int now
        if self.lender == self.own or self.lender == NOBODY:
            return self.displaced_owner()
        # Asking sets it for a moment. A handler may have run since the wait, and the lender may be gone.
        now = set_wakeup_fd(self.own)
        set_wakeup_fd(now)
        if now == self.own:
            return self.displaced_owner()
        return self.lender if now == self.lender else NOBODY

    cdef int pass_on(self, bytes numbers) except -1:
        """Write signals' numbers to whoever else is to hear of them."""
        # A zero is a thread's, not a signal's.
        cdef bytes signals = numbers.replace(b"\0", b"")
        cdef int listener = self.listener() if signals else NOBODY
        if listener != NOBODY:
            # Where there is no room for more, the reader is woken already.
            write_descriptor(listener, <const char *>signals, len(signals))
        return 0

    cdef int displaced_owner(self) noexcept:
        """Whom keep() took it from, if that descriptor is still what it was then."""
        cdef struct_stat status
        if self.displaced == NOBODY or fstat(self.displaced, &status):
            return NOBODY
        if status.st_dev != self.displaced_device or status.st_ino != self.displaced_inode:
            return NOBODY
        return self.displaced

    cdef int remember(self, int descriptor) noexcept:
        cdef struct_stat status
        self.displaced = NOBODY
        if descriptor != NOBODY and fstat(descriptor, &status) == 0:
            self.displaced, self.displaced_device, self.displaced_inode = descriptor, status.st_dev, status.st_ino
        return 0
