from netloop._cext cimport nl_file
from netloop._loop cimport LoopCore
from netloop._outbox cimport Outbox
from netloop._receiver cimport StreamReceiver


cdef class StreamTransport(StreamReceiver):
    cdef object server

    cdef Outbox outbox
    cdef bint sending
    cdef bint send_cancelled
    cdef bint write_ended
    cdef bint shutting_down
    cdef bint sendfile_active
    cdef object drain_waiter
    cdef Py_ssize_t drain_limit
    cdef Py_ssize_t lost

    cdef int give_up(self) except -1
    cdef int flush_send(self) except -1
    cdef int flush_close(self) except -1
    cdef int send_now(self) except -1
    cdef int reap_send(self) except -1
    cdef int on_sent(self, int res) except -1
    cdef int take_sent(self, int res) except -1
    cdef bint too_late(self) noexcept
    cdef int written(self) except -1
    cdef int on_closed(self) except -1
    cdef inline int check_writable(self, str method) except -1:
        if self.write_ended:
            raise RuntimeError(f"Cannot call {method}() after write_eof()")
        if self.sendfile_active:
            raise RuntimeError(f"unable to {method}; sendfile is in progress")
        return 0

    cdef int accept_write(self, bytes piece) except -1


cdef StreamTransport new_stream(LoopCore loop, nl_file file, object sock, object protocol, object context,
                                object server, dict extra)
