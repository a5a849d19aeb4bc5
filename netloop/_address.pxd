from netloop._cext cimport sockaddr, sockaddr_storage, socklen_t

cdef object decode_address(const sockaddr_storage *storage, socklen_t length)
cdef socklen_t encode_address(int family, object address, sockaddr_storage *storage) except 0
cdef bytes encode_destination(int family, object address)
