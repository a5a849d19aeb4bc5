# cython: language_level=3
"""Socket addresses between the kernel's form and Python's, as the socket module writes them."""

import operator
import os
import socket

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.ref cimport PyObject, Py_INCREF
from libc.string cimport memcmp, memcpy, memset

from netloop.core cimport cext as c

cdef extern from "Python.h":
    # Takes over a reference. Without the interpreter lock the list's own keeps its threads apart.
    int PyList_SetItem(list values, Py_ssize_t index, PyObject *value) except -1

cdef enum:
    TEXT_SIZE = 64
    # Where sun_path begins in struct sockaddr_un.
    UNIX_HEADER = 2
    # How many senders of datagrams are known, as a power of two.
    PEER_BITS = 10

# The senders that were heard of last, by the hashes of their names. All loops of the process share them.
cdef list peers = [None] * (1 << PEER_BITS)


cdef class Peer:
    """Where datagrams come from or go to: the kernel's form of the address and Python's."""


cdef Peer known_peer(const c.sockaddr_storage *storage, c.socklen_t length):
    """The peer of this name, without a new address if it was heard of lately."""
    # Two places for each hash: of a hundred senders a sixth would share one with another, and take turns in it.
    cdef unsigned slot = c.nl_name_hash(storage, length, PEER_BITS - 1) * 2
    cdef Peer first = <Peer>peers[slot]
    cdef Peer peer
    if is_named(first, storage, length):
        return first
    peer = <Peer>peers[slot + 1]
    if not is_named(peer, storage, length):
        peer = Peer.__new__(Peer)
        peer.address = decode_address(storage, length)
        peer.name = PyBytes_FromStringAndSize(<const char *>storage, length)
        keep_peer(slot, peer)
        if first is not None:
            keep_peer(slot + 1, first)
    return peer


cdef inline bint is_named(Peer peer, const c.sockaddr_storage *storage, c.socklen_t length) noexcept:
    return (peer is not None and PyBytes_GET_SIZE(peer.name) == length
            and not memcmp(PyBytes_AS_STRING(peer.name), storage, length))


cdef inline int keep_peer(unsigned slot, Peer peer) except -1:
    Py_INCREF(peer)
    PyList_SetItem(peers, slot, <PyObject *>peer)
    return 0


cdef object decode_address(const c.sockaddr_storage *storage, c.socklen_t length):
    """The address as the socket module would give it; None for one that the kernel left out or we do not know."""
    cdef char text[TEXT_SIZE]
    cdef const c.sockaddr_in *four
    cdef const c.sockaddr_in6 *six
    if length < UNIX_HEADER:
        return None
    if storage.ss_family == c.AF_INET:
        four = <const c.sockaddr_in *>storage
        c.inet_ntop(c.AF_INET, &four.sin_addr, text, TEXT_SIZE)
        return ((<bytes>text).decode("ascii"), c.ntohs(four.sin_port))
    if storage.ss_family == c.AF_INET6:
        six = <const c.sockaddr_in6 *>storage
        c.inet_ntop(c.AF_INET6, &six.sin6_addr, text, TEXT_SIZE)
        return ((<bytes>text).decode("ascii"), c.ntohs(six.sin6_port), c.ntohl(six.sin6_flowinfo),
                six.sin6_scope_id)
    if storage.ss_family == c.AF_UNIX:
        return decode_unix(<const c.sockaddr_un *>storage, length)
    return None


cdef bint shorten_address(const c.sockaddr_storage *storage, c.socklen_t length, ShortAddress *kept) noexcept:
    """Keep an address in little memory. Says whether that can be done."""
    if length > (UNIX_HEADER if storage.ss_family == c.AF_UNIX else sizeof(ShortAddress)):
        return False
    memset(kept, 0, sizeof(ShortAddress))
    memcpy(kept, storage, length)
    return True


cdef object decode_short(const ShortAddress *kept):
    """As decode_address()."""
    cdef c.sockaddr_storage storage
    memcpy(&storage, kept, sizeof(ShortAddress))
    return decode_address(&storage, UNIX_HEADER if kept.any.sa_family == c.AF_UNIX else sizeof(ShortAddress))


cdef object decode_unix(const c.sockaddr_un *address, c.socklen_t length):
    cdef bytes path = address.sun_path[:length - UNIX_HEADER]
    if path[:1] == b"\0":
        return path  # in the abstract name space every byte counts
    return os.fsdecode(path.split(b"\0", 1)[0])


cdef c.socklen_t encode_address(int family, object address, c.sockaddr_storage *storage) except 0:
    """Write a numeric address into `storage` and return its length.

    Raises OSError or ValueError for one that is malformed, and LookupError for a family that is not handled here.
    """
    cdef c.sockaddr_in *four = <c.sockaddr_in *>storage
    cdef c.sockaddr_in6 *six = <c.sockaddr_in6 *>storage
    cdef bytes packed
    memset(storage, 0, sizeof(c.sockaddr_storage))
    storage.ss_family = <c.sa_family_t>family
    if family == c.AF_UNIX:
        return encode_unix(address, <c.sockaddr_un *>storage)
    if family != c.AF_INET and family != c.AF_INET6:
        raise LookupError(family)
    host, port = address[0], address[1]
    if not 0 <= port <= 65535:
        raise OverflowError("connect(): port must be 0-65535.")  # sendto() has checked its own before
    packed = socket.inet_pton(family, host)
    if family == c.AF_INET:
        memcpy(&four.sin_addr, <const char *>packed, 4)
        four.sin_port = c.htons(port)
        return sizeof(c.sockaddr_in)
    memcpy(&six.sin6_addr, <const char *>packed, 16)
    six.sin6_port = c.htons(port)
    six.sin6_flowinfo = c.htonl(address[2] if len(address) > 2 else 0)
    six.sin6_scope_id = address[3] if len(address) > 3 else 0
    return sizeof(c.sockaddr_in6)


cdef c.socklen_t encode_unix(object address, c.sockaddr_un *storage) except 0:
    cdef bytes path = bytes(address) if isinstance(address, (bytearray, memoryview)) else os.fsencode(address)
    # An abstract name may fill the field, and no name at all is one; a path needs its terminating zero.
    cdef bint terminated = len(path) > 0 and path[:1] != b"\0"
    if len(path) + terminated > sizeof(storage.sun_path):
        raise OSError("AF_UNIX path too long")
    memcpy(storage.sun_path, <const char *>path, len(path))
    return UNIX_HEADER + len(path) + terminated


cdef bytes encode_destination(int family, object address):
    """The kernel's form of an address that sendto() is given, with the socket module's checks and its errors.

    As there, a host name is looked up, and the caller waits for that; a number costs nothing.
    """
    cdef c.sockaddr_storage storage
    cdef c.socklen_t length
    if family == c.AF_UNIX:
        if not isinstance(address, (str, bytes, bytearray, memoryview)):
            raise TypeError(f"sendto(): AF_UNIX address must be str or bytes-like, not {type(address).__name__}")
        length = encode_address(family, address, &storage)
        return (<const char *>&storage)[:length]
    if family != c.AF_INET and family != c.AF_INET6:
        raise OSError(f"sendto(): bad family {family}")
    address = check_internet_address(family, address)
    try:
        length = encode_address(family, address, &storage)
    except OSError:
        length = encode_address(family, (numeric_host(family, address[0]), *address[1:]), &storage)
    return (<const char *>&storage)[:length]


cdef tuple check_internet_address(int family, object address):
    """The address with its numbers in range and a str for a host."""
    name = "AF_INET" if family == c.AF_INET else "AF_INET6"
    if not isinstance(address, tuple):
        raise TypeError(f"sendto(): {name} address must be tuple, not {type(address).__name__}")
    if not (len(address) == 2 if family == c.AF_INET else 2 <= len(address) <= 4):
        raise TypeError(f"{name} address must be a " + (
            "pair (host, port)" if family == c.AF_INET else "tuple (host, port[, flowinfo[, scopeid]])"))
    host = address[0]
    numbers = [operator.index(number) for number in address[1:]]
    if isinstance(host, (bytes, bytearray)):
        host = bytes(host).decode("ascii")
    elif not isinstance(host, str):
        raise TypeError(f"str, bytes or bytearray expected, not {type(host).__name__}")
    if not 0 <= numbers[0] <= 65535:
        raise OverflowError("sendto(): port must be 0-65535.")
    if len(numbers) > 1 and not 0 <= numbers[1] <= 0xfffff:
        raise OverflowError("sendto(): flowinfo must be 0-1048575.")
    return (host, *numbers)


cdef object numeric_host(int family, str host):
    if not host:
        return "0.0.0.0" if family == c.AF_INET else "::"
    if host == "<broadcast>" and family == c.AF_INET:
        return "255.255.255.255"
    return socket.getaddrinfo(host, None, family, socket.SOCK_DGRAM)[0][4][0].partition("%")[0]
