from libc.stdint cimport int32_t

from netloop._socket_transport cimport SocketTransport


cdef class StreamReceiver(SocketTransport):
    cdef bint buffered
    # Is the protocol a ByteTaker?
    cdef bint takes_bytes
    cdef bint receiving
    cdef bint receive_cancelled
    # Does it receive by itself, without the group? How many receives in a row have spoken for the other way?
    cdef bint alone
    cdef int in_a_row
    # The operation that receives or polls.
    cdef unsigned armed
    # The memory of a receive that the kernel did not take at once.
    cdef bytes held
    cdef Py_buffer view
    cdef bint view_held

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
    cdef int on_view_filled(self, int res) except -1
    cdef int release_view(self) except -1
