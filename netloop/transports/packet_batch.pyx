# cython: language_level=3, boundscheck=False, wraparound=False
"""What a packet endpoint hands to its protocol: the datagrams of one turn.

Without a pool the payloads are made as the datagrams arrive, because their buffers go back to the group before any
Python code runs. With one, the batch has a lease of each buffer, and views of it are made when they are asked for. All
else stays as the kernel has told it, in an array, and becomes Python objects when a program asks for it: most ask
for little.
"""

from collections.abc import Sequence

cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.memoryview cimport PyMemoryView_FromObject
from cpython.ref cimport Py_INCREF, Py_XDECREF
from libc.stdlib cimport free, realloc

from netloop.core cimport cext as c
from netloop.transports.address cimport known_peer

cdef enum:
    FIRST_ROOM = 8


# Nothing in it can refer back to it, so the garbage collector need not look at what may be many.
@cython.final
@cython.no_gc
@cython.freelist(64)
cdef class Packet:
    """A datagram, and what the kernel has told of it.

    ``payload`` is its data, ``bytes`` or with a pool a memoryview; ``truncated`` says that there was more of it than
    can be received. What the endpoint was not asked for by ``fields``, or the kernel does not know, is None.
    """

    def __init__(self):
        raise TypeError("a packet is made by its batch: PacketProtocol.packets_received()")

    @property
    def source(self):
        """The sender's address, as ``socket.recvfrom()`` gives it; None for a UNIX socket without a name."""
        return self.sender.address

    @property
    def destination(self):
        """The address that the sender used, with the port of this endpoint."""
        cdef c.sockaddr_storage name
        cdef c.socklen_t length = c.nl_arrival_name(&self.arrival, self.port, &name)
        return known_peer(&name, length).address if length else None

    @property
    def interface(self):
        """The index of the interface that the datagram came in by, 0 if it is not known."""
        return self.arrival.interface

    @property
    def ecn(self):
        """Explicit congestion notification, 0 to 3."""
        return None if self.arrival.service < 0 else self.arrival.service & 3

    @property
    def dscp(self):
        """The differentiated services code point, 0 to 63."""
        return None if self.arrival.service < 0 else self.arrival.service >> 2

    @property
    def ttl(self):
        """IPv4's time to live, or IPv6's hop limit."""
        return None if self.arrival.hops < 0 else self.arrival.hops

    @property
    def time(self):
        """When the kernel has received the datagram: nanoseconds since the epoch, by CLOCK_REALTIME."""
        return self.arrival.time if self.arrival.time else None

    @property
    def hardware_time(self):
        """When the network device has received it, in nanoseconds of the device's own clock."""
        return self.arrival.hardware_time if self.arrival.hardware_time else None

    def __eq__(self, other):
        return isinstance(other, Packet) and _all_of(self) == _all_of(other)

    def __hash__(self):
        return hash((self.payload, self.source))

    def __repr__(self):
        told = [f"{name}={getattr(self, name)!r}" for name in ("source", "destination", "ecn", "dscp", "ttl", "time")]
        cut = ", truncated" if self.truncated else ""
        return f"<Packet of {len(self.payload)} bytes {', '.join(told)}{cut}>"


def _all_of(Packet packet):
    return (packet.payload, packet.source, packet.destination, packet.interface, packet.ecn, packet.dscp, packet.ttl,
            packet.time, packet.hardware_time, packet.truncated)


@cython.final
cdef class PacketBatch:
    """The datagrams that an endpoint has received in one turn, in their order: a sequence of packets.

    ``payloads()`` is the cheapest way to walk it. ``dropped`` is how many datagrams the kernel has dropped since the
    batch before, because the socket's receive buffer was full.

    With a pool the payloads are read-only views of its buffers. A buffer goes back to the pool when the batch is
    released, or nobody refers to it any more, and nobody has a payload that lies in the buffer.
    """

    def __cinit__(self):
        self.contents = []

    def __dealloc__(self):
        cdef Py_ssize_t index
        self.give_back()
        for index in range(self.recorded):
            Py_XDECREF(self.records[index].sender)
            Py_XDECREF(self.records[index].lease)
        free(self.records)

    def payloads(self):
        """The payloads alone, as a list, without making an object for each packet."""
        cdef list views
        cdef Py_ssize_t place
        self.check_held()
        if len(self.contents) == self.total:
            return self.contents[:]
        views = []
        for place in range(self.recorded):
            self.add_views(place, views)
        return views

    def release(self):
        """Give the buffers back to their pool, each as soon as no payload refers to it; the batch cannot be read then.

        Otherwise that happens when nobody refers to the batch any more. Releasing again does nothing. Any thread may do
        it.
        """
        self.released = True
        self.give_back()

    def __len__(self):
        return self.total

    def __getitem__(self, index):
        cdef Py_ssize_t at, total = self.total
        if isinstance(index, slice):
            return [self.packet(each, self.place_of(each)) for each in range(total)[index]]
        at = index
        if at < 0:
            at += total
        if not 0 <= at < total:
            raise IndexError(f"batch index {index} is out of range: there are {total} packets")
        return self.packet(at, self.place_of(at))

    def __iter__(self):
        cdef Py_ssize_t index = 0, place = 0
        while index < self.total:
            while place + 1 < self.recorded and self.records[place + 1].first <= index:
                place += 1
            yield self.packet(index, place)
            index += 1

    def __reversed__(self):
        for index in range(self.total - 1, -1, -1):
            yield self[index]

    def __contains__(self, value):
        return any(each == value for each in self)

    def index(self, value, start=0, stop=None):
        """The position of the first packet that equals this one; ValueError if there is none."""
        for index in range(*slice(start, stop).indices(len(self))):
            if self[index] == value:
                return index
        raise ValueError(f"{value!r} is not in the batch")

    def count(self, value):
        """How many packets equal this one."""
        return sum(each == value for each in self)

    def __repr__(self):
        return f"<PacketBatch of {self.total} packets>"

    cdef int add(self, const c.nl_datagram *datagram, Peer sender, bint told, Lease lease) except -1:
        """Add what a receive has brought; `told`: with control messages. Several datagrams, if they were coalesced.

        A lease of the payload is the batch's from now on; without one the payload is copied.
        """
        cdef Record *record
        cdef Py_ssize_t left = datagram.length, size
        if self.recorded == self.room:
            self.reserve()
        record = &self.records[self.recorded]
        record.first = <uint32_t>self.total
        record.truncated = datagram.truncated
        c.nl_arrival_read(&record.arrival, datagram.control, datagram.control_length if told else 0)
        if record.arrival.dropped:
            self.total_dropped = record.arrival.dropped
        size = record.arrival.segment if record.arrival.segment else left
        record.size = size
        record.lease = NULL
        if lease is None:
            self.add_copies(<const char *>datagram.payload, left, size)
        else:
            Py_INCREF(lease)
            record.lease = <PyObject *>lease
        self.total += (left + size - 1) // size if left else 1
        Py_INCREF(sender)
        record.sender = <PyObject *>sender
        self.recorded += 1
        return 0

    cdef int add_copies(self, const char *payload, Py_ssize_t left, Py_ssize_t size) except -1:
        while True:
            self.contents.append(PyBytes_FromStringAndSize(payload, min(size, left)))
            if left <= size:
                return 0
            payload += size
            left -= size

    cdef int reserve(self) except -1:
        cdef Py_ssize_t room = max(2 * self.room, <Py_ssize_t>FIRST_ROOM)
        cdef Record *records = <Record *>realloc(self.records, room * sizeof(Record))
        if records == NULL:
            raise MemoryError("no memory for what was received")
        self.records = records
        self.room = room
        return 0

    cdef Packet packet(self, Py_ssize_t index, Py_ssize_t place):
        cdef Packet packet = Packet.__new__(Packet)
        cdef Record *record = &self.records[place]
        packet.payload = self.payload(index, place)
        packet.sender = <Peer>record.sender
        packet.arrival = record.arrival
        packet.port = self.port
        # Of coalesced datagrams the last one is cut.
        packet.truncated = record.truncated and index + 1 == self.end_of(place)
        return packet

    cdef object payload(self, Py_ssize_t index, Py_ssize_t place):
        """A packet's payload: bytes, or a view of a part of its record's lease."""
        cdef Record *record = &self.records[place]
        cdef Py_ssize_t begin
        self.check_held()
        if record.lease == NULL:
            return self.contents[index]
        view = PyMemoryView_FromObject(<object>record.lease)
        if record.first + 1 == self.end_of(place):
            return view
        begin = (index - record.first) * record.size
        return view[begin:begin + record.size]

    cdef int add_views(self, Py_ssize_t place, list views) except -1:
        """Append the payloads of a record, which has a lease."""
        cdef Record *record = &self.records[place]
        cdef Py_ssize_t begin = 0, size = record.size
        cdef uint32_t _
        view = PyMemoryView_FromObject(<object>record.lease)
        if record.first + 1 == self.end_of(place):
            views.append(view)
            return 0
        for _ in range(record.first, <uint32_t>self.end_of(place)):
            views.append(view[begin:begin + size])
            begin += size
        return 0

    cdef Py_ssize_t end_of(self, Py_ssize_t place) noexcept:
        """The number of the first packet after those of a record."""
        return self.records[place + 1].first if place + 1 < self.recorded else self.total

    cdef int check_held(self) except -1:
        if self.released:
            raise ValueError("this batch was released")
        return 0

    cdef int give_back(self) except -1:
        """Release the leases. The references to them stay, because another thread may be reading the batch."""
        cdef Py_ssize_t place
        for place in range(self.recorded):
            if self.records[place].lease != NULL:
                (<Lease>self.records[place].lease).release()
        return 0

    cdef Py_ssize_t place_of(self, Py_ssize_t index) noexcept:
        """The record that a packet is from."""
        cdef Py_ssize_t low = 0, high = self.recorded, middle
        while high - low > 1:
            middle = (low + high) // 2
            if self.records[middle].first <= index:
                low = middle
            else:
                high = middle
        return low


cdef PacketBatch new_batch(unsigned port):
    cdef PacketBatch batch = PacketBatch.__new__(PacketBatch)
    batch.port = port
    return batch


Sequence.register(PacketBatch)
