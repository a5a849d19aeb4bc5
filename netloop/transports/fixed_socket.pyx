# cython: language_level=3
"""The socket methods of a connection that has no descriptor.

A connection accepted into the ring's fixed-file table is unknown to the process. What can be done through the ring is;
for the rest a real descriptor is installed, once, when somebody asks.
"""

import os
import socket

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.errno cimport EBADF
from libc.string cimport memcpy
from libc.stdint cimport int32_t, uint64_t

from netloop.core cimport cext as c
from netloop.core.ring cimport unawaited_token


cdef enum:
    OPTION_SIZE = 1024

# Values of switches, at addresses that outlive every submission.
cdef int[2] switch
switch[0], switch[1] = 0, 1

# Switches that cannot fail on a TCP socket: frameworks set them on every connection, and nobody waits for the answer.
_SWITCHES = frozenset([(socket.SOL_SOCKET, socket.SO_KEEPALIVE), (socket.IPPROTO_TCP, socket.TCP_NODELAY)])


cdef class Origin:
    """What the connections that one listening socket accepts have in common."""


cdef class FixedSocket:
    """What asyncio.TransportSocket wraps for an accepted connection: socket.socket's methods over a fixed file.

    Raises OSError as the socket module does, and RuntimeError when used outside the thread that runs the loop.
    """

    @property
    def family(self):
        return self.origin.family

    @property
    def type(self):
        return self.origin.type

    @property
    def proto(self):
        return self.origin.proto

    cdef object install(self):
        """A socket object on a descriptor of the process; FIXED_FD_INSTALL, Linux 6.8."""
        cdef int32_t descriptor
        cdef uint64_t token
        if self.real is None:
            self.check_open()
            token = self.ring.new_call(c.NL_INSTALL)
            c.nl_prep_install(self.ring.call_sqe(), self.slot, token)
            descriptor = self.ring.call(token, None)
            if descriptor < 0:
                raise OSError(-descriptor, "cannot give the connection a descriptor: " + os.strerror(-descriptor))
            self.real = accepted_socket(self.origin, descriptor)
            if self.transport is not None:
                self.transport._own_descriptor(descriptor)
        return self.real

    cdef release(self):
        """The connection is being closed: give the installed descriptor back."""
        self.closed = True
        self.transport = None
        if self.real is not None:
            self.real.close()

    cdef check_open(self):
        if self.closed:
            raise OSError(EBADF, os.strerror(EBADF))

    def fileno(self):
        """A descriptor of the process, installed on first use; -1 when the transport is closed."""
        return -1 if self.closed else self.install().fileno()

    def setsockopt(self, level, option, value, optlen=None):
        """As socket.setsockopt; through the ring (Linux 6.7)."""
        cdef bytes packed
        cdef int number
        self.check_open()
        if not (is_c_int(level) and is_c_int(option) and optlen is None
                and (is_c_int(value) or isinstance(value, (bytes, bytearray, memoryview)))):
            # Rare or malformed: the socket module does what can be done, or says what is wrong.
            self.install().setsockopt(*[level, option, value, optlen][:3 if optlen is None else 4])
            return
        if (level, option) in _SWITCHES and value in (0, 1):
            self.switch_option(level, option, value)
            return
        if isinstance(value, int):
            number = value
            packed = (<const char *>&number)[:sizeof(number)]
        else:
            packed = bytes(value)
        cdef uint64_t token = self.ring.new_call(c.NL_COMMAND)
        c.nl_prep_sockopt(self.ring.call_sqe(), c.nl_fixed_file(self.slot), c.NL_SOCKET_SETSOCKOPT, level, option,
                          <const char *>packed, len(packed), token)
        cdef int32_t result = self.ring.call(token, packed)
        if result < 0:
            raise OSError(-result, os.strerror(-result))

    cdef switch_option(self, int level, int option, bint on):
        """Write the submission; it goes to the kernel with the turn's other ones."""
        cdef c.io_uring_sqe *sqe = self.ring.call_sqe()
        c.nl_prep_sockopt(sqe, c.nl_fixed_file(self.slot), c.NL_SOCKET_SETSOCKOPT, level, option, &switch[on],
                          sizeof(int), unawaited_token(c.NL_OPTION))

    def getsockopt(self, level, option, buflen=0):
        """As socket.getsockopt; through the ring for SOL_SOCKET, all the kernel lets it ask (Linux 6.7)."""
        cdef bytes value
        cdef int number
        self.check_open()
        if not (is_c_int(option) and is_c_int(buflen) and 0 <= buflen <= OPTION_SIZE) or level != socket.SOL_SOCKET:
            return self.install().getsockopt(level, option, buflen)
        cdef unsigned length = buflen or sizeof(int)
        cdef uint64_t token = self.ring.new_call(c.NL_COMMAND)
        value = PyBytes_FromStringAndSize(NULL, length)
        c.nl_prep_sockopt(self.ring.call_sqe(), c.nl_fixed_file(self.slot), c.NL_SOCKET_GETSOCKOPT, level, option,
                          PyBytes_AS_STRING(value), length, token)
        cdef int32_t result = self.ring.call(token, value)
        if result < 0:
            raise OSError(-result, os.strerror(-result))
        if buflen:
            return value[:result]
        memcpy(&number, PyBytes_AS_STRING(value), sizeof(number))
        return number

    def getpeername(self):
        """The peer's address, known since the accept."""
        self.check_open()
        return self.peer if self.peer is not None else self.install().getpeername()

    def getsockname(self):
        """Our own address: the listening socket's unless that is a wildcard, which only a descriptor can resolve."""
        if self.local is None:
            self.check_open()
            self.local = self.install().getsockname()
        return self.local

    def shutdown(self, how):
        self.install().shutdown(how)

    def dup(self):
        return self.install().dup()

    def get_inheritable(self):
        return self.install().get_inheritable()

    def settimeout(self, value):
        if value != 0:
            raise ValueError("settimeout(): only 0 timeout is allowed on transport sockets")

    def gettimeout(self):
        return 0

    def setblocking(self, flag):
        if flag:
            raise ValueError("setblocking(): transport sockets cannot be blocking")

    def __repr__(self):
        state = "closed" if self.closed else f"slot={self.slot}"
        return f"<netloop.FixedSocket {state} laddr={self.local} raddr={self.peer}>"


cdef bint is_c_int(object value):
    return isinstance(value, int) and -0x80000000 <= value <= 0x7fffffff


cdef Origin new_origin(Ring ring, object listening, object local):
    cdef Origin origin = Origin.__new__(Origin)
    origin.ring = ring
    origin.family, origin.type, origin.proto = listening.family, listening.type, listening.proto
    origin.local = local
    return origin


cdef object accepted_socket(Origin origin, int descriptor):
    """A socket object for a connection that has a descriptor."""
    sock = socket.socket(origin.family, origin.type, origin.proto, fileno=descriptor)
    # The accepted socket is non-blocking; this tells the object so.
    sock.settimeout(0)
    return sock


cdef FixedSocket new_fixed_socket(Origin origin, int slot, object peer):
    cdef FixedSocket sock = FixedSocket.__new__(FixedSocket)
    sock.ring = origin.ring
    sock.origin = origin
    sock.slot = slot
    sock.local, sock.peer = origin.local, peer
    return sock
