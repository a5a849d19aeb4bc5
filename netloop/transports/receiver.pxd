from libc.stdint cimport int32_t

from netloop.core.cext cimport flag
from netloop.transports.socket_transport cimport SocketTransport


cdef class ProtocolBuffer:
    cdef Py_buffer view


cdef class StreamReceiver(SocketTransport):
    # The memory of a receive that the kernel did not take at once: bytes or a ProtocolBuffer.
    cdef object held
    cdef flag buffered
    # Is the protocol a ByteTaker?
    cdef flag takes_bytes
    cdef flag receiving
    cdef flag receive_cancelled
    # Does it receive by itself, without the group? How many receives in a row have spoken for the other way?
    cdef flag alone
    cdef unsigned char in_a_row
    # The operation that receives or polls.
    cdef unsigned char armed

    cdef int flush_receive(self) except -1
    cdef int note_large(self, int length) except -1
    cdef int on_received(self, int res, unsigned flags) except -1
    cdef int receive_data(self, int length, unsigned flags) except -1
    cdef int put_back(self, const unsigned char *data, Py_ssize_t length) except -1
    cdef int fill_buffers(self, const unsigned char *data, Py_ssize_t length) except -1
    cdef int fill_buffer(self, const unsigned char *data, Py_ssize_t length, Py_ssize_t *used) except -1
    cdef int on_readable(self, int res) except -1
    cdef int32_t receive_now(self, void *memory, size_t length) except? -1
    cdef int receive_bytes(self) except -1
    cdef int receive_own(self, object data) except -1
    cdef int receive_nothing(self, int res) except -1
    cdef int receive_into_protocol(self) except -1
    cdef int updated(self, Py_ssize_t length) except -1
    cdef int on_filled(self, int res) except -1
