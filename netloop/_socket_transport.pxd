from netloop._cext cimport flag, nl_file
from netloop._loop cimport LoopCore
from netloop._transport cimport ReadingTransport

cdef enum:
    # A write buffer of so many bytes is not kept until the turn's end.
    SEND_NOW = 16 * 1024


cdef class SocketTransport(ReadingTransport):
    cdef object sock
    cdef nl_file file
    cdef flag started
    cdef flag parting
    cdef flag farewell_due
    cdef flag parted

    cdef int own(self, LoopCore loop, nl_file file, object sock, object protocol, object context,
                 dict extra) except -1
    cdef int begin(self) except -1
    cdef int part(self) except -1
    cdef int close_file(self) except -1
    cdef int leave_ring(self) except -1
    cdef bint has_receive(self) noexcept
    cdef bint has_sends(self) noexcept


cdef dict names_of(object sock, dict extra)
cdef object os_error(int res)
