# cython: language_level=3, boundscheck=False, wraparound=False
"""What write() or sendto() has accepted and the kernel has not sent yet."""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_Check, PyBytes_GET_SIZE
from cpython.ref cimport PyObject, Py_DECREF, Py_INCREF, Py_XDECREF
from libc.stdlib cimport free, realloc
from libc.string cimport memset

from netloop.core cimport cext as c
from netloop.core.pool cimport ZERO_COPY_NEVER, Lease

cdef enum:
    # The kernel takes at most 1024 pieces in one message (UIO_MAXIOV).
    VECTORS_LIMIT = 1024
    VECTORS_FIRST = 8
    # One send covers at most this much, so that the write buffer's size shrinks, and a protocol may go on writing,
    # while a large transfer is still under way. The last piece may exceed it only by being cut.
    SEND_LIMIT = 256 * 1024
    # The kernel takes no more in one write (MAX_RW_COUNT).
    WRITE_LIMIT = 0x7ffff000
    # Pieces sent are dropped from the list's front in batches of this size.
    TRIM = 256


# The outbox of a stream: a queue of bytes objects and leases, sent in place.
#
# outbox_gather() describes the next send; outbox_advance() tells how much of it the kernel took. Between the two, the
# pieces described must not move or go away, whatever is added meanwhile: they are objects of their own, and those in a
# queue stay in its list, which only grows at its end.
#
# Most connections send one piece at a time, and most have nothing to send. So an outbox is two fields of its transport;
# a queue is made for the second piece and goes when all is sent.

cdef inline Py_ssize_t length_of(object piece) noexcept:
    return PyBytes_GET_SIZE(piece) if PyBytes_Check(piece) else (<Lease>piece).length


cdef inline char *data_of(object piece) noexcept:
    return PyBytes_AS_STRING(piece) if PyBytes_Check(piece) else <char *>(<Lease>piece).data


cdef PieceQueue queue_of(Outbox *box):
    """The outbox as a queue, which it becomes if it is none."""
    cdef PieceQueue queue
    if box.waiting != NULL and not PyBytes_Check(<object>box.waiting):
        return <PieceQueue>box.waiting
    queue = PieceQueue.__new__(PieceQueue)
    queue.pieces = []
    if box.waiting != NULL:
        queue.pieces.append(<object>box.waiting)
        queue.offset = PyBytes_GET_SIZE(<object>box.waiting) - box.size
        Py_DECREF(<object>box.waiting)
    Py_INCREF(queue)
    box.waiting = <PyObject *>queue
    return queue


cdef int outbox_add_another(Outbox *box, bytes piece) except -1:
    """Add a piece where others wait."""
    if not PyBytes_GET_SIZE(piece):
        return 0
    queue_of(box).pieces.append(piece)
    box.size += PyBytes_GET_SIZE(piece)
    return 0


cdef int outbox_add_lease(Outbox *box, Lease lease) except -1:
    """Take a lease over that can be sent, and is not empty."""
    cdef PieceQueue queue
    lease.hand_over()
    queue = queue_of(box)
    queue.has_leases = True
    queue.pieces.append(lease)
    box.size += lease.length
    return 0


cdef Py_ssize_t outbox_gather(Outbox *box, NextSend *send) except -1:
    """Describe the next send; returns its length, 0 when there is nothing to send."""
    if box.waiting == NULL:
        return 0
    send.message = NULL
    if not PyBytes_Check(<object>box.waiting):
        return (<PieceQueue>box.waiting).gather(send)
    send.data = PyBytes_AS_STRING(<object>box.waiting) + PyBytes_GET_SIZE(<object>box.waiting) - box.size
    return min(box.size, <Py_ssize_t>SEND_LIMIT)


cdef Py_ssize_t outbox_next_piece(Outbox *box, NextSend *send) except -1:
    """Describe a send of what is left of the first piece, and of that alone; returns its length, 0 without a piece."""
    if box.waiting == NULL:
        return 0
    send.message = NULL
    if not PyBytes_Check(<object>box.waiting):
        return (<PieceQueue>box.waiting).next_piece(send)
    send.data = PyBytes_AS_STRING(<object>box.waiting) + PyBytes_GET_SIZE(<object>box.waiting) - box.size
    return min(box.size, <Py_ssize_t>WRITE_LIMIT)


cdef list outbox_leases(Outbox *box, Py_ssize_t length):
    """The leases that a send of so many bytes from the front is made of; None if anything else is in it.

    Or if the pool of one wants what it sends to be copied.
    """
    cdef PieceQueue queue = <PieceQueue>box.waiting
    cdef Py_ssize_t at = queue.first
    cdef list leases = []
    length += queue.offset
    while length > 0:
        piece = queue.pieces[at]
        if PyBytes_Check(piece) or (<Lease>piece).pool.zero_copy == ZERO_COPY_NEVER:
            return None
        leases.append(piece)
        length -= (<Lease>piece).length
        at += 1
    return leases


cdef int outbox_advance(Outbox *box, Py_ssize_t sent) except -1:
    """The kernel has taken `sent` bytes from the front."""
    box.size -= sent
    if not box.size:
        if outbox_has_leases(box):
            (<PieceQueue>box.waiting).finish(len((<PieceQueue>box.waiting).pieces), True)
        outbox_clear(box)
    elif not PyBytes_Check(<object>box.waiting):
        (<PieceQueue>box.waiting).advance(sent)
    return 0


cdef int outbox_clear(Outbox *box) noexcept:
    """Forget everything. Nothing of it may be in flight."""
    cdef PyObject *waiting = box.waiting
    box.waiting = NULL
    box.size = 0
    Py_XDECREF(waiting)
    return 0


@cython.no_gc
@cython.freelist(8)
cdef class PieceQueue:
    """Several bytes objects of an outbox, or leases."""

    def __dealloc__(self):
        if self.has_leases:
            self.finish(len(self.pieces), False)
        free(self.message)

    cdef int finish(self, Py_ssize_t count, bint sent) except -1:
        """Drop the first `count` pieces of the list, which were sent or will not be."""
        while self.first < count:
            piece = self.pieces[self.first]
            self.pieces[self.first] = None
            self.first += 1
            if not PyBytes_Check(piece):
                (<Lease>piece).finish(sent)
        return 0

    cdef Py_ssize_t gather(self, NextSend *send) except -1:
        cdef Py_ssize_t count = 0, total = 0, start = self.offset, length
        cdef Py_ssize_t waiting = min(len(self.pieces) - self.first, <Py_ssize_t>VECTORS_LIMIT)
        cdef c.iovec *vectors
        cdef object piece
        if not waiting:
            return 0
        if waiting == 1:
            return min(self.next_piece(send), <Py_ssize_t>SEND_LIMIT)
        if waiting > self.capacity:
            self.reserve(waiting)
        vectors = self.message.msg_iov
        while count < waiting and total < SEND_LIMIT:
            piece = self.pieces[self.first + count]
            length = min(length_of(piece) - start, SEND_LIMIT - total)
            vectors[count].iov_base = data_of(piece) + start
            vectors[count].iov_len = length
            total += length
            start = 0
            count += 1
        if count > 1:
            self.message.msg_iovlen = count
            send.message = self.message
        else:
            send.data = <const char *>vectors[0].iov_base
        return total

    cdef Py_ssize_t next_piece(self, NextSend *send) except -1:
        cdef object piece = self.pieces[self.first]
        send.data = data_of(piece) + self.offset
        return min(length_of(piece) - self.offset, <Py_ssize_t>WRITE_LIMIT)

    cdef int reserve(self, Py_ssize_t count) except -1:
        """Have room to describe so many pieces. Nothing may be in flight."""
        cdef Py_ssize_t capacity = max(self.capacity, <Py_ssize_t>VECTORS_FIRST)
        while capacity < count:
            capacity *= 2
        cdef c.msghdr *message = <c.msghdr *>realloc(self.message, sizeof(c.msghdr) + capacity * sizeof(c.iovec))
        if message == NULL:
            raise MemoryError("no memory to describe a send")
        memset(message, 0, sizeof(c.msghdr))
        message.msg_iov = <c.iovec *>(message + 1)
        self.message = message
        self.capacity = capacity
        return 0

    cdef int advance(self, Py_ssize_t sent) except -1:
        """Drop what the kernel has taken; something is left."""
        cdef Py_ssize_t rest
        while sent:
            rest = length_of(self.pieces[self.first]) - self.offset
            if sent < rest:
                self.offset += sent
                break
            sent -= rest
            self.offset = 0
            if self.has_leases:
                self.finish(self.first + 1, True)
            else:
                self.pieces[self.first] = None
                self.first += 1
        if self.first >= TRIM:
            del self.pieces[:self.first]
            self.first = 0
        return 0


cdef class FileSend:
    """What a stream transport knows of a file that is being sent."""

    cdef object wait(self, LoopCore loop, Py_ssize_t limit):
        """A future that is done when no more than `limit` bytes are left to send, and fails when the end comes."""
        self.limit = limit
        self.waiter = loop.create_future()
        return self.waiter

    cdef int on_sent(self, Py_ssize_t left) except -1:
        if self.waiter is not None and left <= self.limit:
            waiter, self.waiter = self.waiter, None
            if not waiter.done():
                waiter.set_result(None)
        return 0

    cdef int on_end(self) except -1:
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_exception(ConnectionError("Connection is closed by peer"))
        return 0


cdef class DatagramOutbox:
    """A queue of datagrams, sent in place, a batch at a time.

    Lane i of a batch is the i-th datagram from the front. payload() and name() are what to send, sent() tells that it
    is gone, and settle(), when the whole batch is back, moves the queue on to what was not sent. The objects that the
    kernel reads from stay in the lists until it is done with them, and the lanes do not move.
    """

    def __cinit__(self, Py_ssize_t header):
        self.payloads = []
        self.names = []
        self.header = header  # what a datagram counts for beside its payload, in bytes

    cdef int add(self, bytes payload, bytes name) except -1:
        """Queue a datagram for a socket address; a name of None is where the socket is connected to."""
        self.payloads.append(payload)
        self.names.append(name)
        self.size += PyBytes_GET_SIZE(payload) + self.header
        return 0

    cdef Py_ssize_t fitting(self, Py_ssize_t count, long room):
        """How many of the next `count` datagrams fit into `room` bytes of the socket's buffer; at least one."""
        cdef Py_ssize_t fit = 0
        while fit < count:
            room -= c.nl_datagram_charge(PyBytes_GET_SIZE(<bytes>self.payloads[self.first + fit]))
            if room < 0:
                break
            fit += 1
        return max(fit, 1)

    cdef int sent(self, Py_ssize_t lane) except -1:
        """The kernel is done with a datagram, which it has sent or refused."""
        self.size -= PyBytes_GET_SIZE(<bytes>self.payloads[self.first + lane]) + self.header
        self.payloads[self.first + lane] = None
        return 0

    cdef int settle(self) except -1:
        """The batch is back: drop what was sent, put what was not in front of what came later."""
        cdef Py_ssize_t at, kept = 0, end = min(self.first + self.batch, <Py_ssize_t>len(self.payloads))
        # From the back, so that what stays moves up to the datagrams that were never in the batch.
        for at in range(end - 1, self.first - 1, -1):
            if self.payloads[at] is not None:
                kept += 1
                self.payloads[end - kept] = self.payloads[at]
                self.names[end - kept] = self.names[at]
        self.first = end - kept
        if self.first == len(self.payloads):
            return self.clear()
        if self.first >= TRIM:
            del self.payloads[:self.first]
            del self.names[:self.first]
            self.first = 0
        return 0

    cdef int clear(self) except -1:
        """Forget everything. Nothing of it may be in flight."""
        self.payloads.clear()
        self.names.clear()
        self.first = self.size = 0
        return 0
