cimport cython
from libc.stdint cimport uint32_t, uint64_t

from netloop.core.cext cimport flag, msghdr
from netloop.core.pool cimport Lease, LeaseReceiver
from netloop.transports.datagram_base cimport DatagramBase
from netloop.transports.packet_batch cimport PacketBatch
from netloop.transports.packet_outbox cimport Destination, PacketOutbox


@cython.final
cdef class PacketTransport(DatagramBase):
    cdef int family
    # What receives are armed with: room for addresses and for control messages.
    cdef msghdr receive_message
    # Who knows the pool that it receives into; None without one.
    cdef LeaseReceiver leases
    # What has come in the dispatch that is under way.
    cdef PacketBatch batch
    cdef unsigned port
    # What the kernel's count of dropped datagrams was last.
    cdef uint32_t dropped

    cdef PacketOutbox outbox
    # Sends in flight, and how many may be.
    cdef Py_ssize_t sending
    cdef Py_ssize_t batch_limit
    # Did the last batch find no room?
    cdef flag full
    # Has the device's queue been found full since the outbox was empty?
    cdef flag congested
    # Has the kernel been told to look at transmit times?
    cdef flag timed
    # The marks of the write buffer that count packets.
    cdef Py_ssize_t high_packets
    cdef Py_ssize_t low_packets

    # Where the socket is connected to, and where packets went last.
    cdef Destination peer_destination
    cdef Destination last
    # Known by address, and routes by host; both are emptied when they are full.
    cdef dict destinations
    cdef dict routes
    # Source addresses in the kernel's form, by what they were given as.
    cdef dict sources
    # What the error queue had in this turn and the one before, by errno; and when it had something last.
    cdef set errors
    # And the path MTU by host, where the kernel has told it of packets that were too large to be sent.
    cdef dict mtus
    cdef uint64_t errors_turn

    cdef int flush_receive(self) except -1
    cdef int cancel_receive(self) except -1
    cdef int on_received(self, int res, unsigned flags) except -1
    cdef int on_leased(self, int res, unsigned flags) except -1
    cdef int note_armed(self, int res, unsigned flags) except -1
    cdef int on_nothing(self, int res) except -1
    cdef int gather(self, int res, unsigned flags) except -1
    cdef int gather_lease(self, Lease lease, int res) except -1
    cdef PacketBatch gathered(self)
    cdef Destination checked_destination(self, object addr)
    cdef Destination destination_of(self, object address)
    cdef Destination new_destination(self, bytes name, object address)
    cdef bytes control_of(self, Destination destination, object source, object ecn, object at)
    cdef int flush_send(self, Py_ssize_t entries) except -1
    cdef int prepare_send(self, Py_ssize_t lane) except -1
    cdef bint must_not_wait(self)
    cdef int send_now(self) except -1
    cdef int take_sent(self, unsigned number, int res) except -1
    cdef bint is_over(self, unsigned number, int res) except -1
    cdef bint refuses_segments(self, unsigned number, int res) except -1
    cdef bint is_too_large(self, Destination destination, Py_ssize_t size) except -1
    cdef bint take_errors(self, int res) except -1
    cdef bint is_full(self) noexcept
    cdef int check_open(self) except -1
