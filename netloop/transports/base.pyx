# cython: language_level=3, boundscheck=False, wraparound=False
"""What all transports share: the life cycle, calling the protocol, and the flow control of writing."""

import warnings
from asyncio import constants
from asyncio.log import logger

from netloop.core cimport cext as c
from netloop.core.cext cimport NL_CANCELLING, NL_CLOSED, NL_CLOSING, NL_DRAINING, NL_HALF_CLOSED, NL_OPEN


cdef extern from "Python.h":
    ctypedef struct PyObject
    PyObject **_PyObject_GetDictPtr(object instance)
    void Py_CLEAR(PyObject *reference)
    int PyContext_Enter(object context) except -1
    int PyContext_Exit(object context) except -1

cdef int ignored_writes_logged = constants.LOG_THRESHOLD_FOR_CONNLOST_WRITES

STATE_NAMES = {
    NL_OPEN: "open", NL_HALF_CLOSED: "half closed", NL_DRAINING: "draining", NL_CANCELLING: "cancelling",
    NL_CLOSING: "closing", NL_CLOSED: "closed",
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

    cdef int set_up(self, LoopCore loop, object protocol, object context, dict extra) except -1:
        self.state = NL_CLOSED  # until the table has it, there is nothing to close
        self.loop = loop
        self.context = context
        self.extra = extra
        self.high_water, self.low_water = HIGH_WATER, HIGH_WATER // 4
        self.set_protocol(protocol)
        loop.ring.attach(self)
        self.state = NL_OPEN
        return 0

    def __del__(self):
        if self.state < NL_DRAINING:
            warnings.warn(f"unclosed transport {self!r}", ResourceWarning, source=self)
        if self.state != NL_CLOSED:
            self.release()

    # Life cycle -------------------------------------------------------------------------------------------------

    cdef int step(self, c.nl_event event) except -1:
        """Move on in the life cycle (cext/nl_lifecycle.h)."""
        cdef unsigned char before = self.state
        self.state = c.nl_next_state(before, event)
        if before < NL_DRAINING <= self.state:
            self.loop.closings += 1
        elif before < NL_CLOSED == self.state:
            self.loop.closings -= 1
        if self.attached:
            return self.mark_dirty()
        # The loop was closed before its transport: nothing is in flight any more, and nobody will flush.
        return self.release()

    cdef int on_ring_closed(self) except -1:
        # What was about to close is closed; what was left open is for its owner to hear of.
        return self.release() if NL_DRAINING <= self.state < NL_CLOSED else 0

    cdef int discard(self) except -1:
        """Forget what was to be sent, unless it is in flight."""
        raise NotImplementedError

    cdef int release(self) except -1:
        """Let go of the file without the ring, which is gone."""
        raise NotImplementedError

    def abort(self):
        """Close at once; what was not sent yet is lost. See asyncio.WriteTransport.abort."""
        self.lose(None)

    def _force_close(self, exc):
        self.lose(exc)

    def is_closing(self):
        """Has close() or abort() been called, or was the connection lost?"""
        return self.state >= NL_DRAINING

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

    def _fatal_error(self, exc, message="Fatal error on transport"):
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
        if not self.protocol_paused or self.unsent() > self.low_water:
            return 0
        self.protocol_paused = False
        PyContext_Enter(self.context)
        try:
            self.tell_flow("resume_writing")
        finally:
            PyContext_Exit(self.context)
        return 0

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
        self.high_water, self.low_water = int(high), int(low)
        self.pause_writing_if_full()


cdef class ReadingTransport(Transport):
    """A transport that reads: what arrives while the protocol wants nothing is held back for it."""

    cdef int give_back(self, unsigned flags) except -1:
        """Return the buffer of a completion that brings no data, if it carries one all the same."""
        return self.ring.streams.drop(flags)

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
        if self.paused or self.state >= NL_DRAINING:
            return
        self.paused = True
        self.mark_dirty()
        if self.loop._debug:
            logger.debug("%r pauses reading", self)

    def resume_reading(self):
        """Deliver again; see asyncio.ReadTransport.resume_reading."""
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
