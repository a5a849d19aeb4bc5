# cython: language_level=3
"""One operation on a descriptor of the caller, awaited.

An operation is its own future, so that a call makes one object. Cancelling it ends the wait at once; the memory it
works on stays alive, held by the endpoint table, until the kernel has said that it is done with it. What it has taken
from a socket by then, and nobody claims, is there for the next one.
"""

import _socket
import collections
import functools
import os
import socket
import weakref
from asyncio.exceptions import CancelledError, InvalidStateError

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport int32_t, uint64_t

from netloop.core cimport cext as c
from netloop.core.scheduler cimport new_handle


cdef extern from "Python.h":
    object PyContext_CopyCurrent()

cdef extern from "<poll.h>":
    enum:
        POLLIN
        POLLOUT

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

cdef object socket_class = socket.socket
cdef object raw_socket_class = _socket.socket
# The member below the property of socket.socket, which makes an enumeration of each number.
cdef object raw_type = _socket.socket.type
cdef int SOCK_STREAM = socket.SOCK_STREAM


cdef class Operation(Endpoint):
    """The common part: starting, cancelling, and what a task that awaits expects of a future.

    Once it is awaited, a result that the awaiter does not get, because it is thrown something instead, is kept.
    """

    cdef start(self, LoopCore loop, int fd, unsigned op):
        self.loop = loop
        self.fd = fd
        self.op = op
        loop.ring.attach(self)
        self.mark_dirty()

    # What kinds of operations do differently ------------------------------------------------------------------------

    cdef int prepare(self) except -1:
        """Write the submission. Return 1 to be asked again next turn."""
        raise NotImplementedError

    cdef object result_of(self, int res, unsigned flags):
        """What a result of 0 or more means to the caller."""
        return None

    cdef object error_of(self, int res):
        return OSError(-res, os.strerror(-res))

    cdef int keep(self, object value, object failure) except -1:
        """Nobody waits any more for this outcome: what is in it that must not be lost?"""
        return 0

    cdef int set_aside(self) except -1:
        """The awaiter has been cancelled when the outcome was there already: what of it lies in the caller's memory?"""
        return 0

    cdef int forget(self) except -1:
        """Nothing is to come: let go of what a task that is done with this would keep alive."""
        return 0

    cdef int retire(self) except -1:
        """The kernel is done with it, or was never asked."""
        return self.ring.detach(self)

    # The ring's side ------------------------------------------------------------------------------------------------

    cdef int on_flush(self) except -1:
        if self.state == WAITING:
            if self.in_flight:
                return 0
            # The descriptor is the program's, and its number may be another file's when this is submitted.
            self.ring.pressing = True
            return self.prepare()
        if self.in_flight:
            return self.cancel_once()
        self.retire()
        return self.forget()

    cdef int cancel_once(self) except -1:
        if not self.cancelling:
            self.cancelling = True
            self.write_cancel(self.op, 0)
        return 0

    cdef int on_completion(self, unsigned op, unsigned lane, int res, unsigned flags) except -1:
        if self.state == WAITING and (res == -EAGAIN or res == -EINTR or res == -c.ECANCELED):
            # Nobody but a loop that stops cancels what somebody waits for; it is begun anew when the loop runs again.
            return self.mark_dirty()
        return self.settle(res, flags)

    cdef int settle(self, int res, unsigned flags) except -1:
        """Turn the kernel's last word into the outcome."""
        value = failure = None
        try:
            if res >= 0:
                value = self.result_of(res, flags)
            else:
                failure = self.error_of(res)
        except Exception as error:
            failure = error
        self.retire()
        if self.state == WAITING:
            return self.finish(value, failure)
        if res != -c.ECANCELED:
            self.keep(value, failure)
        return self.forget()

    cdef int finish(self, object value, object failure) except -1:
        self.state = DONE
        self.value = value
        self.failure = failure
        return self.wake()

    cdef int wake(self) except -1:
        """Schedule the callbacks."""
        if self.callback is not None:
            self.loop.ready.push(new_handle(self.callback, (self,), self.loop, self.context, self.loop._debug))
            self.callback = self.context = None
        if self.more_callbacks is not None:
            for callback, context in self.more_callbacks:
                self.loop.ready.push(new_handle(callback, (self,), self.loop, context, self.loop._debug))
            self.more_callbacks = None
        return 0

    # The awaiter's side ---------------------------------------------------------------------------------------------

    def __await__(self):
        return self

    def __iter__(self):
        return self

    def __next__(self):
        if self.state == WAITING:
            self._asyncio_future_blocking = True
            return self
        self.taken = True
        self.forget()
        raise StopIteration(self.outcome())

    def throw(self, kind, value=None, traceback=None):
        """The awaiter is thrown an exception: it waits no more."""
        exception = kind if value is None else value
        if isinstance(exception, type):
            exception = exception()
        self.leave(exception)
        raise exception

    def close(self):
        """The awaiter is gone."""
        self.leave(None)

    def leave(self, exception):
        """Nobody will ask for the outcome any more, unless the exception is it."""
        if self.state == DONE:
            if not self.taken and (self.failure is None or self.failure is not exception):
                self.keep(self.value, self.failure)
            self.taken = True
            self.value = None
            self.forget()
            return
        self.end_wait()
        # Whoever is told of a cancellation may close the file or use the memory next. Mostly a turn has passed since
        # and the kernel has let go already.
        if self.attached:
            self.withdraw()
        if not self.attached:
            self.forget()

    cdef bint end_wait(self) except -1:
        """Wait no more for the outcome."""
        self.state = CANCELLED
        if self.attached:
            self.mark_dirty()
        return True

    cdef int withdraw(self) except -1:
        """Have the kernel let go now, if it is this thread that it listens to."""
        cdef int32_t result
        if not self.ring.is_owner():
            return 0
        if not self.in_flight:
            return self.retire()
        try:
            self.ring.make_space(1)
            self.cancel_once()
            self.ring.enter(0, 0)
        except OSError:
            return 0  # the next turn's enter meets the error again
        # A completion that brings a buffer is left for the dispatch.
        if self.op != c.NL_RECV and self.take(self.op, 0, &result):
            self.settle(result, 0)
        return 0

    cdef object outcome(self):
        if self.state == CANCELLED:
            raise CancelledError() if self.message is None else CancelledError(self.message)
        if self.failure is not None:
            raise self.failure
        return self.value

    # What asyncio.Task asks of a future -----------------------------------------------------------------------------

    def get_loop(self):
        """The loop whose ring it is on."""
        return self.loop

    def add_done_callback(self, callback, *, context=None):
        """Call ``callback(self)`` in the loop once the outcome is there, by default in a copy of this context."""
        if context is None:
            context = PyContext_CopyCurrent()
        if self.state != WAITING:
            self.loop.call_soon(callback, self, context=context)
        elif self.callback is None:
            self.callback = callback
            self.context = context
        else:
            if self.more_callbacks is None:
                self.more_callbacks = []
            self.more_callbacks.append((callback, context))

    def remove_done_callback(self, callback):
        """Forget a callback; how many times it was found."""
        count = 0
        if self.callback is not None and self.callback == callback:
            self.callback = self.context = None
            count = 1
        if self.more_callbacks is not None:
            kept = [each for each in self.more_callbacks if each[0] != callback]
            count += len(self.more_callbacks) - len(kept)
            self.more_callbacks = kept
        return count

    def cancel(self, msg=None):
        """End the wait; says whether there was one."""
        self.check_thread()
        if self.state != WAITING:
            if self.state == DONE and not self.taken:
                self.set_aside()
            return False
        self.message = msg
        self.end_wait()
        self.wake()
        return True

    def done(self):
        """Is the outcome there, or was it cancelled?"""
        return self.state != WAITING

    def cancelled(self):
        """Was it cancelled?"""
        return self.state == CANCELLED

    def result(self):
        """The result; raises what the operation failed with, CancelledError, or InvalidStateError."""
        if self.state == WAITING:
            raise InvalidStateError("the operation has not completed")
        return self.outcome()

    def exception(self):
        """What the operation failed with, or None; raises CancelledError or InvalidStateError."""
        if self.state == DONE:
            return self.failure
        return self.result()

    def __repr__(self):
        state = "waiting" if self.state == WAITING else "done" if self.state == DONE else "cancelled"
        return f"<{type(self).__name__} fd={self.fd} {state}>"


cdef class Poll(Operation):
    """Waiting for a descriptor to become readable or writable."""

    cdef unsigned events

    def __init__(self, loop, int fd, bint writing):
        self.events = POLLOUT if writing else POLLIN
        self.start(loop, fd, c.NL_SINGLE)

    cdef int prepare(self) except -1:
        c.nl_prep_poll(self.sqe(), c.nl_descriptor(self.fd), self.events, self.own_token())
        return 0


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


cdef class ReadFile(Operation):
    """Reading from a place in a regular file; the result is bytes, fewer than asked for at the file's end."""

    cdef bytes data
    cdef unsigned length
    cdef uint64_t offset

    def __init__(self, loop, int fd, uint64_t offset, unsigned length):
        self.data = PyBytes_FromStringAndSize(NULL, length)
        self.offset, self.length = offset, length
        self.start(loop, fd, c.NL_SINGLE)

    cdef int prepare(self) except -1:
        c.nl_prep_read(self.sqe(), c.nl_descriptor(self.fd), PyBytes_AS_STRING(self.data), self.length, self.offset,
                       self.own_token())
        return 0

    cdef object result_of(self, int res, unsigned flags):
        return self.data if <unsigned>res == self.length else self.data[:res]


cdef class Unclaimed:
    """What cancelled receives of a loop have taken, for the next one on the same socket object."""

    def __cinit__(self):
        self.by_socket = {}
        self.cancels = {}

    cdef bint is_cancelling(self, object sock, bint writing) except -1:
        """Is there an operation on the socket whose cancelling in the kernel has not come to its end?"""
        return bool(self.cancels) and (id(sock), writing) in self.cancels

    cdef int add_cancel(self, object sock, bint writing) except -1:
        key = (id(sock), writing)
        self.cancels[key] = self.cancels.get(key, 0) + 1
        return 0

    cdef int remove_cancel(self, object sock, bint writing) except -1:
        key = (id(sock), writing)
        self.cancels[key] -= 1
        if not self.cancels[key]:
            del self.cancels[key]
        return 0

    cdef int add(self, object sock, object data, object address) except -1:
        """Keep what was taken from a socket for the next call on it."""
        if self.closed or sock.fileno() < 0:
            return 0  # there will be no other call
        stream = is_stream(sock)
        if stream and not data:
            return 0  # the end of a stream is there again at the next receive
        if address is None and not stream:
            address = peer_of(sock)
        self.entries_of(sock).append((data, address))
        return 0

    cdef int add_failure(self, object sock, object failure) except -1:
        self.entries_of(sock).append(failure)
        return 0

    cdef object entries_of(self, object sock):
        key = id(sock)
        found = self.by_socket.get(key)
        if found is None:
            # A dictionary with weak keys would ask the socket for its hash, and compare it with others. The reference
            # is what pop() is called with when the socket is gone: the value for a key that is not there.
            found = weakref.ref(sock, functools.partial(self.by_socket.pop, key)), collections.deque()
            self.by_socket[key] = found
        return found[1]

    cdef object take(self, object sock, Py_ssize_t room):
        """The oldest thing kept of a socket, or None: (data of at most `room` bytes, address) or an exception."""
        if id(sock) not in self.by_socket:
            return None
        entries = self.entries_of(sock)
        entry = entries.popleft()
        if isinstance(entry, tuple) and len(entry[0]) > room:
            data, address = entry
            if is_stream(sock):
                entries.appendleft((data[room:], address))
            entry = (data[:room], address)
        if not entries:
            del self.by_socket[id(sock)]
        return entry

    def close(self):
        """The loop is closed: nobody will come for it."""
        self.closed = True
        self.by_socket.clear()
        self.cancels.clear()


cdef bint is_stream(object sock) except -1:
    number = raw_type.__get__(sock) if isinstance(sock, raw_socket_class) else sock.type
    return (number & 0xf) == SOCK_STREAM


cdef bint can_claim(object sock) except -1:
    """Can what a cancelled operation has taken be kept for this object, and no longer than it lives?"""
    return type(sock) is socket_class or type(sock).__weakrefoffset__ != 0


cdef object peer_of(object sock):
    """Where the data of a connected socket comes from; None if it is not connected."""
    try:
        return sock.getpeername()
    except OSError:
        return None
