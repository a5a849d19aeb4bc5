from netloop.core.cext cimport sockaddr, sockaddr_in, sockaddr_in6, sockaddr_storage, socklen_t


# For an address of the internet, or that of a UNIX socket that has none.
cdef union ShortAddress:
    sockaddr any
    sockaddr_in four
    sockaddr_in6 six


cdef class Peer:
    cdef bytes name
    cdef object address


cdef Peer known_peer(const sockaddr_storage *storage, socklen_t length)
cdef object decode_address(const sockaddr_storage *storage, socklen_t length)
cdef bint shorten_address(const sockaddr_storage *storage, socklen_t length, ShortAddress *kept) noexcept
cdef object decode_short(const ShortAddress *kept)
cdef socklen_t encode_address(int family, object address, sockaddr_storage *storage) except 0
cdef bytes encode_destination(int family, object address)
