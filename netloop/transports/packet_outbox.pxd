from libc.stdint cimport int32_t

from netloop.core.cext cimport NL_SEND_CONTROL_ROOM, iovec, msghdr

cdef enum:
    # Sends in one batch; a lane has eight bits of a token.
    LANES = 64
    # Pieces of memory in one batch. The kernel takes at most 1024 in one message (UIO_MAXIOV).
    VECTORS = 1024


cdef class Route:
    # Has it taken a send by segmentation? Then several may be in flight.
    cdef bint proven
    # Segments of so many bytes and more it does not take.
    cdef Py_ssize_t refused_from


cdef class Destination:
    # The kernel's form of the address, None where the socket is connected, and Python's.
    cdef bytes name
    cdef object address
    # The host's address as a str; None for UNIX.
    cdef str host
    cdef Route route
    # The largest payload.
    cdef Py_ssize_t limit
    # Do packets leave by IPv6, as they do not to an IPv4 address that an IPv6 socket is given in IPv6's form?
    cdef bint six


cdef class Stretch:
    # Each packet, or packets of `size` bytes in one piece of memory.
    cdef tuple packets
    cdef bytes whole
    cdef Py_ssize_t size
    # Those that the stretch is of: numbers of packets.
    cdef Py_ssize_t first
    cdef Py_ssize_t end
    cdef Destination destination
    # Control messages, or None.
    cdef bytes control

    cdef Stretch split(self, Py_ssize_t count)
    cdef Py_ssize_t bytes_of(self) noexcept
    cdef inline Py_ssize_t length_at(self, Py_ssize_t index) noexcept


cdef struct Lane:
    # What is one send: these stretches of those in flight, which are `packets` datagrams of `size` bytes.
    Py_ssize_t first
    Py_ssize_t end
    Py_ssize_t packets
    Py_ssize_t size
    Py_ssize_t bytes
    msghdr message
    unsigned char[NL_SEND_CONTROL_ROOM] control


cdef class PacketOutbox:
    cdef list queue
    # Where the queue begins.
    cdef Py_ssize_t head
    # Stretches that the batch in flight is of; None for what is gone.
    cdef list flying
    cdef Lane *lanes
    cdef iovec *vectors
    cdef Py_ssize_t vectors_used
    # What is accepted and not the kernel's yet.
    cdef Py_ssize_t size
    cdef Py_ssize_t packets
    # How many datagrams the kernel sends at once.
    cdef Py_ssize_t segments

    cdef int add(self, Stretch stretch) except -1
    cdef Py_ssize_t build(self, Py_ssize_t most, long room) except -1
    cdef bint build_lane(self, Lane *lane) except -1
    cdef Py_ssize_t fill(self, Lane *lane, Stretch stretch) except -1
    cdef int address(self, Lane *lane) except -1
    cdef int sent(self, Py_ssize_t number) except -1
    cdef int settle(self) except -1
    cdef int clear(self) except -1
    cdef Destination destination(self, Py_ssize_t number)
    cdef inline bint waiting(self) noexcept:
        """Is there something to send that is not in flight?"""
        return self.head < len(self.queue)
