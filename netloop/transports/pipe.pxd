from netloop.transports.outbox cimport Outbox
from netloop.transports.base cimport ReadingTransport, Transport


cdef class ReadPipeTransport(ReadingTransport):
    cdef object pipe
    cdef int fd
    cdef bint started
    cdef bint single
    cdef bint must_poll
    cdef unsigned armed
    cdef bint cancelled

    cdef int arm(self) except -1
    cdef int on_read(self, int res, unsigned flags) except -1
    cdef int receive_data(self, int length, unsigned flags) except -1
    cdef int finish(self) except -1


cdef class WritePipeTransport(Transport):
    cdef object pipe
    cdef int fd
    cdef bint started
    cdef Outbox outbox
    cdef unsigned armed
    cdef bint cancelled
    cdef bint must_poll
    cdef bint watched
    cdef bint watching
    cdef bint watch_cancelled

    cdef int flush_write(self) except -1
    cdef int flush_cancel(self) except -1
    cdef int on_written(self, int res) except -1
    cdef int on_reader_gone(self) except -1
    cdef int accept_write(self, bytes piece) except -1
    cdef bytes write_outside(self, bytes piece)
    cdef int finish(self) except -1
