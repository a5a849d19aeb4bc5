from netloop.core.cext cimport flag, nl_event, nl_file, sockaddr_storage, socklen_t
from netloop.core.ring cimport Endpoint, Ring
from netloop.core.turn cimport LoopCore
from netloop.transports.address cimport ShortAddress
from netloop.transports.fixed_socket cimport Origin

cdef enum:
    HIGH_WATER = 64 * 1024


cdef class ByteTaker:
    cdef int take(self, const unsigned char *data, Py_ssize_t length) except -1


cdef class Transport(Endpoint):
    cdef LoopCore loop
    cdef object protocol
    cdef object context
    cdef dict extra
    cdef object error
    cdef dict __dict__
    cdef object __weakref__
    cdef Py_ssize_t high_water
    cdef Py_ssize_t low_water
    cdef int ignored_writes
    cdef unsigned char state  # one of nl_state; step() alone assigns it
    cdef flag started
    cdef flag protocol_paused
    # Is it to be told of its place in the ready queue? See LoopCore.schedule_farewell().
    cdef flag farewell_due
    # Was it found that nobody refers to it? Its finalizer is not called again.
    cdef flag forgotten

    cdef int set_up(self, LoopCore loop, Ring ring, object protocol, object context, dict extra) except -1
    cdef int forget(self) except -1
    cdef str state_name(self)
    cdef int step(self, nl_event event) except -1
    cdef int begin_ending(self) except -1
    cdef int note_drained(self) except -1
    cdef int schedule_farewell(self) except -1
    cdef int on_quiet(self) except -1
    cdef int discard(self) except -1
    cdef int close_file(self) except -1
    cdef int retire(self) except -1
    cdef int lose(self, object exc) except -1
    cdef int send_rest(self) except -1
    cdef int fail(self, object exc, str message) except -1
    cdef Py_ssize_t unsent(self) noexcept
    cdef int ignore_write(self) except -1
    cdef str ignored_write_text(self)
    cdef int tell_made(self) except -1
    cdef int tell_lost(self) except -1
    cdef int tell_flow(self, str method) except -1
    cdef int pause_writing_if_full(self) except -1
    cdef int resume_writing_if_drained(self) except -1
    cdef int after_sent(self) except -1

    cdef inline int note_quiet(self) except -1:
        """An operation has completed, or was not begun: is anything in flight?"""
        return 0 if self.in_flight else self.on_quiet()


cdef class ReadingTransport(Transport):
    cdef list backlog
    cdef flag paused
    cdef flag read_ended
    cdef flag end_held_back

    cdef int hold_back(self, object item) except -1
    cdef int deliver(self, object item) except -1
    cdef int end_reading(self) except -1


cdef class SocketTransport(ReadingTransport):
    # A socket object. That of a connection without a descriptor is made when somebody asks for it, from what follows.
    cdef object sock
    cdef Origin origin
    cdef nl_file file
    cdef ShortAddress peer

    cdef int own(self, LoopCore loop, Ring ring, nl_file file, object sock, object protocol, object context,
                 dict extra) except -1
    cdef int come_from(self, Origin origin, const sockaddr_storage *address, socklen_t length) except -1
    cdef object socket_object(self)
    cdef int begin(self) except -1
    cdef int flush_close(self) except -1
    cdef bint has_receive(self) noexcept
    cdef bint has_sends(self) noexcept


cdef dict names_of(object sock, dict extra)
cdef object os_error(int res)
