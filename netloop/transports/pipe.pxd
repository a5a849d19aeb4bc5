cimport cython

from netloop.core.cext cimport flag
from netloop.core.pool cimport BufferPool, Lease, LeaseReceiver
from netloop.core.ring cimport BufferGroup
from netloop.transports.base cimport ReadingTransport, Transport
from netloop.transports.outbox cimport Outbox


@cython.final
cdef class ReadPipeTransport(ReadingTransport):
    cdef object pipe
    cdef int fd
    # May each read be a message? It then needs a buffer that is large enough.
    cdef flag messages
    # Is there no multishot read for this file?
    cdef flag single
    cdef flag must_poll
    # The operation that reads or polls, 0 for none, and whether it was cancelled.
    cdef unsigned char read_op
    cdef flag read_cancelled
    # The pool read into, if the protocol is or was a LeaseProtocol.
    cdef LeaseReceiver leases

    cdef BufferGroup group(self)
    cdef int choose_pool(self, object protocol, bint wanted) except -1
    cdef bint wants_leases(self) noexcept
    cdef bint reads_elsewhere(self) noexcept
    cdef int arm(self) except -1
    cdef int on_read(self, int res, unsigned flags) except -1
    cdef int on_leased(self, int res, unsigned flags) except -1
    cdef int on_nothing(self, int res) except -1
    cdef int starve(self, BufferPool pool) except -1
    cdef int deliver_lease(self, Lease lease) except -1
    cdef int receive_data(self, int length, unsigned flags) except -1
    cdef int note_full_buffer(self, int length) except -1


@cython.final
cdef class WritePipeTransport(Transport):
    cdef object pipe
    cdef int fd
    # Is each write a message? See keeps_messages().
    cdef flag messages
    cdef Outbox outbox
    # The operation that writes or polls, 0 for none, and whether it was cancelled.
    cdef unsigned char write_op
    cdef flag write_cancelled
    cdef flag must_poll
    cdef flag watched
    cdef flag watching
    cdef flag watch_cancelled

    cdef int flush_write(self) except -1
    cdef int flush_cancel(self) except -1
    cdef int on_written(self, int res) except -1
    cdef int on_reader_gone(self) except -1
    cdef int accept_write(self, bytes piece) except -1
    cdef bint must_not_wait(self) noexcept
    cdef int write_at_once(self) except -1
