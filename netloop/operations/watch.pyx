# cython: language_level=3
"""Watching a descriptor that somebody else reads and writes: add_reader and add_writer.

asyncio's watchers are level-triggered: a callback that leaves data unread is called again. The ring's multishot poll
tells only of changes, so a single-shot poll is armed anew after each callback; where the descriptor is still ready,
that poll completes at once.
"""

import os


from libc.stdint cimport int32_t

from netloop.core cimport cext as c
from netloop.core.scheduler cimport Handle, new_handle


cdef extern from "<poll.h>":
    enum:
        POLLIN
        POLLOUT
        POLLPRI
        POLLERR
        POLLHUP
        POLLRDHUP


cdef class Watch(Endpoint):
    """The reader and the writer callback of one descriptor."""

    def __init__(self, LoopCore loop, int fd):
        self.loop = loop
        self.fd = fd
        loop.ring.attach(self)

    def set_reader(self, callback, args):
        """Call back whenever the descriptor can be read; takes the place of an earlier callback."""
        return self.replace(True, new_handle(callback, args, self.loop, None, self.loop._debug))

    def set_writer(self, callback, args):
        """Call back whenever the descriptor can be written; takes the place of an earlier callback."""
        return self.replace(False, new_handle(callback, args, self.loop, None, self.loop._debug))

    def clear_reader(self):
        """Forget the reader; says whether there was one."""
        return self.replace(True, None)

    def clear_writer(self):
        """Forget the writer; says whether there was one."""
        return self.replace(False, None)

    @property
    def idle(self):
        """Is nothing watched any more?"""
        return self.reader is None and self.writer is None

    cdef object replace(self, bint reading, Handle handle):
        cdef Handle old = self.reader if reading else self.writer
        if reading:
            self.reader = handle
        else:
            self.writer = handle
        if old is not None:
            old.cancel()
        if self.attached:
            self.mark_dirty()
            if self.idle and self.in_flight and self.ring.is_owner():
                self.leave()
        return handle if handle is not None else old is not None

    cdef int leave(self) except -1:
        """End the poll now: it holds the file open, and the caller will mostly close the descriptor next."""
        cdef int32_t result
        self.ring.make_space(1)
        c.nl_prep_cancel(c.nl_ring_sqe(&self.ring.ring), self.token(c.NL_POLL, 0), self.token(c.NL_CANCEL, 0))
        self.cancelled = True
        self.ring.enter(0, 0)
        if c.nl_ring_take(&self.ring.ring, self.token(c.NL_POLL, 0), &result):
            self.in_flight -= 1
            self.ring.in_flight -= 1
            self.ring.detach(self)
        return 0

    cdef unsigned wanted(self):
        cdef unsigned events = 0
        if self.reader is not None:
            events |= POLLIN | POLLPRI | POLLRDHUP
        if self.writer is not None:
            events |= POLLOUT
        return events

    cdef int on_flush(self) except -1:
        cdef unsigned events = self.wanted()
        if self.in_flight:
            if events != self.armed and not self.cancelled:
                c.nl_prep_cancel(c.nl_ring_sqe(&self.ring.ring), self.token(c.NL_POLL, 0),
                                 self.token(c.NL_CANCEL, 0))
                self.cancelled = True
            return 0
        if not events:
            self.ring.detach(self)
            return 0
        c.nl_prep_poll(self.sqe(), c.nl_descriptor(self.fd), events, self.token(c.NL_POLL, 0))
        self.armed = events
        self.cancelled = False
        return 0

    cdef int on_completion(self, unsigned op, unsigned lane, int res, unsigned flags) except -1:
        cdef Handle writer = self.writer
        self.cancelled = False
        if res <= 0 and res != -c.ECANCELED:
            self.report(-res)
            return 0
        # Armed again only after the callbacks have run: they are what makes the descriptor unready.
        self.mark_dirty()
        if res > 0:
            # An error or a hang-up is for both to find out, as a selector has it.
            if self.reader is not None and res & ~POLLOUT:
                self.loop.run_handle(self.reader)
            if writer is not None and res & ~(POLLIN | POLLPRI | POLLRDHUP):
                self.loop.run_handle(writer)
        return 0

    def report(self, error):
        """The descriptor cannot be polled, mostly because it was closed while it was watched."""
        self.loop.call_exception_handler({
            "message": f"file descriptor {self.fd} cannot be watched; was it closed before remove_reader()?",
            "exception": OSError(error, os.strerror(error)),
        })
