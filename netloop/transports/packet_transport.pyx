# cython: language_level=3, boundscheck=False, wraparound=False
"""The packet transport: datagrams in batches, with what the kernel knows about them.

What a turn's completions bring is gathered and handed to the protocol together, when all of them have been dispatched
(Ring.gathered). How packets become sends is in packet_outbox.

Errors. With an error queue (IP_RECVERR) the kernel tells what has become of each packet, and to whom it was sent. It
tells so in two steps: the next call on the socket fails, a receive or a send, whatever that one was to do, and the
queue has what happened. So a call that fails has the queue emptied. A send that has failed for the sake of an earlier
one is tried again.
"""

import errno
import operator
import os

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.errno cimport EAGAIN, EINTR, EINVAL, EIO, EMSGSIZE, ENOBUFS
from libc.stdint cimport int32_t, uint32_t, uint64_t

from netloop.core cimport cext as c
from netloop.core.cext cimport NL_CANCELLING, NL_CLOSING, NL_DRAINING
from netloop.core.pool cimport Lease, LeaseReceiver
from netloop.core.turn cimport LoopCore
from netloop.transports.packet_protocol import PacketError
from netloop.transports import packet_options
from netloop.transports.address cimport decode_address, encode_destination, known_peer
from netloop.transports.base cimport names_of, os_error
from netloop.transports.datagram_base cimport DatagramBase
from netloop.transports.packet_batch cimport PacketBatch, new_batch
from netloop.transports.packet_outbox cimport Destination, Lane, PacketOutbox, Route, Stretch


cdef extern from "Python.h":
    object PyContext_CopyCurrent()
    int PyContext_Enter(object context) except -1
    int PyContext_Exit(object context) except -1

cdef enum:
    # Submission entries of a flush that are not for sends: to arm or cancel the receive.
    OTHER_ENTRIES = 3
    # A write buffer of so many bytes is not kept until the turn's end.
    SEND_NOW = 16 * 1024
    # Batches that are sent one after the other before others have their turn.
    BATCHES_AT_ONCE = 64
    # Addresses that a transport knows in the kernel's form.
    KNOWN_LIMIT = 4096
    HIGH_PACKETS = 1024
    # Datagrams that are coalesced are together no larger than IP packets can be.
    COALESCED_LIMIT = 65535
    # A UNIX datagram has no other limit than its socket's buffer.
    NO_LIMIT = 1 << 30


@cython.final
cdef class PacketTransport(DatagramBase):
    """The transport of a packet endpoint, made by ``EventLoop.create_packet_endpoint()``.

    Beside what is here it has the methods of asyncio.DatagramTransport, and pause_reading() and resume_reading().
    """

    def __cinit__(self):
        self.high_packets, self.low_packets = HIGH_PACKETS, HIGH_PACKETS // 4
        self.destinations = {}
        self.routes = {}
        self.sources = {}
        self.errors = set()
        self.mtus = {}

    def __init__(self):
        raise TypeError("a packet transport is made by EventLoop.create_packet_endpoint()")

    cdef bint has_sends(self) noexcept:
        return self.sending != 0

    cdef Py_ssize_t unsent(self) noexcept:
        return self.outbox.size

    cdef int discard(self) except -1:
        self.untold.clear()
        self.batch = self.backlog = None
        if self.leases is not None:
            self.leases.drop(None)
        return 0 if self.sending else self.outbox.clear()

    # What is wanted becomes submissions -------------------------------------------------------------------------

    cdef int on_flush(self) except -1:
        if self.state <= NL_DRAINING:
            self.flush_send(c.nl_ring_space(&self.ring.ring) - OTHER_ENTRIES)
        elif self.state == NL_CLOSING:
            return self.flush_close()
        else:
            self.stop_waiting()
        return self.flush_receive()

    cdef int flush_receive(self) except -1:
        """Arm the multishot receive, or cancel it, as wanted."""
        cdef bint wanted = self.wants_data()
        if wanted and not self.receiving:
            self.receive_message.msg_namelen = <c.socklen_t>c.NL_DATAGRAM_NAME_ROOM
            if self.leases is not None:
                self.receiving = self.leases.arm_message(self, self.file, &self.receive_message)
                return 0
            self.ring.datagrams.open(self.ring)
            c.nl_prep_recvmsg_multishot(self.sqe(), self.file, &self.receive_message,
                                        self.ring.datagrams.buffers.group, self.token(c.NL_RECVMSG, 0))
            self.receiving = True
        elif self.receiving and not wanted and not self.receive_cancelled:
            self.cancel_receive()
        return 0

    cdef int cancel_receive(self) except -1:
        if self.leases is None:
            self.write_cancel(c.NL_RECVMSG, 0)
        else:
            self.write_cancel(c.NL_RECV_LEASED, self.leases.lane)
        self.receive_cancelled = True
        return 0

    cdef int on_completion(self, unsigned op, unsigned lane, int res, unsigned flags) except -1:
        if op == c.NL_RECVMSG:
            self.on_received(res, flags)
        elif op == c.NL_RECV_LEASED:
            self.on_leased(res, flags)
        elif op == c.NL_SEND:
            self.take_sent(lane, res)
            if not self.sending:
                if self.state <= NL_DRAINING and not self.full:
                    self.send_now()
                self.after_sent()
        elif op == c.NL_POLL:
            self.on_polled(res)
        elif op == c.NL_CLOSE:
            # An error means that somebody else closed the file: closed it is.
            return self.step(c.NL_ON_FILE_CLOSED)
        return self.note_quiet()

    # Receiving --------------------------------------------------------------------------------------------------

    cdef int on_received(self, int res, unsigned flags) except -1:
        """The receive has brought a buffer of the group, or its own end."""
        self.note_armed(res, flags)
        if res >= 0 and flags & c.IORING_CQE_F_BUFFER:
            return self.gather(res, flags)
        self.ring.datagrams.drop(flags)
        return self.on_nothing(res)

    cdef int on_leased(self, int res, unsigned flags) except -1:
        """The receive has brought a buffer of the pool, or its own end."""
        cdef Lease lease = self.leases.received(res, flags, self.token(c.NL_RECV_LEASED, 0))
        if not flags & c.IORING_CQE_F_MORE:
            self.leases.armed = None
        self.note_armed(res, flags)
        if lease is None:
            return self.on_nothing(res)
        if res > 0:
            return self.gather_lease(lease, res)
        lease.release()
        return self.on_nothing(res)

    cdef int note_armed(self, int res, unsigned flags) except -1:
        """Is the receive armed after this completion, and if not, is it to be armed again?"""
        if flags & c.IORING_CQE_F_MORE:
            return 0
        self.receiving = self.receive_cancelled = False
        if res != -ENOBUFS or self.state >= NL_DRAINING:
            # Marked before the protocol is called, because an exit from there must not leave it disarmed.
            self.mark_dirty()
        return 0

    cdef int on_nothing(self, int res) except -1:
        if self.state >= NL_DRAINING or res >= 0 or res == -c.ECANCELED or res == -EAGAIN or res == -EINTR:
            return 0
        if res == -ENOBUFS:
            # Nothing is lost: datagrams stay in the socket until the receive is armed again.
            return self.ring.datagrams.starve(self) if self.leases is None else self.leases.starve(self)
        if not self.take_errors(res):
            self.tell_error_soon(os_error(res))
        return 0

    cdef int gather(self, int res, unsigned flags) except -1:
        """A datagram has arrived in a buffer of the group, or several that the kernel has coalesced."""
        cdef const unsigned char *buffer = c.nl_buffers_take(&self.ring.datagrams.buffers, flags)
        cdef size_t room = self.receive_message.msg_controllen
        cdef c.nl_datagram datagram = c.nl_datagram_read(buffer, res, room, c.NL_DATAGRAM_LIMIT)
        c.nl_buffers_note(&self.ring.datagrams.buffers, res)
        try:
            if self.state < NL_DRAINING:
                self.gathered().add(&datagram, known_peer(datagram.name, datagram.name_length), room != 0, None)
        finally:
            c.nl_buffers_give(&self.ring.datagrams.buffers, flags)
        return 0

    cdef int gather_lease(self, Lease lease, int res) except -1:
        """The same in a buffer of the pool, of which the payload stays leased."""
        cdef c.nl_datagram_front front
        cdef size_t room = self.receive_message.msg_controllen
        cdef c.nl_datagram datagram = c.nl_datagram_read_copied(
            &front, lease.data, lease.pool.buffers.size, res, room)
        lease.behead(datagram.payload - lease.data, datagram.length)
        if self.state >= NL_DRAINING:
            lease.release()
            return 0
        return self.gathered().add(&datagram, known_peer(datagram.name, datagram.name_length), room != 0, lease)

    cdef PacketBatch gathered(self):
        """What has come in the dispatch that is under way; on_gathered() is called at its end."""
        if self.batch is None:
            self.batch = new_batch(self.port)
            self.ring.gathered.append(self)
        return self.batch

    cdef int on_gathered(self) except -1:
        """All that the turn has brought is there."""
        cdef PacketBatch batch = self.batch
        self.batch = None
        if batch is None or self.state >= NL_DRAINING:
            return 0
        if batch.total_dropped:
            # The kernel's count has 32 bits and goes on from zero.
            batch.dropped = <uint32_t>(batch.total_dropped - self.dropped)
            self.dropped = batch.total_dropped
            self.loop.packets_dropped += batch.dropped
        self.loop.packets_received += <uint64_t>len(batch)
        if self.paused or self.backlog:
            return self.hold_back(batch)
        return self.deliver(batch)

    cdef int deliver(self, object item) except -1:
        PyContext_Enter(self.context)
        try:
            self.protocol.packets_received(item)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            self.report(exc, "Error in protocol.packets_received()")
        finally:
            PyContext_Exit(self.context)
        return 0

    cdef int on_parked(self, c.io_uring_cqe *cqe) except -1:
        return self.leases.park(cqe) if c.nl_token_op(cqe.user_data) == c.NL_RECV_LEASED else 0

    cdef int on_abandoned(self, unsigned op, unsigned lane, int res, unsigned flags) except -1:
        cdef Lease lease = self.leases.received(res, flags, 0) if op == c.NL_RECV_LEASED else None
        if lease is not None:
            lease.release()
        return 0

    cdef int on_ring_closed(self) except -1:
        # What is not with the kernel goes back at once, though who holds this transport may keep it for long.
        if self.leases is not None and not self.in_flight:
            self.leases.drop(None)
            self.batch = self.backlog = None
        return DatagramBase.on_ring_closed(self)

    # Sending: what the program asks for -------------------------------------------------------------------------

    def send_packets(self, payloads, addr=None, *, source=None, ecn=None, segment_size=None, at=None):
        """Send datagrams, in their order; never blocks.

        Packets of one size, but for a shorter last one, leave together, and the device or the kernel cuts them apart.

        Args:
            payloads: a sequence of bytes-like objects, or with ``segment_size`` one such object, which is cut into
                packets of that size. ``bytes`` are sent in place, others are copied.
            addr: where to, as for ``sendto()``; None where the endpoint is connected.
            source: the local address to send from, ``host`` or ``(host, interface)``; a packet's
                ``(destination[0], interface)`` answers from where it was sent to.
            ecn: explicit congestion notification, 0 to 3. The DSCP is the socket's.
            segment_size: bytes in each packet but the last one.
            at: when to send, in nanoseconds on CLOCK_MONOTONIC, which loop.time() tells in seconds. Only a queueing
                discipline such as fq waits until then. A socket with SO_TXTIME set has the clock that it was given.

        Raises:
            OSError: the name of a host cannot be resolved, or the kernel takes no transmit times.
            TypeError: an argument is of a wrong type.
            ValueError: an argument is out of range, or a packet larger than UDP allows; none is sent then.
        """
        cdef Stretch stretch = Stretch.__new__(Stretch)
        self.check_thread()
        stretch.destination = self.checked_destination(addr)
        if segment_size is None:
            stretch.packets = checked_packets(payloads, stretch.destination.limit)
            stretch.end = len(stretch.packets)
        else:
            stretch.size = checked_size(segment_size, stretch.destination.limit)
            stretch.whole = one_payload(payloads)
            stretch.end = (PyBytes_GET_SIZE(stretch.whole) + stretch.size - 1) // stretch.size
        if source is not None or ecn is not None or at is not None:
            stretch.control = self.control_of(stretch.destination, source, ecn, at)
        if self.state >= NL_DRAINING:
            self.ignore_write()
            return
        if not stretch.end:
            return
        self.outbox.add(stretch)
        self.mark_dirty()
        self.send_if_due()
        self.pause_writing_if_full()

    cdef Destination checked_destination(self, object addr):
        """The destination for an argument of send_packets(), with errors that name it."""
        if self.connected:
            if addr is not None and addr != self.peer_destination.address:
                raise ValueError(f"addr must be None or {self.peer_destination.address!r}, where the endpoint is "
                                 f"connected to, not {addr!r}")
            return self.peer_destination
        if self.address is not None:
            if addr is not None and addr != self.address:
                raise ValueError(f"addr must be None or {self.address!r}, not {addr!r}")
            addr = self.address
        elif addr is None:
            raise ValueError("addr is needed: the endpoint is not connected")
        try:
            return self.destination_of(addr)
        except (TypeError, ValueError, OverflowError) as exc:
            raise (TypeError if isinstance(exc, TypeError) else ValueError)(f"addr: {exc}") from None

    cdef int accept(self, bytes payload, object address) except -1:
        cdef Stretch stretch = Stretch.__new__(Stretch)
        stretch.destination = self.destination_of(address)
        stretch.packets = (payload,)
        stretch.end = 1
        self.outbox.add(stretch)
        return self.mark_dirty()

    cdef Destination destination_of(self, object address):
        """Where an address leads to; one that comes again and again is the same object."""
        cdef Destination found
        cdef object decoded
        if self.connected:
            return self.peer_destination
        if self.last is not None and address is self.last.address:
            return self.last
        try:
            found = <Destination>self.destinations.get(address)
        except TypeError:
            found = None  # not hashable, and so no address
        if found is None:
            name = encode_destination(self.family, address)
            found = self.new_destination(name, address)
            decoded = decode_address(<const c.sockaddr_storage *>PyBytes_AS_STRING(name),
                                     <c.socklen_t>PyBytes_GET_SIZE(name))
            # The name of a host may come to mean another address.
            if self.family == c.AF_UNIX or decoded[0] == address[0]:
                if len(self.destinations) >= KNOWN_LIMIT:
                    self.destinations.clear()
                self.destinations[address] = found
        # Only what cannot change may be recognised by its identity.
        if type(address) is tuple and address in self.destinations:
            self.last = found
        return found

    cdef Destination new_destination(self, bytes name, object address):
        cdef Destination made = Destination.__new__(Destination)
        made.name = name
        made.address = address
        if self.family == c.AF_UNIX:
            made.limit = NO_LIMIT
            made.route = Route.__new__(Route)
            return made
        made.host = address[0] if name is None else decode_address(
            <const c.sockaddr_storage *>PyBytes_AS_STRING(name), <c.socklen_t>PyBytes_GET_SIZE(name))[0]
        made.six = self.family == c.AF_INET6 and not made.host.startswith("::ffff:")
        made.limit = c.NL_PAYLOAD_LIMIT_6 if made.six else c.NL_PAYLOAD_LIMIT_4
        made.route = self.routes.get(made.host)
        if made.route is None:
            if len(self.routes) >= KNOWN_LIMIT:
                self.routes.clear()
            made.route = self.routes[made.host] = Route.__new__(Route)
        return made

    cdef bytes control_of(self, Destination destination, object source, object ecn, object at):
        """The control messages for what is asked of a packet; checks the arguments."""
        cdef unsigned char[c.NL_SEND_CONTROL_ROOM] memory
        cdef size_t used = 0
        cdef bytes packed
        if self.family == c.AF_UNIX:
            name = "source" if source is not None else "ecn" if ecn is not None else "at"
            raise ValueError(f"{name}: a UNIX socket has no such thing")
        if source is not None:
            lasts = is_lasting(source)
            found = self.sources.get(source) if lasts else None
            if found is None:
                found = packet_options.source_address(self.family, source)
                if len(self.sources) >= KNOWN_LIMIT:
                    self.sources.clear()
                if lasts:
                    self.sources[source] = found
            packed, interface = found
            if len(packed) == 4:
                used = c.nl_control_add_source4(memory, used, PyBytes_AS_STRING(packed), interface)
            else:
                used = c.nl_control_add_source6(memory, used, PyBytes_AS_STRING(packed), interface)
        if ecn is not None:
            used = c.nl_control_add_service(memory, used, destination.six,
                                            checked_number("ecn", ecn, 3) | c.nl_dscp_of(self.file.number,
                                                                                         destination.six))
        if at is not None:
            number = checked_number("at", at, (1 << 63) - 1)
            if not self.timed:
                packet_options.ask_for_times(self.sock)
                self.timed = True
            used = c.nl_control_add_time(memory, used, number)
        return PyBytes_FromStringAndSize(<const char *>memory, used)

    # Sending: what the kernel gets ------------------------------------------------------------------------------

    cdef int send_if_due(self) except -1:
        return self.send_now() if not self.sending and not self.full and self.must_not_wait() else 0

    cdef int send_rest(self) except -1:
        if not self.sending and not self.full and self.state <= NL_DRAINING and (
                self.ring.running or self.ring.is_idle()):
            self.send_now()
        return 0

    cdef bint must_not_wait(self):
        """Is what is in the outbox for now, and not for the turn's end?"""
        if not self.ring.running:
            # Nobody knows when the loop will run again. A thread that the ring is not for can do nothing about it.
            return self.ring.is_idle()
        return self.loop.eager_writes or self.outbox.size >= SEND_NOW or self.outbox.packets >= self.batch_limit

    cdef int on_room(self) except -1:
        self.full = False
        return self.mark_dirty()

    cdef int flush_send(self, Py_ssize_t entries) except -1:
        """Write the next batch, of at most so many sends, unless the last one is not back or waits for room."""
        cdef Py_ssize_t lane
        if self.sending or self.polling or self.pausing is not None or not self.outbox.waiting() or entries <= 0:
            return 0
        if self.full:
            return self.wait_for_room()
        self.sending = self.outbox.build(
            1 if self.congested else min(self.batch_limit, entries),
            c.nl_datagram_room(self.file.number) if self.outbox.packets > 1 else 0)
        for lane in range(self.sending):
            self.prepare_send(lane)
        return 0

    cdef int prepare_send(self, Py_ssize_t number) except -1:
        cdef Lane *lane = &self.outbox.lanes[number]
        if lane.message.msg_controllen or lane.message.msg_iovlen != 1:
            c.nl_prep_sendmsg(self.sqe(), self.file, &lane.message, c.MSG_DONTWAIT,
                              self.token(c.NL_SEND, <unsigned>number))
        else:
            c.nl_prep_sendto(self.sqe(), self.file, lane.message.msg_iov.iov_base, lane.bytes, lane.message.msg_name,
                             lane.message.msg_namelen, c.MSG_DONTWAIT, self.token(c.NL_SEND, <unsigned>number))
        return 0

    cdef int send_now(self) except -1:
        """Send batches without waiting for the turn's end, and take in what has become of them.

        Packets that live until then grow the heap, and would pause a protocol that need not wait.
        """
        cdef int32_t result
        cdef Py_ssize_t lane, count, _
        for _ in range(BATCHES_AT_ONCE):
            self.flush_send(c.nl_ring_space(&self.ring.ring))
            count = self.sending
            if not count:
                break
            self.ring.submit()
            for lane in range(count):
                if not self.take(c.NL_SEND, <unsigned>lane, &result):
                    break
                self.take_sent(<unsigned>lane, result)
            if self.sending or self.state > NL_DRAINING:
                break
        if self.protocol_paused:
            self.loop.call_soon(self._after_sent)
            return 0
        return self.note_drained()

    cdef int take_sent(self, unsigned number, int res) except -1:
        """A send has completed, with a length or -errno."""
        self.sending -= 1
        if self.state >= NL_CANCELLING:
            self.discard()
            return 0
        if self.is_over(number, res):
            self.outbox.sent(number)
            self.note_progress()
        if not self.sending:
            self.outbox.settle()
            if self.outbox.waiting():
                self.mark_dirty()
            else:
                self.congested = False
        return 0

    cdef bint is_over(self, unsigned number, int res) except -1:
        """Is the kernel done with a lane, which it has sent or refused? Otherwise it is to be sent anew."""
        cdef Lane *lane = &self.outbox.lanes[number]
        cdef Destination destination
        if res >= 0:
            self.loop.packets_sent += <uint64_t>lane.packets
            if lane.packets > 1:
                self.outbox.destination(number).route.proven = True
            return True
        if res == -EAGAIN:
            self.full = True
            return False
        if res == -ENOBUFS:
            # The queue of the device is full, of which no poll tells. From now on one send at a time, because a smaller
            # one that is tried with it may find room.
            self.full = self.polled = self.congested = True
            return False
        if res == -EINTR or res == -c.ECANCELED:
            return False
        if self.take_errors(res) or self.refuses_segments(number, res):
            return False
        destination = self.outbox.destination(number)
        mtu = self.mtus.get(destination.host) if res == -EMSGSIZE else None
        self.tell_error_soon(PacketError(-res, os.strerror(-res), destination.address, mtu))
        return True

    cdef bint refuses_segments(self, unsigned number, int res) except -1:
        """Has a send failed because it is one by segmentation? Then this route is sent such packets one by one."""
        cdef Lane *lane = &self.outbox.lanes[number]
        cdef Destination destination = self.outbox.destination(number)
        if lane.packets == 1 or (res != -EINVAL and res != -EIO and res != -EMSGSIZE):
            return False
        if res != -EIO and self.is_too_large(destination, lane.size):
            # Smaller ones may go.
            destination.route.refused_from = min(destination.route.refused_from, lane.size)
        else:
            destination.route.refused_from = 0
        self.loop.segmentation_refused += 1
        return True

    cdef bint is_too_large(self, Destination destination, Py_ssize_t size) except -1:
        """Is a datagram larger than a packet may be on the way to a destination?"""
        try:
            return size > packet_options.path_mtu(self.sock, destination.address, self.connected) - (
                48 if destination.six else 28)
        except OSError:
            return True  # nobody knows

    cdef bint take_errors(self, int res) except -1:
        """Tell the protocol what is in the error queue, after a call has failed with `res`.

        Says whether the call has failed for an earlier packet's sake. Several calls may be in flight when packets meet
        errors, and the first of them that is taken in finds what all have failed for.
        """
        cdef c.nl_send_error found
        if self.family == c.AF_UNIX:
            return False
        if self.loop.turns > self.errors_turn + 1:
            self.errors.clear()
            self.mtus.clear()
        while c.nl_send_error_take(self.file.number, &found):
            if not found.error:
                continue  # it tells of a packet that has gone, which nobody has asked for here
            self.errors_turn = self.loop.turns
            destination = decode_address(&found.destination, found.destination_length)
            mtu = found.info if found.error == EMSGSIZE and found.info else None
            if found.origin == c.NL_ORIGIN_LOCAL:
                # The send itself fails too, and is told of by that.
                if destination is not None:
                    self.mtus[destination[0]] = mtu
                continue
            self.errors.add(found.error)
            self.tell_error_soon(PacketError(found.error, os.strerror(found.error), destination, mtu,
                                             decode_address(&found.offender, found.offender_length)))
        return -res in self.errors

    # Flow control -----------------------------------------------------------------------------------------------

    cdef bint is_full(self) noexcept:
        return self.outbox.size > self.high_water or self.outbox.packets > self.high_packets

    cdef int pause_writing_if_full(self) except -1:
        if self.protocol_paused or not self.is_full():
            return 0
        self.protocol_paused = True
        return self.tell_flow("pause_writing")

    cdef int resume_writing_if_drained(self) except -1:
        if self.outbox.packets > self.low_packets:
            return 0
        return DatagramBase.resume_writing_if_drained(self)

    def set_write_buffer_limits(self, high=None, low=None, packets=None):
        """Set the water marks, in bytes, and the most packets that may wait before the protocol is paused.

        It goes on when no more than ``low`` bytes and a quarter of so many packets wait. None leaves asyncio's marks,
        and 1024 packets.
        """
        cdef Py_ssize_t most = HIGH_PACKETS if packets is None else checked_number("packets", packets, 1 << 40)
        DatagramBase.set_write_buffer_limits(self, high, low)
        self.high_packets, self.low_packets = most, most // 4
        self.pause_writing_if_full()

    # Groups and paths -------------------------------------------------------------------------------------------

    def join(self, group, interface=None):
        """Receive what is sent to a multicast group; ``interface`` is a name or an index, None for the system's choice.

        Raises OSError where the kernel refuses, TypeError or ValueError for what is no group or interface.
        """
        self.check_open()
        packet_options.change_membership(self.sock, group, interface, True)

    def leave(self, group, interface=None):
        """Undo join(), with the same arguments."""
        self.check_open()
        packet_options.change_membership(self.sock, group, interface, False)

    def mtu(self, addr=None):
        """The largest IP packet, in bytes, that the path to an address takes, as far as the kernel knows.

        A UDP payload is 28 bytes smaller with IPv4, 48 with IPv6. The kernel learns it from packets that were too
        large, and only where ``dont_fragment`` lets it.
        """
        cdef Destination destination
        self.check_open()
        if self.family == c.AF_UNIX:
            raise ValueError("a UNIX socket has no path")
        destination = self.checked_destination(addr)
        return packet_options.path_mtu(self.sock, destination.address, self.connected)

    cdef int check_open(self) except -1:
        self.check_thread()
        if self.state > NL_CANCELLING:
            raise OSError(errno.EBADF, "the endpoint is closed")
        return 0


cdef bint is_lasting(object source):
    """Will a source always mean what it means now? The name of an interface may come to mean another one."""
    cdef object host = source, interface = None
    if type(source) is tuple and len(source) == 2:
        host, interface = source
    return type(host) is str and "%" not in host and (interface is None or type(interface) is int)


cdef tuple checked_packets(object payloads, Py_ssize_t limit):
    """The packets of a call as bytes; TypeError or ValueError for the first that is none or too large."""
    cdef tuple packets
    cdef Py_ssize_t index
    if isinstance(payloads, (str, bytes, bytearray, memoryview)):
        raise TypeError(f"payloads must be a sequence of bytes-like objects, not {type(payloads).__name__}; for one "
                        "that is to be cut, give segment_size")
    try:
        packets = tuple(payloads)
    except TypeError:
        raise TypeError(f"payloads must be a sequence of bytes-like objects, not {type(payloads).__name__}") from None
    for index in range(len(packets)):
        if type(<object>packets[index]) is not bytes:
            packets = tuple([as_bytes(each, f"payloads[{at}]") for at, each in enumerate(packets)])
            break
    for index in range(len(packets)):
        if PyBytes_GET_SIZE(<bytes>packets[index]) > limit:
            raise ValueError(f"payloads[{index}] has {len(packets[index])} bytes; a datagram to there has {limit} at "
                             "most")
    return packets


cdef bytes as_bytes(object data, str argument):
    """A snapshot of what the caller may go on to change."""
    if type(data) is bytes:
        return data
    if not isinstance(data, (bytes, bytearray, memoryview)):
        try:
            data = memoryview(data)
        except TypeError:
            raise TypeError(f"{argument} must be a bytes-like object, not {type(data).__name__}") from None
    return bytes(data)


cdef bytes one_payload(object payload):
    if isinstance(payload, (list, tuple)):
        raise TypeError(f"payloads must be one bytes-like object where segment_size is given, not "
                        f"{type(payload).__name__}")
    return as_bytes(payload, "payloads")


cdef Py_ssize_t checked_size(object size, Py_ssize_t limit) except -1:
    cdef object number = checked_number("segment_size", size, limit)
    if not number:
        raise ValueError("segment_size must be at least 1, not 0")
    return number


cdef object checked_number(str argument, object value, object most):
    """An argument that is a number from 0 on."""
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{argument} must be an int, not {type(value).__name__}") from None
    if not 0 <= number <= most:
        raise ValueError(f"{argument} must be from 0 to {most}, not {number}")
    return number


cdef int check_size(size_t size, size_t head, bint coalesces) except -1:
    """Does a buffer of a pool take what is put before a payload, and as much payload as there may be at once?"""
    if coalesces and size < head + COALESCED_LIMIT:
        raise ValueError(f"pool has buffers of {size} bytes, and with gro they need {head + COALESCED_LIMIT} at least, "
                         f"for datagrams that are coalesced; without gro, {head} bytes more than the largest datagram "
                         "suffice")
    if size <= head:
        raise ValueError(f"pool has buffers of {size} bytes, and they need {head + 1} at least: {head} are for what is "
                         "told of a datagram, and the rest is for the datagram")
    return 0


def make_packets(LoopCore loop, sock, protocol, address, waiter, dict extra, size_t control_room, pool):
    """A transport over a datagram socket, which it owns from now on; it starts in the next turn.

    ``address`` is the only destination of a socket that is not connected, or None. ``control_room`` is how much the
    options of the socket make the kernel tell of each packet; see packet_options.configure(). ``pool`` is the
    BufferPool to receive into, or None.
    """
    cdef PacketTransport transport = PacketTransport.__new__(PacketTransport)
    cdef bint unix = sock.family == c.AF_UNIX
    if pool is not None:
        transport.leases = LeaseReceiver()
        transport.leases.use(pool, loop, "pool must be")
        check_size(pool.size, c.NL_DATAGRAM_HEAD + control_room, packet_options.coalesces(sock))
    extra = names_of(sock, extra)
    transport.family = sock.family
    transport.batch_limit = 1 if unix else 64
    transport.outbox = PacketOutbox(packet_options.segments_of(sock))
    transport.receive_message.msg_controllen = control_room
    transport.address = address or None
    if not unix:
        transport.port = extra["sockname"][1]
    transport.dropped = c.nl_datagram_drops(sock.fileno())
    # A pair of UNIX sockets is connected though neither end has a name.
    transport.connected = extra["peername"] is not None
    if transport.connected:
        transport.peer_destination = transport.new_destination(None, extra["peername"])
    transport.own(loop, loop.ring, c.nl_descriptor(sock.fileno()), sock, protocol, PyContext_CopyCurrent(), extra)
    transport._own_descriptor(transport.file.number)
    loop.call_soon(transport._begin, waiter)
    return transport
