# cython: language_level=3, boundscheck=False, wraparound=False
"""What cancelled operations have taken from sockets of the caller, kept for the next call on the same socket object."""

import _socket
import collections
import socket
import weakref

cdef object socket_class = socket.socket
cdef object raw_socket_class = _socket.socket
# The member below the property of socket.socket, which makes an enumeration of each number.
cdef object raw_type = _socket.socket.type
cdef int SOCK_STREAM = socket.SOCK_STREAM


cdef bint is_stream(object sock) except -1:
    number = raw_type.__get__(sock) if isinstance(sock, raw_socket_class) else sock.type
    return (number & 0xf) == SOCK_STREAM


cdef class Kept:
    """What cancelled operations of a loop have taken from sockets, and those that still may."""

    def __init__(self, loop):
        self.loop = loop
        self.leaving = {}
        self.by_socket = weakref.WeakKeyDictionary()
        self.entries = self.by_socket.data

    cdef bint is_leaving(self, object sock, bint writing) except -1:
        """Is there an operation on the socket whose cancelling has not come to its end?"""
        return bool(self.leaving) and (id(sock), writing) in self.leaving

    cdef int add_leaving(self, object sock, bint writing) except -1:
        key = (id(sock), writing)
        self.leaving[key] = self.leaving.get(key, 0) + 1
        return 0

    cdef int remove_leaving(self, object sock, bint writing) except -1:
        key = (id(sock), writing)
        self.leaving[key] -= 1
        if not self.leaving[key]:
            del self.leaving[key]
        return 0

    cdef int add(self, object sock, tuple entry) except -1:
        """Keep what was taken from a socket for the next call on it."""
        if self.loop._closed or sock.fileno() < 0:
            # There will be no other call.
            discard(entry)
            return 0
        if isinstance(entry[0], bytes):
            if not entry[0] and is_stream(sock):
                return 0  # the end of a stream is there again at the next receive
            if entry[1] is None and not is_stream(sock):
                entry = (entry[0], peer_of(sock))
        self.by_socket.setdefault(sock, collections.deque()).append(entry)
        return 0

    cdef int add_failure(self, object sock, object failure) except -1:
        self.by_socket.setdefault(sock, collections.deque()).append(failure)
        return 0

    cdef object take(self, object sock, Py_ssize_t room):
        """The oldest thing kept of a socket, or None: (data of at most `room` bytes, address) or an exception."""
        entries = self.by_socket.get(sock)
        if entries is None:
            return None
        entry = entries.popleft()
        if isinstance(entry, tuple) and isinstance(entry[0], bytes) and len(entry[0]) > room:
            data, address = entry
            if is_stream(sock):
                entries.appendleft((data[room:], address))
            entry = (data[:room], address)
        if not entries:
            del self.by_socket[sock]
        return entry

    def close(self):
        """The loop is closed: nobody will come for the connections that were kept."""
        for entries in self.by_socket.values():
            for entry in entries:
                discard(entry)
        self.by_socket.clear()
        self.leaving.clear()


cdef int discard(object entry) except -1:
    if isinstance(entry, tuple) and isinstance(entry[0], socket_class):
        entry[0].close()
    return 0


cdef object peer_of(object sock):
    """Where the data of a connected socket comes from; None if it is not connected."""
    try:
        return sock.getpeername()
    except OSError:
        return None
