# cython: language_level=3
"""The socket methods of a connection that has no descriptor.

A connection accepted into the ring's fixed-file table is unknown to the process. What can be done through the ring is;
for the rest a real descriptor is installed, used and closed again. Who asks for the descriptor itself, by fileno(), is
given one that stays.

A forked child has no ring. The connections whose socket object the program holds are given descriptors for the fork;
the child keeps them.
"""

import os
import socket

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.errno cimport EBADF, EOPNOTSUPP
from libc.string cimport memcpy
from libc.stdint cimport int32_t, uint64_t

from netloop.core cimport cext as c
from netloop.core.ring cimport unawaited_token
from netloop.transports.address cimport decode_address


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

    # The descriptor ---------------------------------------------------------------------------------------------

    cdef int install(self) except -1:
        """Make a descriptor of the process, which is the caller's; FIXED_FD_INSTALL, Linux 6.8."""
        cdef int32_t descriptor
        cdef uint64_t token = self.ring.new_call(c.NL_INSTALL)
        self.check_open()
        c.nl_prep_install(self.ring.call_sqe(), self.slot, token)
        descriptor = self.ring.call(token, None)
        if descriptor < 0:
            raise OSError(-descriptor, "cannot give the connection a descriptor: " + os.strerror(-descriptor))
        return descriptor

    cdef object borrow(self, str method, tuple arguments):
        """Call a method of a socket object that has a descriptor, for which one is installed if there is none."""
        if self.real is not None:
            return getattr(self.real, method)(*arguments)
        with accepted_socket(self.origin, self.install()) as sock:
            return getattr(sock, method)(*arguments)

    cdef object keep(self):
        """A socket object whose descriptor stays until the connection is closed."""
        if self.real is None:
            self.real = accepted_socket(self.origin, self.install())
            if self.transport is not None:
                self.transport._own_descriptor(self.real.fileno())
        self.lent = False
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
        return -1 if self.closed else self.keep().fileno()

    cdef int leave_table(self) except -1:
        """Have a descriptor and use nothing else from now on: the connection leaves the ring's file table."""
        self.keep()
        self.inherited = True
        return 0

    cdef int before_fork(self) except -1:
        """The process is about to fork: have a descriptor, which the child inherits."""
        if self.real is None and not self.closed:
            self.real = accepted_socket(self.origin, self.install())
            self.lent = True
        return 0

    cdef int after_fork(self, bint in_child) except -1:
        """In the child the descriptor is all that is left; the parent needs it no more."""
        self.inherited = in_child
        if self.lent and not in_child:
            self.real.close()
            self.real = None
        self.lent = False
        return 0

    # The socket module's methods --------------------------------------------------------------------------------

    def setsockopt(self, level, option, value, optlen=None):
        """As socket.setsockopt; through the ring (Linux 6.7)."""
        cdef bytes packed
        cdef int number
        self.check_open()
        if self.inherited or not (is_c_int(level) and is_c_int(option) and optlen is None
                                  and (is_c_int(value) or isinstance(value, (bytes, bytearray, memoryview)))):
            # Rare or malformed: the socket module does what can be done, or says what is wrong.
            self.borrow("setsockopt", (level, option, value) if optlen is None else (level, option, value, optlen))
            return
        if self.origin.tcp and (level, option) in _SWITCHES and value in (0, 1):
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
        if self.inherited or level != socket.SOL_SOCKET or not (
                is_c_int(option) and is_c_int(buflen) and 0 <= buflen <= OPTION_SIZE):
            return self.borrow("getsockopt", (level, option, buflen))
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
        return self.peer if self.peer is not None else self.borrow("getpeername", ())

    def getsockname(self):
        """Our own address: the listening socket's, or, if that is a wildcard, the one the kernel tells; asked once."""
        if self.local is None:
            self.check_open()
            self.local = self.ask_name()
        return self.local

    cdef object ask_name(self):
        """Our own address by a command of the ring (Linux 6.19), or by a descriptor."""
        cdef bytearray memory = bytearray(sizeof(c.sockaddr_storage) + sizeof(c.socklen_t))
        cdef c.sockaddr_storage *address = <c.sockaddr_storage *><char *>memory
        cdef c.socklen_t *length = <c.socklen_t *>(address + 1)
        cdef uint64_t token = self.ring.new_call(c.NL_COMMAND)
        cdef int error = EOPNOTSUPP
        length[0] = sizeof(c.sockaddr_storage)
        if self.real is not None:
            return self.real.getsockname()
        if not self.ring.names_refused:
            c.nl_prep_getsockname(self.ring.call_sqe(), c.nl_fixed_file(self.slot), <c.sockaddr *>address, length,
                                  False, token)
            error = -self.ring.call(token, memory)
            self.ring.names_refused = error == EOPNOTSUPP
        if error == EOPNOTSUPP:
            error = c.nl_name_of(self.install(), <c.sockaddr *>address, length)
        if error:
            raise OSError(error, os.strerror(error))
        return decode_address(address, length[0])

    def shutdown(self, how):
        """As socket.shutdown. Not by the ring, which leaves that to a thread of the kernel's."""
        self.borrow("shutdown", (how,))

    def dup(self):
        """As socket.dup."""
        return accepted_socket(self.origin, self.install()) if self.real is None else self.real.dup()

    def get_inheritable(self):
        """As socket.get_inheritable: without a descriptor there is nothing to inherit."""
        self.check_open()
        return self.real is not None and self.real.get_inheritable()

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
    origin.tcp = listening.family in (socket.AF_INET, socket.AF_INET6) and listening.proto in (0, socket.IPPROTO_TCP)
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
