# cython: language_level=3, boundscheck=False, wraparound=False
"""The transport for datagrams of families whose addresses only Python's socket module can translate.

AF_NETLINK, AF_PACKET, AF_CAN and others: their addresses have forms of their own, which the module reads and writes in
the calls that receive and send, and nowhere else. So the ring only tells when the socket is ready, and those calls are
made here.
"""

from collections import deque

cimport cython
from cpython.bytes cimport PyBytes_GET_SIZE

from netloop.core cimport cext as c
from netloop.core.cext cimport NL_CANCELLING, NL_DRAINING
from netloop.transports.base cimport os_error
from netloop.transports.datagram_base cimport DatagramBase, header_size


cdef extern from "<poll.h>":
    enum:
        POLLIN

cdef extern from "<sys/socket.h>":
    enum:
        MSG_TRUNC

cdef enum:
    # The poll for datagrams to receive; lane 0 is the one for room to send.
    RECEIVE_LANE = 1
    # Datagrams received when the socket is ready, before others have their turn.
    AT_ONCE = 64


@cython.final
cdef class ForeignDatagramTransport(DatagramBase):
    """asyncio.DatagramTransport over a socket whose own methods receive and send."""

    def __cinit__(self):
        self.waiting = deque()

    cdef bint has_sends(self) noexcept:
        return False

    cdef Py_ssize_t unsent(self) noexcept:
        return self.waiting_size

    cdef int discard(self) except -1:
        self.untold.clear()
        self.waiting.clear()
        self.waiting_size = 0
        return 0

    cdef int on_flush(self) except -1:
        if self.state >= NL_CANCELLING:
            self.stop_waiting()
        elif self.waiting and not self.polling and self.pausing is None:
            self.wait_for_room()
        return self.flush_receive()

    cdef int flush_receive(self) except -1:
        """Ask to be told of datagrams, or no more, as wanted."""
        cdef bint wanted = self.wants_data()
        if wanted and not self.receiving:
            c.nl_prep_poll(self.sqe(), self.file, POLLIN, self.token(c.NL_POLL, RECEIVE_LANE))
            self.receiving = True
        elif self.receiving and not wanted and not self.receive_cancelled:
            self.write_cancel(c.NL_POLL, RECEIVE_LANE)
            self.receive_cancelled = True
        return 0

    cdef int on_completion(self, unsigned op, unsigned lane, int res, unsigned flags) except -1:
        # Marked before the protocol is called, because an exit from there must not leave it without a poll.
        self.mark_dirty()
        if lane != RECEIVE_LANE:
            self.on_polled(res)
        else:
            self.receiving = self.receive_cancelled = False
            if res > 0:
                self.receive()
            elif res != -c.ECANCELED and self.state < NL_CANCELLING:
                self.fail(os_error(res), "Fatal poll error on datagram transport")
        return self.note_quiet()

    # Receiving --------------------------------------------------------------------------------------------------

    cdef int receive(self) except -1:
        """Receive and deliver what is there; what is left over, the next poll tells of."""
        cdef int _
        for _ in range(AT_ONCE):
            if not self.wants_data() or not self.receive_one():
                break
        return 0

    cdef bint receive_one(self) except -1:
        """Says whether there may be more."""
        try:
            payload, _, flags, address = self.sock.recvmsg(c.NL_DATAGRAM_LIMIT)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as exc:
            self.tell_error(exc)
            return False
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            self.fail(exc, "Fatal read error on datagram transport")
            return False
        if flags & MSG_TRUNC:
            self.note_cut(len(payload))
        self.deliver_datagram(payload, address)
        return True

    # Sending ----------------------------------------------------------------------------------------------------

    cdef int accept(self, bytes payload, object address) except -1:
        # Behind those that wait, or it would overtake them.
        if self.waiting or not self.try_to_send(payload, address):
            self.waiting.append((payload, address))
            self.waiting_size += PyBytes_GET_SIZE(payload) + header_size
            self.mark_dirty()
        return 0

    cdef bint try_to_send(self, bytes payload, object address) except -1:
        """Says whether there was room. Raises what the socket module or the kernel has against it."""
        try:
            # Not as in asyncio an address counts even where the socket names a peer: a netlink socket always does.
            if self.connected and (address is None or address is self.address):
                self.sock.send(payload)
            else:
                self.sock.sendto(payload, address)
        except (BlockingIOError, InterruptedError):
            return False
        return True

    cdef int on_room(self) except -1:
        return self.send_waiting() if self.state <= NL_DRAINING else 0

    cdef int send_waiting(self) except -1:
        """Send what waits, in order, until there is no room again."""
        cdef Py_ssize_t _
        self.mark_dirty()
        # Not those that the protocol adds when it is told of an error; and if it aborts, none is left.
        for _ in range(len(self.waiting)):
            if not self.waiting:
                break
            payload, address = self.waiting[0]
            error = None
            try:
                if not self.try_to_send(payload, address):
                    break
            except OSError as exc:
                error = exc
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as exc:
                return self.fail(exc, "Fatal write error on datagram transport")
            self.waiting.popleft()
            self.waiting_size -= PyBytes_GET_SIZE(payload) + header_size
            self.note_progress()
            if error is not None:
                self.tell_error(error)
        return self.after_sent()
