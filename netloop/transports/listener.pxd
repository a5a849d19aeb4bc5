from libc.stdint cimport uint64_t

from netloop.core.cext cimport nl_file, sockaddr_storage, socklen_t
from netloop.transports.fixed_socket cimport Origin
from netloop.transports.stream cimport StreamTransport
from netloop.core.turn cimport LoopCore
from netloop.core.ring cimport Endpoint, Ring

cdef enum:
    # How many accepts are submitted together.
    LANES = 16
    # How many connections a turn begins to serve: one for so many completions that it has, within these bounds.
    SHARE = 8
    FEWEST = 8
    MOST = 128
    # A queue of which one part in so many is taken may soon be full.
    PRESSURE = 8
    # How many connections may be accepted and wait to be served.
    MOST_WAITING = 4096
    # And if they have descriptors: one part in so many of all that this process may have.
    OPEN_SHARE = 4


cdef struct accept_lane:
    sockaddr_storage address
    socklen_t length
    # Where in the fixed-file table the connection goes; -1: it gets a descriptor.
    int slot
    int descriptor


cdef class Listener(Endpoint):
    cdef LoopCore loop
    cdef object sock
    cdef object protocol_factory
    cdef object server
    cdef object context
    cdef Origin origin
    # What its connections on the loop's other rings come from, in the order of those.
    cdef list other_origins
    cdef nl_file file
    # The accepts in flight.
    cdef accept_lane lanes[LANES]
    # Connections that are accepted, and nobody serves yet: `count` from `first` on, in memory for `room`.
    cdef accept_lane *waiting
    cdef int first
    cdef int count
    cdef int room
    # How many may wait that have descriptors until they are served, of which the program needs some of its own.
    cdef int most_open
    # Is _serve_rest() scheduled?
    cdef bint resumes
    # How many connections this turn may still begin to serve, and which turn that is.
    cdef int left
    cdef uint64_t turn
    # Does the kernel tell how many connections wait in this socket's queue?
    cdef bint tells_queue
    # Has an accept found nothing?
    cdef bint empty
    cdef bint stopped
    # The timer that ends a rest; None while it accepts.
    cdef object rest

    cdef bint goes_on(self) noexcept
    cdef int on_readable(self, int res) except -1
    cdef int accept_through_ring(self, bint tells_queue) except -1
    cdef int accept_batch(self, int wanted) except -1
    cdef int most_waiting(self) noexcept
    cdef int accept_by_calls(self) except -1
    cdef int note_result(self, accept_lane *lane, int res) except -1
    cdef int on_refused(self, int error) except -1
    cdef int begin_rest(self, str message, object exception) except -1
    cdef int may_begin(self) except -1
    cdef int add_waiting(self, accept_lane *lane) except -1
    cdef int serve_waiting(self) except -1
    cdef int go_on_later(self) except -1
    cdef int serve_later(self) except -1
    cdef int serve_next(self, bint later) except -1
    cdef int serve_everybody(self) except -1
    cdef int serve(self, accept_lane *lane, bint later) except -1
    cdef Origin origin_on(self, Ring ring)
    cdef StreamTransport make_transport(self, Ring ring, nl_file file, object sock, accept_lane *lane, object protocol,
                                        object context)
    cdef int join_server(self, object server, StreamTransport transport) except -1
    cdef int refuse(self, Ring ring, nl_file file, object sock) except -1
    cdef int retire_if_done(self) except -1
