# cython: language_level=3, boundscheck=False, wraparound=False
"""What a packet endpoint hands to its protocol: the datagrams of one turn.

The payloads are made as the datagrams arrive, because their buffers go back to the group before any Python code runs.
All else stays as the kernel has told it, in an array, and becomes Python objects when a program asks for it: most ask
for little.
"""

from collections.abc import Sequence

cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize
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

    ``payload`` is its data; ``truncated`` says that there was more of it than can be received. What the endpoint was
    not asked for by ``fields``, or the kernel does not know, is None.
    """

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
    """

    def __cinit__(self):
        self.contents = []

    def __dealloc__(self):
        cdef Py_ssize_t index
        for index in range(self.recorded):
            Py_XDECREF(self.records[index].sender)
        free(self.records)

    def payloads(self):
        """The payloads alone, as a list, without making an object for each packet."""
        return self.contents[:]

    def __len__(self):
        return len(self.contents)

    def __getitem__(self, index):
        cdef Py_ssize_t at, total = len(self.contents)
        if isinstance(index, slice):
            return [self.packet(each, self.place_of(each)) for each in range(total)[index]]
        at = index
        if at < 0:
            at += total
        if not 0 <= at < total:
            raise IndexError(f"batch index {index} is out of range: there are {total} packets")
        return self.packet(at, self.place_of(at))

    def __iter__(self):
        cdef Py_ssize_t index = 0, place = 0, total = len(self.contents)
        while index < total:
            while place + 1 < self.recorded and self.records[place + 1].first <= index:
                place += 1
            yield self.packet(index, place)
            index += 1

    def __reversed__(self):
        for index in range(len(self.contents) - 1, -1, -1):
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
        return f"<PacketBatch of {len(self.contents)} packets>"

    cdef int add(self, const c.nl_datagram *datagram, Peer sender, bint told) except -1:
        """Add what a receive has brought; `told`: with control messages. Several datagrams, if they were coalesced."""
        cdef Record *record
        cdef const char *payload = <const char *>datagram.payload
        cdef size_t left = datagram.length, size
        if self.recorded == self.room:
            self.reserve()
        record = &self.records[self.recorded]
        record.first = <uint32_t>len(self.contents)
        record.truncated = datagram.truncated
        c.nl_arrival_read(&record.arrival, datagram.control, datagram.control_length if told else 0)
        if record.arrival.dropped:
            self.total_dropped = record.arrival.dropped
        size = record.arrival.segment if record.arrival.segment else left
        while True:
            self.contents.append(PyBytes_FromStringAndSize(payload, min(size, left)))
            if left <= size:
                break
            payload += size
            left -= size
        Py_INCREF(sender)
        record.sender = <PyObject *>sender
        self.recorded += 1
        return 0

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
        packet.payload = self.contents[index]
        packet.sender = <Peer>record.sender
        packet.arrival = record.arrival
        packet.port = self.port
        # Of coalesced datagrams the last one is cut.
        packet.truncated = record.truncated and index + 1 == (
            self.records[place + 1].first if place + 1 < self.recorded else len(self.contents))
        return packet

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
