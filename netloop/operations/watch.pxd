from netloop.core.turn cimport LoopCore
from netloop.core.ring cimport Endpoint
from netloop.core.scheduler cimport Handle


cdef class Watch(Endpoint):
    cdef LoopCore loop
    cdef readonly int fd
    cdef Handle reader
    cdef Handle writer
    cdef unsigned armed
    cdef bint cancelled

    cdef object replace(self, bint reading, Handle handle)
    cdef int leave(self) except -1
    cdef unsigned wanted(self)
