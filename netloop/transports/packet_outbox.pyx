# cython: language_level=3, boundscheck=False, wraparound=False
"""What a packet endpoint has accepted and the kernel has not sent yet, and how it becomes sends.

A call of send_packets() is one stretch of the queue, however many packets it has. A lane of a batch is one send. It
takes as many packets from the front as the kernel segments by itself: of one size, but for a shorter last one, to one
destination and with the same control messages, also if several calls have brought them.

Order. The sends of a batch are tried in their order, but where one finds no room those behind it may still find some,
and where a route refuses segmentation its packets would come after those of the next lane. So a batch is sure to fit
into the socket's buffer, as that of a DatagramOutbox is, and the first send by segmentation on a route ends its batch.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy

from netloop.core cimport cext as c

cdef enum:
    # Stretches that are gone are dropped from the queue's front in batches of this size.
    TRIM = 256


@cython.final
@cython.no_gc
cdef class Route:
    """What is known of the way to a host."""

    def __cinit__(self):
        self.refused_from = c.NL_PAYLOAD_LIMIT_6 + 1


@cython.final
@cython.no_gc
cdef class Destination:
    """Where packets go to."""


@cython.final
@cython.no_gc
@cython.freelist(64)
cdef class Stretch:
    """Packets in a row to one destination, from one call."""

    cdef inline Py_ssize_t length_at(self, Py_ssize_t index) noexcept:
        if self.packets is not None:
            return PyBytes_GET_SIZE(<bytes>self.packets[index])
        return min(self.size, PyBytes_GET_SIZE(self.whole) - index * self.size)

    cdef Py_ssize_t bytes_of(self) noexcept:
        cdef Py_ssize_t index, total = 0
        if self.packets is None:
            return min(self.end * self.size, PyBytes_GET_SIZE(self.whole)) - self.first * self.size
        for index in range(self.first, self.end):
            total += PyBytes_GET_SIZE(<bytes>self.packets[index])
        return total

    cdef Stretch split(self, Py_ssize_t count):
        """Take the first packets out, as a stretch of their own."""
        cdef Stretch taken = Stretch.__new__(Stretch)
        taken.packets, taken.whole, taken.size = self.packets, self.whole, self.size
        taken.destination, taken.control = self.destination, self.control
        taken.first = self.first
        self.first = taken.end = self.first + count
        return taken


@cython.final
cdef class PacketOutbox:
    """A queue of stretches, sent in place, a batch at a time.

    build() describes the next batch. Then sent() tells of each lane that is gone, and settle(), when the whole batch is
    back, puts what is not gone back to the queue's front. What the kernel reads from stays where it is until then.
    """

    def __cinit__(self, Py_ssize_t segments):
        self.queue = []
        self.flying = []
        self.segments = segments

    def __dealloc__(self):
        free(self.lanes)
        free(self.vectors)

    cdef int add(self, Stretch stretch) except -1:
        self.queue.append(stretch)
        self.size += stretch.bytes_of()
        self.packets += stretch.end - stretch.first
        return 0

    cdef Py_ssize_t build(self, Py_ssize_t most, long room) except -1:
        """Describe the next batch, of at most so many lanes; returns how many there are, 0 if nothing waits.

        `room` is what the socket's buffer has. The kernel takes a send while it is not full, so one always goes.
        """
        cdef Py_ssize_t count = 0
        cdef Lane *lane
        cdef Route route
        if self.lanes == NULL:
            self.lanes = <Lane *>calloc(LANES, sizeof(Lane))
            self.vectors = <c.iovec *>malloc(VECTORS * sizeof(c.iovec))
            if self.lanes == NULL or self.vectors == NULL:
                raise MemoryError("no memory to describe sends")
        self.vectors_used = 0
        self.flying.clear()
        while count < most and self.waiting() and (not count or room > 0):
            lane = &self.lanes[count]
            if not self.build_lane(lane):
                break
            count += 1
            room -= lane.packets * c.nl_datagram_charge(lane.size)
            route = self.destination(count - 1).route
            if lane.packets > 1 and not route.proven:
                break
        return count

    cdef bint build_lane(self, Lane *lane) except -1:
        """Take what is one send from the queue's front. False if there are no vectors left to describe it."""
        cdef Stretch stretch, front = <Stretch>self.queue[self.head]
        cdef Py_ssize_t taken
        cdef bint whole
        if self.vectors_used + self.segments > VECTORS:
            return False
        lane.first = len(self.flying)
        lane.packets = lane.bytes = 0
        lane.message.msg_iov = &self.vectors[self.vectors_used]
        lane.message.msg_iovlen = 0
        lane.size = front.length_at(front.first)
        while self.waiting():
            stretch = <Stretch>self.queue[self.head]
            if stretch.destination is not front.destination or stretch.control != front.control:
                break
            taken = self.fill(lane, stretch)
            if not taken:
                break
            whole = taken == stretch.end - stretch.first
            if whole:
                self.queue[self.head] = None
                self.head += 1
            else:
                stretch = stretch.split(taken)
            self.flying.append(stretch)
            if not whole or lane.bytes < lane.packets * lane.size:
                break
        lane.end = len(self.flying)
        self.vectors_used += lane.message.msg_iovlen
        self.address(lane)
        return True

    cdef Py_ssize_t fill(self, Lane *lane, Stretch stretch) except -1:
        """Add to a lane as many packets from a stretch's front as may be sent with those it has; returns how many."""
        cdef Py_ssize_t length, index = stretch.first
        cdef Py_ssize_t limit = stretch.destination.limit
        cdef Py_ssize_t most = self.segments
        cdef c.iovec *vector
        cdef bytes packet
        if lane.size >= stretch.destination.route.refused_from or not lane.size:
            most = 1
        while index < stretch.end and lane.packets < most:
            length = stretch.length_at(index)
            if lane.packets and (length > lane.size or not length or lane.bytes + length > limit):
                break
            vector = &lane.message.msg_iov[lane.message.msg_iovlen]
            if stretch.packets is not None:
                packet = <bytes>stretch.packets[index]
                vector.iov_base = PyBytes_AS_STRING(packet)
                vector.iov_len = length
                lane.message.msg_iovlen += 1
            elif index == stretch.first:
                vector.iov_base = PyBytes_AS_STRING(stretch.whole) + index * stretch.size
                vector.iov_len = length
                lane.message.msg_iovlen += 1
            else:
                (vector - 1).iov_len += length
            lane.bytes += length
            lane.packets += 1
            index += 1
            if length < lane.size:
                break
        return index - stretch.first

    cdef int address(self, Lane *lane) except -1:
        """Describe where a lane goes, and its control messages."""
        cdef Stretch stretch = <Stretch>self.flying[lane.first]
        cdef bytes name = stretch.destination.name
        cdef size_t used = 0
        lane.message.msg_name = NULL if name is None else PyBytes_AS_STRING(name)
        lane.message.msg_namelen = 0 if name is None else <c.socklen_t>PyBytes_GET_SIZE(name)
        if stretch.control is not None:
            used = PyBytes_GET_SIZE(stretch.control)
            memcpy(lane.control, PyBytes_AS_STRING(stretch.control), used)
        if lane.packets > 1:
            used = c.nl_control_add_segment(lane.control, used, <unsigned>lane.size)
        lane.message.msg_control = lane.control if used else NULL
        lane.message.msg_controllen = used
        return 0

    cdef Destination destination(self, Py_ssize_t number):
        """Where a lane in flight goes to."""
        return (<Stretch>self.flying[self.lanes[number].first]).destination

    cdef int sent(self, Py_ssize_t number) except -1:
        """The kernel is done with a lane, which it has sent or refused."""
        cdef Lane *lane = &self.lanes[number]
        cdef Py_ssize_t index
        for index in range(lane.first, lane.end):
            self.flying[index] = None
        self.size -= lane.bytes
        self.packets -= lane.packets
        return 0

    cdef int settle(self) except -1:
        """The batch is back: what is not gone comes before all that is in the queue."""
        cdef list left = [stretch for stretch in self.flying if stretch is not None]
        self.flying.clear()
        if left:
            self.queue[:self.head] = left
            self.head = 0
        elif self.head == len(self.queue):
            self.queue.clear()
            self.head = 0
        elif self.head >= TRIM:
            del self.queue[:self.head]
            self.head = 0
        return 0

    cdef int clear(self) except -1:
        """Forget everything. Nothing of it may be in flight."""
        self.queue.clear()
        self.flying.clear()
        self.head = self.size = self.packets = 0
        return 0
