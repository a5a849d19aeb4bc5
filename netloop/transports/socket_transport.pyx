# cython: language_level=3, boundscheck=False, wraparound=False
"""What the transports over a socket, stream or datagram, share: owning it, beginning, closing, telling its names."""

import os
from asyncio import futures, trsock

from netloop.core cimport cext as c
from netloop.transports.address cimport decode_address, decode_short, shorten_address
from netloop.core.cext cimport NL_CANCELLING, NL_CLOSED, NL_DRAINING
from netloop.transports.fixed_socket cimport FixedSocket, new_fixed_socket
from netloop.core.scheduler cimport new_handle

from netloop.transports.base import STATE_NAMES


cdef class SocketTransport(ReadingTransport):
    """A transport over an open socket; begin() starts it."""

    cdef int own(self, LoopCore loop, c.nl_file file, object sock, object protocol, object context,
                 dict extra) except -1:
        self.file = file
        self.sock = sock
        self.set_up(loop, protocol, context, extra)
        loop.connections += 1
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
        return (f"<{type(self).__name__} {STATE_NAMES[self.state]} {kind}={self.file.number} "
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
        if self.state >= NL_DRAINING:
            return
        self.step(c.NL_ON_CLOSE)
        if not self.unsent():
            self.step(c.NL_ON_DRAINED)

    cdef int step(self, c.nl_event event) except -1:
        cdef unsigned char before = self.state
        ReadingTransport.step(self, event)
        if before < NL_CANCELLING == self.state and self.attached:
            # The place that asyncio gives connection_lost() among what is scheduled, if by then nothing is in flight.
            self.leaving = self.farewell_due = True
            self.loop.ready.push(new_handle(self._farewell, (), self.loop, None, False))
        return 0

    def _farewell(self):
        self.farewell_due = False
        if self.attached and not self.in_flight and not self.parting:
            self.parting = True
            self.on_farewell()

    cdef int release(self) except -1:
        self.state = NL_CLOSED
        if isinstance(self.sock, FixedSocket):
            (<FixedSocket>self.sock).release()
        elif self.sock is not None:
            self.sock.close()
        return 0

    def _resume_writing(self):
        if self.state < NL_CANCELLING:
            self.resume_writing_if_drained()

    cdef int part(self) except -1:
        """Nothing is in flight any more and nothing will be: tell the protocol, then close."""
        if not self.parting and not self.farewell_due:
            self.parting = True
            self.loop.farewells.append(self)
        return 0

    cdef int on_farewell(self) except -1:
        # Marked before, because an exit from there must not leave the file open.
        self.parted = True
        self.mark_dirty()
        return self.tell_lost()

    cdef int close_file(self) except -1:
        """Have the ring close the file, once nothing is in flight any more and the protocol has been told."""
        if self.in_flight:
            return 0
        if not self.parted:
            return self.part()
        self.state = c.nl_next_state(self.state, c.NL_ON_QUIET)
        if isinstance(self.sock, FixedSocket):
            (<FixedSocket>self.sock).release()
        elif self.sock is not None:
            # The socket object lets go of its descriptor, which the ring then closes without a system call.
            self.file = c.nl_descriptor(self.sock.detach())
        c.nl_prep_close(self.sqe(), self.file, self.token(c.NL_CLOSE, 0))
        return 0

    cdef int leave_ring(self) except -1:
        """The file is closed: leave the endpoint table."""
        self.step(c.NL_ON_FILE_CLOSED)
        if self.file.flag:
            c.nl_files_give(&self.ring.files, self.file.number)
        self.ring.detach(self)
        self.loop.connections -= 1
        return 0

    def get_extra_info(self, name, default=None):
        """ "socket", "peername" or "sockname"; see asyncio.BaseTransport.get_extra_info."""
        cdef object value
        if name == "peername" and self.origin is not None:
            return (<FixedSocket>self.socket_object()).peer
        if self.extra is not None and name in self.extra:
            return self.extra[name]
        if name == "socket":
            value = trsock.TransportSocket(self.socket_object())
            if self.origin is not None and self.state <= NL_CANCELLING:
                (<FixedSocket>self.sock).transport = self
        elif name == "sockname":
            value = _name_or_none(self.socket_object().getsockname)
        else:
            return default
        if self.extra is None:
            self.extra = {}
        self.extra[name] = value
        return value

    @property
    def _sock(self):
        return self.socket_object()

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
