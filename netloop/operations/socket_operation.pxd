cimport cython

from netloop.core.cext cimport iovec, msghdr, sockaddr_storage, socklen_t
from netloop.core.turn cimport LoopCore
from netloop.operations.operation cimport Operation, Unclaimed


cdef enum:
    # An entry's length has 32 bits, and the kernel moves at most 2 GiB at once.
    MOST_AT_ONCE = 1 << 30


cdef class SocketOperation(Operation):
    cdef Unclaimed unclaimed
    cdef object sock
    cdef bint writing
    # Is it one of those that its socket's next operations must not overtake?
    cdef bint cancel_pending

    cdef begin(self, LoopCore loop, Unclaimed unclaimed, object sock, int fd, unsigned op)
    cdef bint serve(self) except -1
    cdef object digest(self, object data, object address)
    cdef tuple entry_of(self, object value)
    cdef Py_ssize_t room(self)
    cdef bint is_open(self)


@cython.final
cdef class Receive(SocketOperation):
    cdef unsigned length


cdef class BufferOperation(SocketOperation):
    cdef Py_buffer view
    cdef bint exported

    cdef int export(self, object target, int flags) except -1
    cdef int release(self) except -1


cdef class Message(BufferOperation):
    cdef msghdr header
    cdef iovec vector
    cdef sockaddr_storage name

    cdef int point_at(self, void *data, size_t length) noexcept
    cdef object address(self)


@cython.final
cdef class ReceiveFrom(Message):
    cdef bint with_address
    cdef Py_ssize_t length
    cdef bytes data  # memory of its own, where a buffer of the group does not do


@cython.final
cdef class ReceiveInto(Message):
    cdef bint with_address
    cdef object target
    cdef Py_ssize_t length
    # What the target held when the awaiter was cancelled.
    cdef bytes held

    cdef bytes received(self, object value)


@cython.final
cdef class SendAll(BufferOperation):
    # Bytes the kernel has taken, also of a send that was cancelled or failed.
    cdef readonly Py_ssize_t sent


@cython.final
cdef class SendTo(Message):
    cdef bint polling
    cdef bint counting
    cdef bint full
    cdef double pause

    cdef int address_to(self, bytes name) except -1
    cdef int come_back(self) except -1


@cython.final
cdef class Readiness(SocketOperation):
    pass


@cython.final
cdef class Connect(SocketOperation):
    cdef sockaddr_storage name
    cdef socklen_t length
    cdef object address


cdef object os_error(int error)
cdef int family_of(object sock) except -1
