# cython: language_level=3, boundscheck=False, wraparound=False
"""What all transports share: the life cycle, calling the protocol, flow control; and owning a socket.

A transport's life is the table in cext/nl_lifecycle.h. Transport.step() is the one door through which it moves from
state to state, and Transport.on_farewell() the one place from which connection_lost() is called:

- The application calls close() or abort(), the peer ends, or something fails: step() enters "draining" or "cancelling",
  and asks the loop for a place in the ready queue, the one that asyncio gives connection_lost().
- The next flush sends what is left and cancels what is in flight. The completions of that are dispatched before the
  callbacks of the turn.
- When the place has come, on_farewell() tells the protocol, which finds its socket open, and closes the file. Where
  something is in flight even then, the last completion asks for another place.
"""

import os
import warnings
from asyncio import constants, futures, trsock
from asyncio.log import logger

from netloop.core cimport cext as c
from netloop.core.cext cimport NL_CANCELLING, NL_CLOSED, NL_CLOSING, NL_DRAINING, NL_HALF_CLOSED, NL_NEW, NL_OPEN
from netloop.core.free_threading cimport NL_FREE_THREADED, nl_load_int
from netloop.core.ring cimport unawaited_token
from netloop.transports.address cimport decode_address, decode_short, shorten_address
from netloop.transports.fixed_socket cimport FixedSocket, new_fixed_socket


cdef extern from "Python.h":
    ctypedef struct PyObject
    PyObject **_PyObject_GetDictPtr(object instance)
    void Py_CLEAR(PyObject *reference)
    int PyContext_Enter(object context) except -1
    int PyContext_Exit(object context) except -1
    Py_ssize_t Py_REFCNT(object instance)

cdef int ignored_writes_logged = constants.LOG_THRESHOLD_FOR_CONNLOST_WRITES

_STATE_NAMES = {
    NL_NEW: "new", NL_OPEN: "open", NL_HALF_CLOSED: "half closed", NL_DRAINING: "draining",
    NL_CANCELLING: "cancelling", NL_CLOSING: "closing", NL_CLOSED: "closed",
}


cdef class ByteTaker:
    """A protocol of ours, which a stream transport hands what arrives without a call of Python's."""

    cdef int take(self, const unsigned char *data, Py_ssize_t length) except -1:
        """Take all of it. The memory is the caller's, until this returns."""
        raise NotImplementedError


cdef class Transport(Endpoint):
    """An endpoint between a file and a protocol.

    Each protocol call runs in the transport's context, a copy of the one it was made in, as asyncio's callbacks do.
    """

    def __cinit__(self):
        # Made for attributes that somebody may give it, but those are few: the interpreter makes another when needed.
        Py_CLEAR(_PyObject_GetDictPtr(self)[0])

    cdef int set_up(self, LoopCore loop, Ring ring, object protocol, object context, dict extra) except -1:
        self.loop = loop
        self.context = context
        self.extra = extra
        self.high_water, self.low_water = HIGH_WATER, HIGH_WATER // 4
        self.set_protocol(protocol)
        ring.attach(self)
        return self.step(c.NL_ON_ATTACHED)

    def __del__(self):
        try:
            if NL_OPEN <= self.state < NL_DRAINING:
                warnings.warn(f"unclosed transport {self!r}", ResourceWarning, source=self)
        finally:
            # Warnings may be errors.
            self.forget()

    cdef int forget(self) except -1:
        """Nobody refers to this transport any more: close the file. As in asyncio, the protocol is not told.

        Unless a finalizer of the application's has closed it a moment ago. What such a one has written is not sent: the
        socket object may have been finalized too, and its descriptor's number be another file's by then.
        """
        if self.resting and self.attached and self.ring.ring.fd >= 0 and not nl_load_int(&self.loop.closed):
            # The loop goes on, perhaps in another thread, and this may be the middle of anything.
            if NL_FREE_THREADED and self.ring.runs_elsewhere():
                self.loop.call_soon_threadsafe(self._forget)
                return 0
            self.ring.hold(self)
            self.forgotten = True
            if self.state < NL_DRAINING:
                self.protocol = None
            return self.lose(None)
        if self.state != NL_NEW:
            # Its ring is gone, or goes with it.
            self.attached = False
            self.step(c.NL_ON_ABORT)
        return 0

    def _forget(self):
        self.forget()

    cdef str state_name(self):
        return _STATE_NAMES[self.state]

    # Life cycle -------------------------------------------------------------------------------------------------

    cdef int step(self, c.nl_event event) except -1:
        """The one door: move on in the life cycle, and do what entering the new state asks for."""
        cdef unsigned char before = self.state
        self.state = c.nl_next_state(before, event)
        if not self.attached:
            self.state = c.nl_next_state(self.state, c.NL_ON_RING_CLOSED)
        if self.state == before:
            return 0
        if self.state == NL_DRAINING or self.state == NL_CANCELLING:
            self.begin_ending()
        elif self.ending:
            self.ending = False
            self.ring.endings -= 1
        return self.retire() if self.state == NL_CLOSED else self.mark_dirty()

    cdef int begin_ending(self) except -1:
        """The protocol is to be told, at the place in the ready queue that it has from now on.

        That is so with close() too, while something is still to be sent: mostly the next submission sends it, and by
        then the place has come. If not, there is another one when all is sent.
        """
        if not self.ending and not (self.state == NL_DRAINING and self.protocol_paused):
            # A protocol that waits to be told to go on is told so among other completions, not before the callbacks.
            self.ending = True
            self.ring.endings += 1
        return 0 if self.farewell_due else self.schedule_farewell()

    cdef int note_drained(self) except -1:
        """After close(): has all been sent? Asked last, because a protocol that is resumed may write more."""
        return self.step(c.NL_ON_DRAINED) if self.state == NL_DRAINING and not self.unsent() else 0

    cdef int schedule_farewell(self) except -1:
        self.farewell_due = True
        if not self.forgotten:
            return self.loop.schedule_farewell(self)
        self.loop.call_soon_threadsafe(self._say_farewell)
        return 0

    def _say_farewell(self):
        self.on_farewell()

    cdef int on_quiet(self) except -1:
        """Nothing is in flight: if the protocol still waits to be told of the end, it is told now."""
        if self.state == NL_CANCELLING:
            return 0 if self.farewell_due else self.schedule_farewell()
        if (self.state == NL_OPEN or self.state == NL_HALF_CLOSED) and not self.dirty:
            # Reading is paused, or the peer has sent its last byte. Who has lost sight of such a transport is never
            # called again, so it is to be collected, as on asyncio, where the selector no longer refers to it.
            return self.ring.rest(self)
        return 0

    cdef int on_farewell(self) except -1:
        """Tell the protocol of the end, and close the file, unless something is still in flight."""
        self.farewell_due = False
        if self.in_flight or self.state != NL_CANCELLING:
            return 0
        self.discard()
        try:
            self.tell_lost()
        finally:
            self.step(c.NL_ON_TOLD)
            self.close_file()
        return 0

    cdef int on_ring_closed(self) except -1:
        # What was about to close is closed; what was left open is for its owner to hear of.
        return self.step(c.NL_ON_RING_CLOSED)

    cdef int retire(self) except -1:
        """Nothing of this transport is left: leave the endpoint table. If the ring has gone first, close the file."""
        return self.ring.detach(self) if self.attached else self.close_file()

    cdef int discard(self) except -1:
        """Forget what was to be sent, unless it is in flight."""
        raise NotImplementedError

    cdef int close_file(self) except -1:
        """Close the file, on which nothing is in flight; step(NL_ON_FILE_CLOSED) says when that is done."""
        raise NotImplementedError

    cdef int lose(self, object exc) except -1:
        """The end, without sending what is left; connection_lost() will be given `exc`."""
        if self.state >= NL_CANCELLING:
            return 0
        self.error = exc
        self.discard()
        return self.step(c.NL_ON_ABORT)

    cdef int fail(self, object exc, str message) except -1:
        """The connection cannot go on."""
        if not isinstance(exc, OSError):
            self.report(exc, message)
        elif self.loop._debug:
            logger.debug("%r: %s", self, message, exc_info=exc)
        return self.lose(exc)

    cdef int on_flush_failed(self, object error) except -1:
        return self.fail(error, "Fatal error: the transport's submissions could not be written")

    cdef int send_rest(self) except -1:
        """The application is about to abort: what it has written in this turn goes as far as the kernel takes it now.

        asyncio has sent that by then, a TLS alert for example.
        """
        return 0

    def abort(self):
        """Close at once; what the kernel has no room for is lost. See asyncio.WriteTransport.abort."""
        self.check_thread()
        self.send_rest()
        self.lose(None)

    def _force_close(self, exc):
        self.check_thread()
        self.send_rest()
        self.lose(exc)

    def is_closing(self):
        """Has close() or abort() been called, or was the connection lost?"""
        return self.state >= NL_DRAINING

    def _fatal_error(self, exc, message="Fatal error on transport"):
        self.send_rest()
        self.fail(exc, message)

    def report(self, exc, message):
        """Tell the loop's exception handler of an error in the protocol."""
        self.loop.call_exception_handler(
            {"message": message, "exception": exc, "transport": self, "protocol": self.protocol})

    # Calling the protocol ---------------------------------------------------------------------------------------

    cdef int tell_made(self) except -1:
        PyContext_Enter(self.context)
        try:
            self.protocol.connection_made(self)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            self.report(exc, "Error in protocol.connection_made()")
        finally:
            PyContext_Exit(self.context)
        return 0

    cdef int tell_lost(self) except -1:
        """connection_lost(), after which the transport no longer knows its protocol."""
        cdef object protocol = self.protocol
        if protocol is None:
            return 0
        PyContext_Enter(self.context)
        try:
            protocol.connection_lost(self.error)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            self.report(exc, "Error in protocol.connection_lost()")
        finally:
            PyContext_Exit(self.context)
            self.protocol = self.error = None
        return 0

    def set_protocol(self, protocol):
        """Change the protocol; see asyncio.BaseTransport.set_protocol."""
        self.protocol = protocol

    def get_protocol(self):
        return self.protocol

    @property
    def _protocol(self):
        return self.protocol

    @property
    def _loop(self):
        return self.loop

    # Flow control -----------------------------------------------------------------------------------------------

    cdef Py_ssize_t unsent(self) noexcept:
        """Bytes accepted and not yet the kernel's."""
        return 0

    cdef int ignore_write(self) except -1:
        """A write after the end: said in the log when it goes on, as asyncio does.

        If the connection was lost while the protocol's writer ran, the writer may not know and go on as long as it is
        not paused, so that connection_lost() is never called: asyncio's TLS transport does not pass is_closing() on.
        """
        if self.state >= NL_CANCELLING and not self.protocol_paused and self.protocol is not None:
            self.protocol_paused = True
            self.tell_flow("pause_writing")
        self.ignored_writes += 1
        if self.ignored_writes >= ignored_writes_logged:
            logger.warning(self.ignored_write_text())
        return 0

    cdef str ignored_write_text(self):
        """What asyncio logs; people filter their logs by these words."""
        return "socket.send() raised exception."

    cdef int pause_writing_if_full(self) except -1:
        if self.protocol_paused or self.unsent() <= self.high_water:
            return 0
        self.protocol_paused = True
        return self.tell_flow("pause_writing")

    cdef int resume_writing_if_drained(self) except -1:
        if not self.protocol_paused or self.unsent() > self.low_water or self.state >= NL_CANCELLING:
            return 0
        self.protocol_paused = False
        PyContext_Enter(self.context)
        try:
            self.tell_flow("resume_writing")
        finally:
            PyContext_Exit(self.context)
        return 0

    cdef int after_sent(self) except -1:
        """Something was sent: the protocol may go on to write, and if it does not, after close(), the end has come."""
        try:
            self.resume_writing_if_drained()
        finally:
            self.note_drained()
        return 0

    def _after_sent(self):
        self.after_sent()

    cdef int tell_flow(self, str method) except -1:
        try:
            getattr(self.protocol, method)()
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            self.report(exc, f"protocol.{method}() failed")
        return 0

    @property
    def _protocol_paused(self):
        return self.protocol_paused

    def get_write_buffer_size(self):
        """Bytes accepted by write() that the kernel has not taken yet."""
        return 0 if self.state >= NL_CANCELLING else self.unsent()

    def get_write_buffer_limits(self):
        """The water marks (low, high) of the write buffer, in bytes."""
        return (self.low_water, self.high_water)

    def set_write_buffer_limits(self, high=None, low=None):
        """Set the water marks, in bytes; see asyncio.WriteTransport.set_write_buffer_limits."""
        if high is None:
            high = HIGH_WATER if low is None else 4 * low
        if low is None:
            low = high // 4
        if not high >= low >= 0:
            raise ValueError(f"high ({high!r}) must be >= low ({low!r}) must be >= 0")
        self.check_thread()
        self.high_water, self.low_water = int(high), int(low)
        self.pause_writing_if_full()


cdef class ReadingTransport(Transport):
    """A transport that reads: what arrives while the protocol wants nothing is held back for it."""

    cdef int hold_back(self, object item) except -1:
        """Keep what arrives between pause_reading() and the end of the receive."""
        if self.backlog is None:
            self.backlog = []
        self.backlog.append(item)
        return 0

    cdef int deliver(self, object item) except -1:
        """Hand what has arrived, bytes by default, to the protocol."""
        PyContext_Enter(self.context)
        try:
            self.protocol.data_received(item)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            self.fail(exc, "Fatal error: protocol.data_received() call failed.")
        finally:
            PyContext_Exit(self.context)
        return 0

    cdef int end_reading(self) except -1:
        """The last byte has been read."""
        raise NotImplementedError

    def _deliver_backlog(self):
        """Hand over, in order, what was held back while reading was paused."""
        while self.backlog and not self.paused and self.state < NL_DRAINING:
            try:
                self.deliver(self.backlog.pop(0))
            except (SystemExit, KeyboardInterrupt):
                self.loop.call_soon(self._deliver_backlog)
                raise
        if self.end_held_back and not self.backlog and not self.paused:
            self.end_held_back = False
            self.end_reading()

    def pause_reading(self):
        """Deliver nothing more until resume_reading(); see asyncio.ReadTransport.pause_reading."""
        self.check_thread()
        if self.paused or self.state >= NL_DRAINING:
            return
        self.paused = True
        self.mark_dirty()
        if self.loop._debug:
            logger.debug("%r pauses reading", self)

    def resume_reading(self):
        """Deliver again; see asyncio.ReadTransport.resume_reading."""
        self.check_thread()
        if not self.paused or self.state >= NL_DRAINING:
            return
        self.paused = False
        self.mark_dirty()
        if self.backlog or self.end_held_back:
            self.loop.call_soon(self._deliver_backlog)
        if self.loop._debug:
            logger.debug("%r resumes reading", self)

    def is_reading(self):
        """Is the transport receiving, that is, neither paused nor closing?"""
        return not self.paused and self.state < NL_DRAINING


cdef class SocketTransport(ReadingTransport):
    """A transport over an open socket; begin() starts it."""

    cdef int own(self, LoopCore loop, Ring ring, c.nl_file file, object sock, object protocol, object context,
                 dict extra) except -1:
        self.file = file
        self.sock = sock
        self.set_up(loop, ring, protocol, context, extra)
        ring.connections += 1
        return 0

    cdef int come_from(self, Origin origin, const c.sockaddr_storage *address, c.socklen_t length) except -1:
        """Note where a connection without a descriptor comes from. Few protocols ask, and an object takes memory."""
        self.origin = origin
        if not shorten_address(address, length, &self.peer):
            self.sock = new_fixed_socket(origin, self.file.number, decode_address(address, length))
        return 0

    cdef object socket_object(self):
        if self.sock is None and self.origin is not None:
            self.sock = new_fixed_socket(self.origin, self.file.number, decode_short(&self.peer))
            if self.state > NL_CANCELLING:
                (<FixedSocket>self.sock).release()
        return self.sock

    def __repr__(self):
        kind = "slot" if self.file.flag else "fd"
        return (f"<{type(self).__name__} {self.state_name()} {kind}={self.file.number} "
                f"read={'armed' if self.has_receive() else 'idle'} "
                f"write=<{'in flight' if self.has_sends() else 'idle'}, bufsize={self.get_write_buffer_size()}>>")

    cdef bint has_receive(self) noexcept:
        """Is a receive in flight?"""
        return False

    cdef bint has_sends(self) noexcept:
        """Is a send in flight?"""
        return False

    cdef int begin(self) except -1:
        """Tell the protocol, then start to receive."""
        try:
            self.tell_made()
        finally:
            # Whatever came of it, even an exit from the loop: the connection is there and goes on.
            self.started = True
            self.mark_dirty()
        return 0

    def _begin(self, waiter):
        """begin(), but whoever waits for the connection has it in hand before the first data is delivered."""
        if waiter is None:
            self.begin()
            return
        try:
            self.tell_made()
        finally:
            futures._set_result_unless_cancelled(waiter, None)
            # The task that waits runs in the next turn, after completions and before this.
            self.loop.call_soon(self._start)

    def _start(self):
        self.started = True
        self.mark_dirty()

    def close(self):
        """Stop receiving, send what was written, then close; see asyncio.BaseTransport.close."""
        self.check_thread()
        if self.state >= NL_DRAINING:
            return
        self.step(c.NL_ON_CLOSE)
        self.note_drained()

    cdef int close_file(self) except -1:
        if isinstance(self.sock, FixedSocket):
            (<FixedSocket>self.sock).release()
        elif self.sock is not None:
            self.sock.close()
        if not self.file.flag or not self.attached:
            return self.step(c.NL_ON_FILE_CLOSED)
        # What is in the ring's table only the ring can close.
        return self.flush_close() if c.nl_ring_space(&self.ring.ring) else self.mark_dirty()

    cdef int on_park(self) except -1:
        """Have a descriptor in place of the slot of a table that only this thread's ring has."""
        cdef unsigned slot = self.file.number
        if not self.file.flag or self.state > NL_CANCELLING:
            return 0
        try:
            (<FixedSocket>self.socket_object()).leave_table()
        except OSError:
            return 0  # no descriptor to spare: it can be used in this thread only
        self.file = c.nl_descriptor(self.sock.fileno())
        self.ring.make_space(1)
        c.nl_prep_close(c.nl_ring_sqe(&self.ring.ring), c.nl_fixed_file(slot), unawaited_token(c.NL_OPTION))
        c.nl_files_give(&self.ring.files, slot)
        return 0

    cdef int flush_close(self) except -1:
        """Write the submission that closes a fixed file, unless that is done."""
        if not self.in_flight:
            c.nl_prep_close(self.sqe(), self.file, self.token(c.NL_CLOSE, 0))
        return 0

    cdef int retire(self) except -1:
        self.ring.connections -= 1
        if self.file.flag and self.attached:
            c.nl_files_give(&self.ring.files, self.file.number)
        return ReadingTransport.retire(self)

    def get_extra_info(self, name, default=None):
        """ "socket", "peername" or "sockname"; see asyncio.BaseTransport.get_extra_info."""
        cdef object value
        if name == "peername" and self.origin is not None:
            if self.sock is None:
                self.check_thread()
            return (<FixedSocket>self.socket_object()).peer
        if self.extra is not None and name in self.extra:
            return self.extra[name]
        self.check_thread()
        if name == "socket":
            value = trsock.TransportSocket(self.socket_object())
            if self.origin is not None and self.state <= NL_CANCELLING:
                (<FixedSocket>self.sock).transport = self
        elif name == "sockname":
            value = _name_or_none(self.socket_object().getsockname)
            if value is None:
                return None  # for want of a descriptor, which may pass
        else:
            return default
        if self.extra is None:
            self.extra = {}
        self.extra[name] = value
        return value

    @property
    def _sock(self):
        return self.socket_object()

    cdef int before_fork(self) except -1:
        """Give the connection a descriptor, if it has none and the program holds its socket object.

        Not if the program has only asked for it, as frameworks do to set options: the child would keep the connection
        open after this process has closed it.
        """
        cdef object held = None if self.extra is None else self.extra.get("socket")
        # One reference is the dictionary's, one is ours.
        if held is not None and Py_REFCNT(held) > 2 and isinstance(self.sock, FixedSocket):
            (<FixedSocket>self.sock).before_fork()
        return 0

    cdef int after_fork(self, bint in_child) except -1:
        if isinstance(self.sock, FixedSocket):
            (<FixedSocket>self.sock).after_fork(in_child)
        return 0

    def _own_descriptor(self, int descriptor):
        """Keep the loop's watchers off a descriptor of this connection."""
        self.loop._transports[descriptor] = self


cdef dict names_of(object sock, dict extra):
    """Extra information with the socket's names, None where it has none."""
    extra = {} if extra is None else dict(extra)
    extra.setdefault("sockname", _name_or_none(sock.getsockname))
    if "peername" not in extra:
        extra["peername"] = _name_or_none(sock.getpeername)
    return extra


cdef object os_error(int res):
    """The exception for an operation's negative result."""
    return OSError(-res, os.strerror(-res))


def _name_or_none(method):
    try:
        return method()
    except OSError:
        return None
