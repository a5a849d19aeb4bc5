# cython: language_level=3, boundscheck=False, wraparound=False
"""Accepting connections into the ring.

A listening socket may be shared: by the workers of a server, by a forked child, by whoever has handed it in or holds a
duplicate. An accept that waits in the ring waits exclusively: the connection goes to the process that has armed one
first, although it may be busy or stopped while others are idle. So the ring polls the socket, which excludes nobody,
and connections are accepted when this loop runs, and served at once. What it does not take stays in the socket's queue:
for others, also after the server is closed.

Accepts that do not wait are submitted together. Each brings the peer's address and names the fixed-file slot its
connection goes to, so that a full table cannot swallow a connection. When only the table's margin is left, an accept
asks for a plain descriptor instead.

That costs about what accepts armed ahead cost, because one poll is woken for many connections. Those of one request
(connect, 64 bytes there and back, close) took 0.82 times uvloop's CPU with 50 clients, 0.96 times with ten and 0.93
times with one; with sixteen accepts armed ahead it was 0.84, 0.94 and 0.90 times (medians of 25 interleaved runs, the
quartiles 3 to 6 % away, Linux 6.18).

Accepting is one thing and serving another, when a crowd comes to a busy server. The kernel drops who comes to a full
queue, and a client that was dropped tries again after a second, then two, then four. So what is in the queue is taken
as soon as it may fill up, and waits here. How many of these a turn begins to serve goes by how much else it has to do:
they shall neither keep those waiting that are connected, nor make the turn so long that the queue fills up meanwhile.

Of 2,000 clients that connected at once to a server that worked 0.1 ms for each, with a backlog of 128, the last was
served after 0.25 s; where each turn accepted up to 128 and served them at once, after 2.1 s; on uvloop, which takes
one a turn, after 4.5 s; on asyncio after 2.1 s. With a backlog of 1,024 it was 0.25, 1.1, 1.1 and 0.33 s. When ten
others exchanged messages meanwhile, 99 of 100 of these were answered within 9, 17, 2 and 129 ms, and the last of the
crowd after 0.39, 1.1, 2.3 and 0.34 s (medians of five starts, quartiles within 4 % but for the 9 and 129 ms, Linux
6.18). With 16 at the least in place of 8, a backlog of 128 was too short again (1.1 s); where a queue might be half
full, or a quarter, it was full now and then.

It has a price where others keep the server busy all the time. Of 1,000 clients that connected at once, while 500 others
exchanged messages of 0.1 ms each, the last was served after 1.1 s, and after 0.6 s where a turn served up to 128; 99 of
100 messages of the others were answered within 0.16 and 0.19 s.
"""

import ipaddress
import os
import resource
import socket
import sys
from asyncio import trsock
from asyncio.log import logger

from libc.errno cimport (
    EAGAIN, EBADF, ECONNABORTED, EINTR, EMFILE, ENFILE, ENOBUFS, ENOMEM, EPERM, EPROTO,
)

from libc.stdint cimport int32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memmove

from netloop.core cimport cext as c
from netloop.transports.address cimport decode_address
from netloop.transports.fixed_socket cimport accepted_socket, new_origin
from netloop.core.ring cimport unawaited_token
from netloop.transports.stream cimport StreamTransport, new_stream, ring_for


cdef extern from "Python.h":
    int PyContext_Enter(object context) except -1
    int PyContext_Exit(object context) except -1
    object PyContext_CopyCurrent()
    object PyContext_Copy(object context)

cdef extern from "<unistd.h>" nogil:
    int close(int fd)

cdef extern from "<poll.h>":
    enum:
        POLLIN
        POLLERR
        POLLHUP

# How long accepting rests after it has failed, in seconds; as asyncio.
cdef double REST = 1.0

_GONE = frozenset([EINTR, ECONNABORTED, EPROTO, EPERM])
_SCARCE = frozenset([EMFILE, ENFILE, ENOBUFS, ENOMEM])

cdef bint server_counts_transports = sys.version_info >= (3, 13)


cdef class Listener(Endpoint):
    """One listening socket: the poll that waits for connections, and the accepts that take them."""

    def __init__(self, LoopCore loop, sock, protocol_factory, server, context=None):
        self.loop = loop
        self.sock = sock
        self.protocol_factory = protocol_factory
        self.server = server
        self.file = c.nl_descriptor(sock.fileno())
        # Each connection gets a copy of its own.
        self.context = PyContext_CopyCurrent() if context is None else context
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            # Accepted sockets inherit it: asyncio's default for every connection, at no system call for each.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
            self.tells_queue = True
        self.most_open = min(MOST_WAITING, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // OPEN_SHARE)
        self.origin = new_origin(loop.ring, sock, specific_address(sock))
        self.other_origins = [new_origin(ring, sock, self.origin.local) for ring in loop.others]
        loop.ring.attach(self)
        self.mark_dirty()

    def __dealloc__(self):
        free(self.waiting)

    cdef int on_flush(self) except -1:
        if not self.in_flight and self.goes_on():
            c.nl_prep_poll(self.sqe(), self.file, POLLIN, self.token(c.NL_POLL, 0))
        return 0

    cdef int on_completion(self, unsigned op, unsigned lane, int res, unsigned flags) except -1:
        try:
            if op == c.NL_ACCEPT:
                # The kernel did not take it when it was submitted.
                self.note_result(&self.lanes[lane], res)
                self.serve_waiting()
            elif self.goes_on() and res != -c.ECANCELED:
                self.on_readable(res)
        except Exception as error:
            self.begin_rest("Accepting connections failed", error)
        finally:
            self.go_on_later()
        return 0

    cdef int on_abandoned(self, unsigned op, unsigned lane, int res, unsigned flags) except -1:
        # A connection in a slot goes with the ring; a plain descriptor would outlive it.
        if op == c.NL_ACCEPT and res >= 0 and self.lanes[lane].slot < 0:
            close(res)
        return 0

    cdef int on_park(self) except -1:
        """Give accepted connections that still wait to be served descriptors, which any thread's ring can use."""
        cdef int place, descriptor
        cdef uint64_t token
        cdef accept_lane *it
        for place in range(self.first, self.first + self.count):
            it = &self.waiting[place]
            if it.slot < 0:
                continue
            token = self.ring.new_call(c.NL_INSTALL)
            c.nl_prep_install(self.ring.call_sqe(), it.slot, token)
            descriptor = self.ring.call(token, None)
            if descriptor >= 0:
                self.refuse(self.ring, c.nl_fixed_file(it.slot), None)  # its place in the table
                it.descriptor, it.slot = descriptor, -1
        return 0

    cdef int on_ring_closed(self) except -1:
        cdef int place
        for place in range(self.first, self.first + self.count):
            if self.waiting[place].slot < 0:
                close(self.waiting[place].descriptor)
        return 0

    # Accepting --------------------------------------------------------------------------------------------------

    cdef bint goes_on(self) noexcept:
        return not self.stopped and self.rest is None

    cdef int on_readable(self, int res) except -1:
        """The poll has ended: there are connections, unless somebody else has taken them, or an error."""
        if self.sock.fileno() != self.file.number:
            # Its descriptor may be somebody else's by now.
            self.stopped = True
            raise OSError(EBADF, "the listening socket was closed by somebody else")
        if res < 0:
            return self.on_refused(-res)
        self.empty = False
        if not self.ring.can_accept_now():
            return self.accept_by_calls()
        # What is wrong with a socket that somebody has shut down is told by an accept alone.
        return self.accept_through_ring(self.tells_queue and not res & (POLLERR | POLLHUP))

    cdef int accept_through_ring(self, bint tells_queue) except -1:
        """Accept in batches as large as the queue, and as many as this turn may begin to serve.

        An accept that finds nothing has made a socket and a file in vain, which costs more than asking how many wait.
        Where the kernel does not tell, the batches grow until one is too large. Where it tells that the queue may soon
        be full, more are accepted than are served, because the kernel drops those who come to a full queue.
        """
        cdef int batch, _
        cdef int wanted = 1
        cdef unsigned limit = 0
        for _ in range(MOST_WAITING // LANES):
            if not self.goes_on() or self.empty or self.in_flight:
                return 0
            if tells_queue:
                wanted = c.nl_accept_queue(self.file.number, &limit)
            if wanted <= 0:
                return 0
            batch = min(wanted, <int>LANES)
            if not self.count and self.may_begin():
                batch = min(batch, self.left)
            elif PRESSURE * wanted < <int>limit or not tells_queue or self.count >= self.most_waiting():
                return 0
            self.accept_batch(batch)
            if tells_queue and wanted <= batch:
                return 0
            wanted = 2 * batch
        return 0

    cdef int most_waiting(self) noexcept:
        """How many connections may be accepted and wait: fewer where the next would have a descriptor meanwhile."""
        cdef c.nl_files *files = &self.ring.files
        return self.most_open if self.loop.others or files.unused <= files.margin else MOST_WAITING

    cdef int accept_batch(self, int wanted) except -1:
        """Submit accepts, take their ends, and serve what they have brought, all at once."""
        cdef int lane, written = 0
        cdef int32_t result
        cdef accept_lane *it
        # Where there are several rings, each connection goes from its descriptor into the table of one.
        cdef bint fixed = not self.loop.others and self.ring.open_files()
        self.ring.make_space(1)
        while written < wanted and c.nl_ring_space(&self.ring.ring):
            it = &self.lanes[written]
            it.slot = c.nl_files_take(&self.ring.files) if fixed else -1
            it.length = sizeof(it.address)
            c.nl_prep_accept(self.sqe(), self.file, <c.sockaddr *>&it.address, &it.length, it.slot,
                             c.NL_ACCEPT_DONTWAIT, self.token(c.NL_ACCEPT, written))
            written += 1
        self.ring.submit()
        for lane in range(written):
            if self.take(c.NL_ACCEPT, lane, &result):
                self.note_result(&self.lanes[lane], result)
        return self.serve_waiting()

    cdef int accept_by_calls(self) except -1:
        """Accept by system calls, into descriptors, on a kernel whose ring can only wait (before Linux 6.10)."""
        cdef accept_lane *it = &self.lanes[0]
        while self.may_begin() and not self.count and self.goes_on() and not self.empty:
            it.slot = -1
            it.length = sizeof(it.address)
            self.note_result(it, c.nl_accept_now(self.file.number, <c.sockaddr *>&it.address, &it.length))
            self.serve_waiting()
        return 0

    cdef int note_result(self, accept_lane *lane, int res) except -1:
        """An accept has ended, with a connection or -errno."""
        if res >= 0:
            lane.descriptor = res
            return self.add_waiting(lane)
        if lane.slot >= 0:
            c.nl_files_give(&self.ring.files, lane.slot)
        if res == -EAGAIN or res == -c.ECANCELED:
            self.empty = True
            return 0
        return self.on_refused(-res)

    cdef int on_refused(self, int error) except -1:
        if self.stopped or error in _GONE:
            # The connection was gone before it was accepted (accept(2)); the next accept may fare better.
            return 0
        return self.begin_rest(
            "socket.accept() out of system resource" if error in _SCARCE else "socket.accept() failed",
            OSError(error, os.strerror(error)))

    cdef int begin_rest(self, str message, object exception) except -1:
        """Accepting failed: say so, and try again after a while."""
        if self.rest is not None:
            return 0
        if not self.stopped:
            self.rest = self.loop.call_later(REST, self._end_rest)
        self.loop.call_exception_handler(
            {"message": message, "exception": exception, "socket": trsock.TransportSocket(self.sock)})
        return 0

    def _end_rest(self):
        self.rest = None
        self.mark_dirty()

    # Serving ----------------------------------------------------------------------------------------------------

    cdef int may_begin(self) except -1:
        """How many more connections this turn may begin to serve: the more it has to do else, the more."""
        cdef unsigned dispatched
        if self.turn != self.loop.turns:
            self.turn = self.loop.turns
            dispatched = self.ring.dispatched
            for ring in self.loop.others:
                dispatched += (<Ring>ring).dispatched
            self.left = min(<int>MOST, max(<int>FEWEST, <int>(dispatched // SHARE)))
        return self.left

    cdef int add_waiting(self, accept_lane *lane) except -1:
        """Keep a copy of what is accepted until it is served."""
        cdef int room = max(<int>LANES, 2 * self.room)
        cdef void *memory
        if self.first and 2 * self.first >= self.room:
            memmove(self.waiting, self.waiting + self.first, self.count * sizeof(accept_lane))
            self.first = 0
        elif self.first + self.count == self.room:
            memory = realloc(self.waiting, room * sizeof(accept_lane))
            if memory == NULL:
                self.refuse(self.ring, c.nl_fixed_file(lane.slot) if lane.slot >= 0 else
                            c.nl_descriptor(lane.descriptor), None)
                raise MemoryError("no memory for a connection that waits to be served")
            self.waiting, self.room = <accept_lane *>memory, room
        self.waiting[self.first + self.count] = lane[0]
        self.count += 1
        return 0

    cdef int serve_waiting(self) except -1:
        """Serve what is accepted, as far as this turn may, even if the server is closed meanwhile: nobody else will."""
        while self.count and self.may_begin():
            self.left -= 1
            self.serve_next(False)
        return 0

    cdef int serve_next(self, bint later) except -1:
        """Serve the first who waits."""
        # From a copy, and out of the queue before: what is called from here may run the loop.
        cdef accept_lane it = self.waiting[self.first]
        self.first += 1
        self.count -= 1
        return self.serve(&it, later)

    cdef int serve_everybody(self) except -1:
        """Serve all who wait, because the server is being closed: what it is asked next, to close its connections or to
        wait for their end, is meant for these too. Their connection_made() is called later, as on asyncio.
        """
        try:
            while self.count:
                self.serve_next(True)
        except (SystemExit, KeyboardInterrupt):
            self.serve_later()  # the others, should the loop go on
            raise
        return 0

    cdef int go_on_later(self) except -1:
        """See to it that whoever waits, or comes, is served by the next turns."""
        if self.count:
            self.serve_later()
        elif self.room > LANES:
            # The crowd is gone.
            free(self.waiting)
            self.waiting, self.first, self.room = NULL, 0, 0
        if self.stopped:
            return self.retire_if_done()
        self.mark_dirty()
        return 0

    cdef int serve_later(self) except -1:
        if not self.resumes:
            self.loop.call_soon(self._serve_rest)
            self.resumes = True
        return 0

    def _serve_rest(self):
        self.resumes = False
        try:
            self.serve_waiting()
        finally:
            self.go_on_later()

    cdef int serve(self, accept_lane *lane, bint later) except -1:
        """Make the protocol and the transport of a new connection, and start them, at once or `later`."""
        cdef StreamTransport transport
        cdef c.nl_file file = c.nl_fixed_file(lane.slot) if lane.slot >= 0 else c.nl_descriptor(lane.descriptor)
        cdef object context = PyContext_Copy(self.context)
        cdef object server = self.server
        cdef object sock = None
        cdef Ring ring = self.ring
        cdef Py_ssize_t scheduled = self.loop.ready.count
        self.loop.connections_accepted += 1
        try:
            PyContext_Enter(context)
            try:
                protocol = self.protocol_factory()
            finally:
                PyContext_Exit(context)
            if self.loop.others:
                ring = ring_for(self.loop, protocol)
                file = moved(ring, file)
            if not file.flag:
                sock = accepted_socket(self.origin, file.number)
            transport = self.make_transport(ring, file, sock, lane, protocol, context)
        except (SystemExit, KeyboardInterrupt):
            self.refuse(ring, file, sock)
            raise
        except BaseException as exc:
            self.refuse(ring, file, sock)
            self.loop.call_exception_handler(
                {"message": "Error on transport creation for incoming connection", "exception": exc})
            return 0
        self.join_server(server, transport)
        if self.loop._debug:
            logger.debug("%r got a new connection from %r: %r", server, transport.get_extra_info("peername"),
                         transport._sock)
        if later or self.loop.ready.count != scheduled:
            # What the factory or another thread has scheduled meanwhile comes before connection_made(), as on asyncio.
            self.loop.call_soon(transport._begin, None)
            return 0
        return transport.begin()

    cdef Origin origin_on(self, Ring ring):
        cdef Py_ssize_t index
        for index, other in enumerate(self.loop.others):
            if other is ring:
                return <Origin>self.other_origins[index]
        return self.origin

    cdef StreamTransport make_transport(self, Ring ring, c.nl_file file, object sock, accept_lane *lane,
                                        object protocol, object context):
        cdef StreamTransport transport
        if sock is not None:
            transport = new_stream(self.loop, ring, file, sock, protocol, context, None,
                                   {"peername": decode_address(&lane.address, lane.length)})
            transport._own_descriptor(file.number)
            return transport
        transport = new_stream(self.loop, ring, file, None, protocol, context, None, None)
        transport.come_from(self.origin_on(ring) if self.loop.others else self.origin, &lane.address, lane.length)
        return transport

    cdef int join_server(self, object server, StreamTransport transport) except -1:
        """Have the server count a connection among its own, also one that it had accepted when it was closed."""
        if server is None:
            return 0
        if not self.stopped:
            server._attach(*((transport,) if server_counts_transports else ()))
        elif server._waiters is None:
            # It had no connections, and those who waited for that have been told.
            return 0
        elif server_counts_transports:
            server._clients.add(transport)
        else:
            server._active_count += 1
        transport.server = server
        return 0

    cdef int refuse(self, Ring ring, c.nl_file file, object sock) except -1:
        """Close a connection that nobody wants; `sock` is the socket object of one that has a descriptor, if made."""
        if sock is not None:
            sock.close()
        elif not file.flag:
            close(file.number)
        else:
            c.nl_prep_close(ring.call_sqe(), file, unawaited_token(c.NL_OPTION))
            c.nl_files_give(&ring.files, file.number)
        return 0

    # The end ----------------------------------------------------------------------------------------------------

    def stop(self):
        """Accept no more. The listening socket may be closed, and its port bound again, when this returns."""
        cdef int lane
        cdef int32_t result
        self.check_thread()
        self.stopped = True
        if self.rest is not None:
            self.rest.cancel()
            self.rest = None
        if self.attached and self.in_flight:
            # What is in flight holds the socket open, so the cancelling cannot wait for the next flush.
            try:
                c.nl_prep_cancel(self.ring.call_sqe(), self.token(c.NL_POLL, 0), unawaited_token(c.NL_CANCEL))
                self.ring.enter(0, 0)
            except RuntimeError:
                # Not the loop's thread: the ring's own end will cancel them.
                return
            self.take(c.NL_POLL, 0, &result)
            for lane in range(LANES):
                if self.take(c.NL_ACCEPT, lane, &result):
                    self.note_result(&self.lanes[lane], result)
        if self.attached and self.count:
            if self.ring.running:
                self.serve_everybody()
            else:
                self.serve_later()
        self.retire_if_done()

    cdef int retire_if_done(self) except -1:
        if self.attached and not self.in_flight and not self.count:
            self.ring.detach(self)
            self.protocol_factory = self.server = None
        return 0


cdef c.nl_file moved(Ring ring, c.nl_file file) except *:
    """The file of a descriptor in a ring's own table, if that can take it."""
    cdef int slot = ring.adopt(file.number)
    return file if slot < 0 else c.nl_fixed_file(slot)


def specific_address(sock):
    """A listening socket's address if every connection it accepts has the same; None for a wildcard address."""
    address = sock.getsockname()
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return address
    return None if ipaddress.ip_address(address[0].partition("%")[0]).is_unspecified else address
