# cython: language_level=3, boundscheck=False, wraparound=False
"""What datagram transports share: the protocol's side of them, and waiting for room to send.

Waiting. What would block is sent anew when a poll says that there is room. Of a receiver that the socket is not
connected to no poll can tell; there it is tried again after a pause.
"""

import asyncio
import sys
from asyncio import transports
from asyncio.log import logger

from netloop.core cimport cext as c
from netloop.core.cext cimport NL_CANCELLING, NL_DRAINING


cdef extern from "Python.h":
    int PyContext_Enter(object context) except -1
    int PyContext_Exit(object context) except -1

cdef extern from "<poll.h>":
    enum:
        POLLOUT

# Seconds to the next try where no poll tells of room, doubled each time.
cdef double FIRST_PAUSE = 0.001
cdef double LAST_PAUSE = 0.05

# Since Python 3.13 an empty datagram is sent, and one counts for eight bytes more in the write buffer.
cdef bint sends_empty = sys.version_info >= (3, 13)
cdef str no_stream = "a datagram transport is no stream; use sendto()"
header_size = 8 if sys.version_info >= (3, 13) else 0


class DatagramInterface(transports._FlowControlMixin, asyncio.DatagramTransport):
    """What isinstance() takes a datagram transport for; see StreamInterface."""

    __slots__ = ()


cdef class DatagramBase(SocketTransport):
    """asyncio.DatagramTransport over a datagram socket, but for how datagrams are received and sent."""

    def __cinit__(self):
        self.pause = FIRST_PAUSE
        self.untold = []

    @property
    def __class__(self):
        return DatagramInterface

    cdef bint has_receive(self) noexcept:
        return self.receiving

    cdef bint wants_data(self) noexcept:
        """Is there a protocol that datagrams are to be received for?"""
        return self.started and self.state < NL_DRAINING and not self.paused

    cdef int on_farewell(self) except -1:
        try:
            if self.untold and self.state == NL_CANCELLING and not self.in_flight:
                # What was sent just before close() has failed.
                self.tell_errors()
        finally:
            SocketTransport.on_farewell(self)
        return 0

    # What kinds of datagram transports do differently -----------------------------------------------------------

    cdef int accept(self, bytes payload, object address) except -1:
        """Send a datagram, or have it wait. Raises what is wrong with the address."""
        raise NotImplementedError

    cdef int send_if_due(self) except -1:
        """A datagram was accepted: may it, and those before it, wait for the turn's end?"""
        return 0

    cdef int on_room(self) except -1:
        """A send is worth trying again."""
        raise NotImplementedError

    # Sending ----------------------------------------------------------------------------------------------------

    def sendto(self, data, addr=None):
        """Send a datagram; never blocks. See asyncio.DatagramTransport.sendto.

        bytes are sent in place. A bytearray or memoryview is copied, because the caller may go on to change it.
        """
        if type(data) is not bytes:
            if not isinstance(data, (bytes, bytearray, memoryview)):
                raise TypeError(f"data argument must be a bytes-like object, not {type(data).__name__!r}")
            data = bytes(data)
        self.check_thread()
        if not data and not sends_empty:
            return
        if self.address is not None:
            if addr is not None and addr != self.address:
                raise ValueError(f"Invalid address: must be None or {self.address}")
            addr = self.address
        if self.state >= NL_DRAINING:
            self.ignore_write()
            return
        try:
            self.accept(<bytes>data, addr)
        except OSError as exc:
            self.tell_error_soon(exc)
            return
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            # As asyncio has it: an address that cannot be understood is fatal.
            self.fail(exc, "Fatal write error on datagram transport")
            return
        self.send_if_due()
        self.pause_writing_if_full()

    def write(self, data):
        """Not of datagrams, which have a receiver: see sendto(). asyncio has the method, and raises this."""
        raise NotImplementedError(no_stream)

    def writelines(self, list_of_data):
        """Not of datagrams; see write()."""
        raise NotImplementedError(no_stream)

    def write_eof(self):
        """Not of datagrams; see write()."""
        raise NotImplementedError(no_stream)

    def can_write_eof(self):
        """Not of datagrams; see write()."""
        raise NotImplementedError(no_stream)

    cdef int wait_for_room(self) except -1:
        if self.polled:
            self.pausing = self.loop.call_later(self.pause, self._end_pause)
            self.pause = min(2 * self.pause, LAST_PAUSE)
            return 0
        c.nl_prep_poll(self.sqe(), self.file, POLLOUT, self.token(c.NL_POLL, 0))
        self.polling = True
        return 0

    cdef int on_polled(self, int res) except -1:
        """The poll for room has ended. Whatever it says, an error too: the next send will find out."""
        self.polling = False
        if res == -c.ECANCELED:
            return self.mark_dirty()  # a loop that stops cancels what is to be begun anew when it runs again
        self.polled = True
        return self.on_room()

    def _end_pause(self):
        self.pausing = None
        if self.attached:
            self.on_room()

    cdef int note_progress(self) except -1:
        """A datagram has gone."""
        self.polled = False
        self.pause = FIRST_PAUSE
        return 0

    cdef int stop_waiting(self) except -1:
        if self.pausing is not None:
            self.pausing.cancel()
            self.pausing = None
        if self.polling and not self.poll_cancelled:
            self.write_cancel(c.NL_POLL, 0)
            self.poll_cancelled = True
        return 0

    # Telling the protocol ---------------------------------------------------------------------------------------

    cdef int deliver(self, object item) except -1:
        """Hand over what was held back."""
        return self.deliver_datagram(item[0], item[1])

    cdef int deliver_datagram(self, bytes payload, object address) except -1:
        PyContext_Enter(self.context)
        try:
            self.protocol.datagram_received(payload, address)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            self.report(exc, "Error in protocol.datagram_received()")
        finally:
            PyContext_Exit(self.context)
        return 0

    cdef int note_cut(self, Py_ssize_t length) except -1:
        logger.warning("%r: a datagram was cut to %d bytes, the most that can be received", self, length)
        return 0

    cdef int tell_error(self, object exc) except -1:
        """A send or a receive has failed; the next one may well succeed."""
        PyContext_Enter(self.context)
        try:
            self._tell_error(exc)
        finally:
            PyContext_Exit(self.context)
        return 0

    cdef int tell_error_soon(self, object exc) except -1:
        """Tell of an error that a call of the protocol's own has met, not from within that call."""
        self.untold.append(exc)
        self.loop.call_soon(self._tell_errors, context=self.context)
        return 0

    def _tell_errors(self):
        while self.untold:
            self._tell_error(self.untold.pop(0))

    cdef int tell_errors(self) except -1:
        """Before the end: those of what was sent before close() have not been told yet."""
        PyContext_Enter(self.context)
        try:
            self._tell_errors()
        finally:
            PyContext_Exit(self.context)
        return 0

    def _tell_error(self, exc):
        try:
            self.protocol.error_received(exc)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            self.report(error, "Error in protocol.error_received()")
