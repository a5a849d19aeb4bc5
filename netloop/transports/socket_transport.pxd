from netloop.transports.address cimport ShortAddress
from netloop.core.cext cimport flag, nl_file, sockaddr_storage, socklen_t
from netloop.transports.fixed_socket cimport Origin
from netloop.core.turn cimport LoopCore
from netloop.transports.base cimport ReadingTransport

cdef enum:
    # A write buffer of so many bytes is not kept until the turn's end.
    SEND_NOW = 16 * 1024


cdef class SocketTransport(ReadingTransport):
    # A socket object. That of a connection without a descriptor is made when somebody asks for it, from what follows.
    cdef object sock
    cdef Origin origin
    cdef nl_file file
    cdef ShortAddress peer
    cdef flag started
    cdef flag parting
    cdef flag farewell_due
    cdef flag parted

    cdef int own(self, LoopCore loop, nl_file file, object sock, object protocol, object context,
                 dict extra) except -1
    cdef int come_from(self, Origin origin, const sockaddr_storage *address, socklen_t length) except -1
    cdef object socket_object(self)
    cdef int begin(self) except -1
    cdef int part(self) except -1
    cdef int close_file(self) except -1
    cdef int leave_ring(self) except -1
    cdef bint has_receive(self) noexcept
    cdef bint has_sends(self) noexcept


cdef dict names_of(object sock, dict extra)
cdef object os_error(int res)
