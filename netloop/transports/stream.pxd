from netloop.core.cext cimport flag, nl_file
from netloop.core.turn cimport LoopCore
from netloop.transports.outbox cimport Outbox
from netloop.transports.receiver cimport StreamReceiver


cdef class FileSend:
    # Who waits until no more than `limit` bytes are left to send, or, with -1, for the end.
    cdef object waiter
    cdef Py_ssize_t limit
    # How much of what was written was never sent, because the connection came to its end.
    cdef Py_ssize_t lost

    cdef object wait(self, LoopCore loop, Py_ssize_t limit)
    cdef int on_sent(self, Py_ssize_t left) except -1
    cdef int on_end(self) except -1


cdef class StreamTransport(StreamReceiver):
    cdef object server
    cdef FileSend file_send
    cdef Outbox outbox
    cdef flag sending
    cdef flag send_cancelled
    cdef flag write_ended
    cdef flag shutting_down

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
        if self.file_send is not None:
            raise RuntimeError(f"unable to {method}; sendfile is in progress")
        return 0

    cdef int accept_write(self, bytes piece) except -1


cdef StreamTransport new_stream(LoopCore loop, nl_file file, object sock, object protocol, object context,
                                object server, dict extra)
