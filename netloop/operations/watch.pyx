# cython: language_level=3, boundscheck=False, wraparound=False
"""Watching descriptors that somebody else reads and writes: add_reader and add_writer.

The descriptors are registered with an epoll instance, and the ring polls that one. What programs expect of watchers is
what epoll does, because the selector of asyncio and the library below uvloop are made of it: a callback that leaves
data unread is called again; a file that cannot be polled is refused; and a file whose descriptors are all closed is not
watched any more, whoever has its number next. A poll of the ring's for each descriptor does none of this by itself. It
holds the file open, so that the peer of a socket that was closed while it was watched never sees the end; armed anew
after the callback it means the number, which may be another file's by then; and it is "ready" at once for a file that
cannot be polled.

Processor time per callback, against such polls: about 0.7 of theirs for descriptors that stay ready, the same where the
callback reads what there is, and 1.1 where each event ends a wait of the loop. To ask before each poll whether the
number is still that file's (fstat) would cost as much as the last, and leave the file held.
"""

import os

cimport cython
from libc.errno cimport EEXIST, ENOSPC, EPERM, errno as last_error
from libc.stdint cimport int32_t, uint32_t, uint64_t
from posix.unistd cimport close as close_descriptor

from netloop.core cimport cext as c
from netloop.core.free_threading cimport NL_FREE_THREADED
from netloop.core.scheduler cimport Handle, new_handle


cdef extern from "<poll.h>":
    enum:
        POLLIN

cdef enum:
    # How many polls are made before it is tried again whether the next events can be had without one.
    POLLS_BEFORE_TRYING = 8

cdef extern from "<sys/epoll.h>" nogil:
    enum:
        EPOLL_CLOEXEC
        EPOLL_CTL_ADD
        EPOLL_CTL_DEL
        EPOLL_CTL_MOD
        EPOLLIN
        EPOLLOUT

    int epoll_create1(int flags)
    int epoll_ctl(int epoll, int operation, int fd, epoll_event *event)
    int epoll_wait(int epoll, epoll_event *events, int most, int timeout)

# What the error of a registration means, where its own words do not say it.
cdef dict MEANINGS = {
    EPERM: "cannot be watched: it is always ready, as regular files, directories and some devices are",
    ENOSPC: "cannot be watched: the user has as many watched descriptors as fs.epoll.max_user_watches allows",
}


cdef class Watch:
    """The reader and the writer of one file under one number.

    It keeps the object that was watched, as asyncio does: nothing else may, and once that is closed, only its identity
    tells which watch is meant.
    """

    cdef uint64_t mark(self) noexcept:
        """What the kernel says of this watch's events: they may come when the number has a new owner."""
        return (<uint64_t>self.serial << 32) | <uint32_t>self.fd

    cdef uint32_t wanted(self) noexcept:
        return (EPOLLIN if self.reader is not None else 0) | (EPOLLOUT if self.writer is not None else 0)

    cdef Handle replace(self, bint reading, Handle handle):
        """Put a handle, or None, in the place of one that is cancelled and returned."""
        cdef Handle old
        if reading:
            old, self.reader = self.reader, handle
        else:
            old, self.writer = self.writer, handle
        if old is not None:
            old.cancel()
        return old


cdef class WatchSet(Endpoint):
    """The descriptors that one loop watches.

    The epoll instance is made for the first of them. A poll of it is in flight only while the loop runs and there are
    some.
    """

    def __cinit__(self):
        self.epoll = -1

    def __init__(self, LoopCore loop):
        self.loop = loop
        self.watches = {}

    def __dealloc__(self):
        if self.epoll >= 0:
            close_descriptor(self.epoll)

    def __len__(self):
        return len(self.watches)

    # Adding and removing --------------------------------------------------------------------------------------------

    def add(self, file, int fd, bint reading, callback, args):
        """Call back whenever the descriptor can be read, or written; takes the place of an earlier callback."""
        cdef Handle handle
        with cython.critical_section(self):
            self.prepare()
            handle = new_handle(callback, args, self.loop, None, self.loop._debug)
            self.register(file, fd, EPOLLIN if reading else EPOLLOUT).replace(reading, handle)
            self.ask_for_flush()

    def remove(self, file, int fd, bint reading):
        """Call back no more; says whether there was a callback. The number is -1 if the file was closed."""
        cdef Watch watch
        with cython.critical_section(self):
            watch = self.find(file, fd)
            if watch is None:
                if fd < 0:
                    raise ValueError(f"Invalid file descriptor: {fd}")
                return False
            if watch.replace(reading, None) is None:
                return False
            # Errors say that the file was closed before, and is registered no more.
            if watch.wanted():
                self.control(EPOLL_CTL_MOD, watch, watch.wanted())
            else:
                self.control(EPOLL_CTL_DEL, watch, 0)
                self.forget(watch)
        return True

    cdef Watch find(self, object file, int fd):
        cdef Watch watch
        if fd >= 0:
            return self.watches.get(fd)
        for watch in self.watches.values():
            if watch.file is file:
                return watch
        return None

    cdef Watch register(self, object file, int fd, uint32_t events):
        """The watch of a file, registered for these events too. Raises OSError."""
        cdef Watch watch = self.watches.get(fd)
        cdef int error
        if watch is not None:
            if not self.control(EPOLL_CTL_MOD, watch, watch.wanted() | events):
                return watch
            # That file was closed while it was watched, and this is another one.
            self.forget(watch)
        watch = Watch.__new__(Watch)
        self.serial += 1
        watch.serial, watch.fd, watch.file = self.serial, fd, file
        error = self.control(EPOLL_CTL_ADD, watch, events)
        if error == EEXIST:
            # It was closed while a duplicate kept it open, its watch was removed, and it has its old number again.
            error = self.control(EPOLL_CTL_MOD, watch, events)
        if error:
            meaning = MEANINGS.get(error)
            raise OSError(error, f"file descriptor {fd} {meaning}" if meaning else os.strerror(error))
        self.watches[fd] = watch
        return watch

    cdef int forget(self, Watch watch) except -1:
        watch.replace(True, None)
        watch.replace(False, None)
        del self.watches[watch.fd]
        return 0 if self.watches else self.ask_for_flush()

    # The epoll instance ---------------------------------------------------------------------------------------------

    cdef int prepare(self) except -1:
        """Have an epoll instance. Raises RuntimeError if the loop is closed, and in a forked child."""
        if self.loop is None:
            raise RuntimeError("Event loop is closed")
        self.loop.ring.check_usable()
        if self.epoll < 0:
            self.epoll = epoll_create1(EPOLL_CLOEXEC)
            if self.epoll < 0:
                raise OSError(last_error, "cannot make the epoll instance of watchers: " + os.strerror(last_error))
        return 0

    cdef int control(self, int operation, Watch watch, uint32_t events) noexcept:
        """Change a registration; 0 or the error."""
        cdef epoll_event event
        if self.epoll < 0:
            return 0  # the loop was closed, or this is a forked child
        event.events = events
        event.data.u64 = watch.mark()
        return last_error if epoll_ctl(self.epoll, operation, watch.fd, &event) else 0

    cdef bint unregister(self, int fd) except -1:
        """End the events of a watch that was removed; says whether that is possible.

        It was removed after its descriptor had been closed, while a duplicate, mostly a forked child's, kept the file
        open. The kernel knows registrations by file and number, so this one is within reach only if the number is the
        file's again.
        """
        cdef epoll_event event
        return fd not in self.watches and not epoll_ctl(self.epoll, EPOLL_CTL_DEL, fd, &event)

    cdef int renew(self) except -1:
        """Take another epoll instance, and leave behind what cannot be removed from the old one."""
        cdef Watch watch
        cdef int error
        # The number of one that was closed may be another file's, which nobody has asked to watch.
        cdef list watches = [watch for watch in self.watches.values()
                             if not self.control(EPOLL_CTL_MOD, watch, watch.wanted())]
        close_descriptor(self.epoll)
        self.epoll = epoll_create1(EPOLL_CLOEXEC)
        if self.epoll < 0:
            return self.report("no file descriptor is watched any more", last_error)
        for watch in watches:
            error = self.control(EPOLL_CTL_ADD, watch, watch.wanted())
            if error:
                self.report(f"file descriptor {watch.fd} is not watched any more", error)
        return 0

    cdef int report(self, str message, int error) except -1:
        """Have the exception handler called, in the next turn: a flush may run no code of the application."""
        details = {"message": message, "exception": OSError(error, os.strerror(error))}
        self.loop.ready.push(new_handle(self.loop.call_exception_handler, (details,), self.loop, None, False))
        return 0

    def abandon(self):
        """In a forked child: let go of the instance, whose registrations are the parent's."""
        self.in_flight = 0
        if self.epoll >= 0:
            close_descriptor(self.epoll)
            self.epoll = -1

    def close(self):
        """The loop is closed: nothing is watched any more."""
        with cython.critical_section(self):
            self.watches.clear()
            if self.epoll >= 0:
                close_descriptor(self.epoll)
                self.epoll = -1
            self.loop = None

    # The ring's side ------------------------------------------------------------------------------------------------

    cdef int ask_for_flush(self) except -1:
        """Have the poll armed or cancelled, as wanted. Another thread may add a watcher, as with asyncio's loop."""
        cdef bint elsewhere = self.loop.ring.runs_elsewhere()
        if NL_FREE_THREADED and elsewhere:
            return self.loop.inbox.put(new_handle(self._flush_soon, (), self.loop, None, False), True)
        if bool(self.watches) == (self.in_flight != 0):
            return 0
        self._flush_soon()
        if elsewhere:
            self.loop.inbox.wake()
        return 0

    def _flush_soon(self):
        if not self.attached:
            self.loop.ring.attach(self)
        self.mark_dirty()

    def rest(self):
        """The loop stops running: end the poll, so that the loop may run in another thread next."""
        cdef int32_t result
        if not self.in_flight or not self.ring.is_owner():
            return
        try:
            self.ring.make_space(1)
            self.write_cancel(c.NL_POLL, 0)
            self.ring.enter(0, 0)
        except OSError:
            return  # the next run's enter meets the error again
        if self.take(c.NL_POLL, 0, &result):
            self.cancelling = False
            self.mark_dirty()

    cdef int on_flush(self) except -1:
        """Arm the poll, unless the next events are there already.

        It is armed only after the callbacks have run: they are what makes the descriptors unready. While these are
        ready again each time, as of a busy peer, no poll is needed.
        """
        if self.in_flight:
            if not self.watches and not self.cancelling:
                self.cancelling = True
                self.write_cancel(c.NL_POLL, 0)
            return 0
        if not self.watches or self.epoll < 0:
            return 0
        if self.polls_to_make:
            self.polls_to_make -= 1
        elif not self.loop._stopping:
            if self.is_scheduled():
                return 1
            self.polls_to_make = POLLS_BEFORE_TRYING
        c.nl_prep_poll(self.sqe(), c.nl_descriptor(self.epoll), POLLIN, self.token(c.NL_POLL, 0))
        return 0

    cdef bint is_scheduled(self) except -1:
        """Schedule the callbacks of what is there for this turn; says whether there are any."""
        cdef list due
        if self.turn != self.loop.turns:
            due = self.fetch()
            if not due:
                return False
            self.turn = self.loop.turns
            for handle in due:
                self.loop.ready.push(<Handle>handle)
        return True

    cdef int on_completion(self, unsigned op, unsigned lane, int res, unsigned flags) except -1:
        cdef list due = None
        self.cancelling = False
        if res > 0:
            due = self.fetch()
            if due is None:
                res = -last_error
        if res < 0 and res != -c.ECANCELED:
            return self.report("watched descriptors cannot be polled; was the epoll descriptor closed?", -res)
        # First of all: a callback that ends the run loses nothing then, because what is ready is told again.
        self.mark_dirty()
        if due is not None:
            for handle in due:
                self.loop.run_handle(<Handle>handle)
        return 0

    cdef list fetch(self):
        """The handles of what has happened, before any callback of these replaces or removes one; None on an error."""
        with cython.critical_section(self):
            return self.fetch_alone()

    cdef list fetch_alone(self):
        """fetch(), while no other thread adds or removes anything."""
        cdef list due = []
        cdef Watch watch
        cdef uint32_t events
        cdef uint64_t mark
        cdef int position, fd
        cdef bint out_of_reach = False
        cdef int count = epoll_wait(self.epoll, self.events, MOST_EVENTS, 0)
        if count < 0:
            return None
        for position in range(count):
            events, mark = self.events[position].events, self.events[position].data.u64
            fd = <int>(mark & 0xffffffff)
            watch = self.watches.get(fd)
            if watch is None or watch.serial != mark >> 32:
                out_of_reach = out_of_reach or not self.unregister(fd)
                continue
            # An error or a hang-up is for both to find out.
            if watch.reader is not None and events & ~EPOLLOUT:
                due.append(watch.reader)
            if watch.writer is not None and events & ~EPOLLIN:
                due.append(watch.writer)
        if out_of_reach:
            self.renew()
        return due
