# cython: language_level=3, boundscheck=False, wraparound=False
"""Sends of leases without a copy: the network card reads the buffer itself, and the kernel says when it has done so.

Such a send completes twice: when the kernel has taken it, as any other, and when it has let go of the memory, which for
TCP is when the peer has acknowledged the data. The second may come long after the connection is closed, or never, and
cannot be cancelled. So these sends are not their transport's: each connection that tries them has a `ZeroCopySender`,
an endpoint of its own, which stays in the table until the kernel's last word and keeps the leases until then. The
transport is told of the first completion as of its own send's, and counts it as in flight until that.

It pays only where a network card gathers what it sends from memory. Everywhere else the kernel copies all the same, as
it always does on the loopback interface, and then such a send costs twice as much as an ordinary one (1 MiB on Linux
6.18: 449 against 196 µs). So a pool with ``zero_copy="auto"`` sends one such message for each route, here a peer's
host, and goes on only if the kernel says that it has not copied (IORING_SEND_ZC_REPORT_USAGE, Linux 6.2). Routes
change, so it is tried again after more and more ordinary sends, which costs less than a hundredth.
"""

cimport cython
from libc.errno cimport EAGAIN, EINVAL, ENOBUFS, ENOMEM, EOPNOTSUPP
from libc.stdint cimport uint64_t

from netloop.core cimport cext as c
from netloop.core.pool cimport ZERO_COPY_ALWAYS, Lease

cdef enum:
    # How many sends of a connection may wait for the kernel's last word. With more the next ones are ordinary.
    LANES = 64
    # Ordinary sends between two trials of a route on which the kernel has copied.
    FIRST_PAUSE = 256
    LAST_PAUSE = 65536
    # How many routes a loop remembers.
    ROUTES_LIMIT = 1024


@cython.final
cdef class Route:
    """Whether the kernel has copied what was to be sent to a host without a copy."""

    def __cinit__(self):
        self.pause = FIRST_PAUSE

    cdef bint is_to_try(self) noexcept:
        """Is the next send to be one without a copy?"""
        if self.pays:
            return True
        if self.trying:
            return False
        if self.left:
            self.left -= 1
            return False
        self.trying = True
        return True

    cdef int untold(self) noexcept:
        """A send has failed, so that nothing can be told from it."""
        self.trying = False
        return 0

    cdef int told(self, bint copied) noexcept:
        self.trying = False
        self.pays = not copied
        if copied:
            self.left = self.pause
            self.pause = min(self.pause * 2, <unsigned>LAST_PAUSE)
        else:
            self.pause = FIRST_PAUSE
        return 0


cdef ZeroCopySender new_sender(LoopCore loop, object peer):
    """What sends without a copy on a connection to a peer's address, as "peername" tells it."""
    cdef dict routes = loop._zero_copy_routes
    cdef object host = peer[0] if type(peer) is tuple else None  # of a UNIX socket, for which no kernel does it
    cdef ZeroCopySender sender = ZeroCopySender.__new__(ZeroCopySender)
    if host is not None:
        if host not in routes:
            if len(routes) >= ROUTES_LIMIT:
                routes.pop(next(iter(routes)))
            routes[host] = Route()
        sender.route = <Route>routes[host]
    sender.loop = loop
    sender.held = {}
    sender.failed = set()
    sender.way = WITH_REPORT
    return sender


@cython.final
cdef class ZeroCopySender(Endpoint):
    """The sends without a copy of one connection."""

    def __repr__(self):
        return f"<sends without a copy, {len(self.held)} of which the kernel still refers to>"

    cdef int on_flush(self) except -1:
        return 0

    cdef bint send(self, Endpoint transport, nl_file file, list leases, NextSend *send, Py_ssize_t length) except -1:
        """Send leases of a transport without a copy, unless an ordinary send is better; says whether it does."""
        cdef int lane
        cdef unsigned options
        cdef uint64_t token
        cdef Lease first = <Lease>leases[0]
        cdef int index = -1
        if len(self.held) >= LANES or not self.is_wanted(leases, length):
            return False
        lane = self.free_lane()
        if not self.attached:
            self.loop.ring.attach(self)
        if transport.resting:
            self.ring.hold(transport)
        options = c.NL_SEND_ZC_REPORT_USAGE if self.way == WITH_REPORT else 0
        token = self.token(c.NL_SEND, lane)
        if send.message == NULL:
            index = first.pool.pinned_index(first.data)
            c.nl_prep_send_zc(self.sqe(), file, send.data, <unsigned>length, options, index, token)
        else:
            c.nl_prep_sendmsg_zc(self.sqe(), file, send.message, options, token)
        for each in leases:
            (<Lease>each).keep()
            (<Lease>each).pool.zero_copy_asked += 1
        self.held[lane] = leases
        self.transport = transport
        self.lane = lane
        transport.in_flight += 1
        return True

    cdef bint is_wanted(self, list leases, Py_ssize_t length) except -1:
        """Do all their pools wish for it, and is it to be tried at this moment?"""
        cdef bint always = True
        if self.way == REFUSED or self.pausing:
            self.pausing = False
            return False
        for each in leases:
            always = always and (<Lease>each).pool.zero_copy == ZERO_COPY_ALWAYS
        if always:
            return True
        return self.route is not None and length >= ZERO_COPY_LEAST and self.way == WITH_REPORT and (
            self.route.is_to_try())

    cdef int free_lane(self) except -1:
        """A number that no send has to which the kernel still refers."""
        cdef int lane = 0
        while lane in self.held:
            lane += 1
        return lane

    cdef int cancel(self) noexcept:
        """Write the submission that cancels the send which has not completed."""
        return self.write_cancel(c.NL_SEND, self.lane)

    # Completions ------------------------------------------------------------------------------------------------

    cdef int on_completion(self, unsigned op, unsigned lane, int res, unsigned flags) except -1:
        try:
            if flags & c.NL_CQE_F_NOTIF:
                self.let_go(lane, c.nl_notice_copied(res))
            else:
                if res <= 0:
                    self.failed.add(lane)
                if not flags & c.IORING_CQE_F_MORE:
                    self.let_go(lane, False)
                self.on_sent(res)
        finally:
            if not self.in_flight:
                self.ring.detach(self)
        return 0

    cdef int on_sent(self, int res) except -1:
        """The kernel has taken a send, or refused it: its transport goes on."""
        cdef Endpoint transport = self.transport
        self.transport = None
        transport.in_flight -= 1
        if res == -EINVAL or res == -EOPNOTSUPP or res == -ENOMEM or res == -ENOBUFS:
            self.on_refused(res)
            # Nothing was sent, so the transport tries again.
            res = -EAGAIN
        return transport.on_completion(c.NL_SEND, 0, res, 0)

    cdef int on_refused(self, int res) except -1:
        """Such a send is not possible: on this connection, or just now, for want of memory that may be pinned."""
        if res == -ENOMEM or res == -ENOBUFS:
            self.pausing = True
            return 0
        # Linux 6.1 takes the wish for a report for a mistake.
        self.way = WITHOUT_REPORT if res == -EINVAL and self.way == WITH_REPORT else REFUSED
        return 0 if self.route is None else self.route.told(True)

    cdef int let_go(self, unsigned lane, bint copied) except -1:
        """The kernel refers to the leases of a send no more."""
        cdef bint failed = lane in self.failed
        cdef Lease lease
        for each in self.held.pop(lane):
            lease = <Lease>each
            if failed:
                lease.pool.zero_copy_failed += 1
            elif copied:
                lease.pool.zero_copy_copied += 1
            else:
                lease.pool.zero_copy_done += 1
            lease.let_go()
        self.failed.discard(lane)
        if self.route is None:
            return 0
        return self.route.untold() if failed else self.route.told(copied)

    cdef bint on_left_behind(self) except -1:
        # The leases stay with it, so that their memory is never used again. A first completion may still be set aside.
        if not self.in_flight and self.transport is None:
            self.ring.detach(self)
        return True

    cdef int on_abandoned(self, unsigned op, unsigned lane, int res, unsigned flags) except -1:
        if not flags & c.NL_CQE_F_NOTIF and self.transport is not None:
            self.transport.in_flight -= 1
            self.transport = None
        if not flags & c.IORING_CQE_F_MORE:
            self.failed.add(lane)
            self.let_go(lane, False)
        return 0
