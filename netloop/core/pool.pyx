# cython: language_level=3, boundscheck=False, wraparound=False
"""Pools of buffers that the application reads, and sends from, where the kernel has put the data or will fetch it.

A `BufferPool` is the memory, with the state of each buffer (cext/nl_lease.h has the drawing of its life). A `Lease` is
a part of one buffer, in the hands of the application or of a transport. A `PoolGroup` is the ring's side of a pool: an
endpoint without operations of its own, which has the kernel take buffers from the pool, and knows who waits for some.
A `LeaseReceiver` is what a transport knows of the pool that it receives into.

Who owns whom: a lease keeps its pool, the endpoint table keeps the group, and pool and group know each other by weak
references. So the memory lives exactly as long as somebody may use it, and a pool that is gone leaves the ring at the
next turn. The kernel writes to a pool only for a receive in flight, whose transport keeps it.

Leases may be released by any thread, since a collector may run in any; all else is for the loop's thread.
"""

import asyncio
import errno
import operator
import os
import resource
import time
import warnings
import weakref
from asyncio import _get_running_loop
from asyncio.log import logger
from collections import deque

cimport cython
from cpython.buffer cimport (
    PyBUF_ANY_CONTIGUOUS, PyBUF_FORMAT, PyBUF_ND, PyBUF_SIMPLE, PyBUF_STRIDES, PyBUF_WRITABLE, PyBuffer_FillInfo,
    PyBuffer_Release, PyObject_GetBuffer,
)
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.memoryview cimport PyMemoryView_FromObject
from libc.errno cimport EFAULT, EINVAL, ENOMEM, ENOSPC
from libc.string cimport memcpy

from netloop.core cimport cext as c
from netloop.core.dlpack cimport checked_device, make_capsule
from netloop.core.free_threading cimport NL_FREE_THREADED, nl_lock_give, nl_lock_reset, nl_lock_take

cdef enum:
    LEASE_ENDED  # first, so that it is what an object has that nobody has made a lease of
    LEASE_LIVE
    LEASE_HANDED_OVER

cdef enum:
    # The ring's own groups come first (core/ring.pyx); a token has room for so many lanes.
    FIRST_GROUP = 2
    POOLS_LIMIT = 200
    # The loop's own pool has so many buffers, of the size of the loop's other receive buffers.
    DEFAULT_COUNT = 128
    # The most that the kernel pins as one buffer.
    PINNED_LIMIT = 1 << 30

# Seconds between two lines in the log that tell of a dry pool.
cdef double LOG_PAUSE = 60.0

# Pools over memory that callers have brought, which must not overlap.
cdef object brought_pools = weakref.WeakSet()

# The format of a buffer's items for the buffer protocol: bytes.
cdef char *BYTES = "B"

cdef str WRITABLE_VIEW = "a view that writes to this lease is still exported; release that view first"


@cython.final
@cython.no_gc_clear
cdef class Lease:
    """A part of a buffer of a pool: what has arrived, or a message that is being built.

    It is read where it lies, as any object with the buffer protocol: ``memoryview(lease)``, ``lease[0]``,
    ``lease[:4]`` (bytes), ``bytes(lease)`` (a copy of all). The buffer goes back to its pool when every lease and every
    memoryview of it is released. After its release, or when a transport has taken it over, a lease cannot be read.

    Libraries of arrays take it by DLPack, such as ``numpy.from_dlpack(lease)``: a read-only row of bytes, which keeps
    the buffer as a memoryview does. Only numpy keeps the array from being written to; with others that is up to the
    program.
    """

    def __init__(self):
        raise TypeError("a lease is made by a pool: BufferPool.take(), or LeaseProtocol.lease_received()")

    def __dealloc__(self):
        if self.holds:
            self.end(self.state, False)

    def __del__(self):
        cdef LoopCore loop
        if self.state != LEASE_LIVE or self.pool.loop_reference is None:
            return
        loop = self.pool.loop_reference()
        if loop is not None and loop._debug:
            warnings.warn(f"unreleased lease {self!r}", ResourceWarning, source=self)

    def __repr__(self):
        cdef str state
        if self.state == LEASE_LIVE:
            return f"<Lease of {self.length} bytes at {self.offset} of its pool>"
        state = "handed over to a transport" if self.state == LEASE_HANDED_OVER else "released"
        return f"<Lease {state}>"

    cdef int check_live(self) except -1:
        if self.state == LEASE_HANDED_OVER:
            raise ValueError("this lease was handed over to a transport, which releases it when it is sent")
        if self.state != LEASE_LIVE:
            raise ValueError("this lease was released")
        return 0

    # Reading and writing ----------------------------------------------------------------------------------------

    def __len__(self):
        self.check_live()
        return self.length

    def __bytes__(self):
        self.check_live()
        return PyBytes_FromStringAndSize(<const char *>self.data, self.length)

    def __getitem__(self, index):
        cdef Py_ssize_t at, end, step
        cdef Py_ssize_t length = self.length
        cdef const unsigned char *data = self.data
        self.check_live()
        # An __index__() of the program's may release or split the lease: what is read is what it was before.
        if isinstance(index, slice):
            at, end, step = index.indices(length)
            self.check_live()
            if step == 1:
                return PyBytes_FromStringAndSize(<const char *>data + at, max(0, end - at))
            return PyBytes_FromStringAndSize(<const char *>data, length)[index]
        at = index
        self.check_live()
        if at < 0:
            at += length
        if not 0 <= at < length:
            raise IndexError("index out of range of the lease")
        return data[at]

    def __getbuffer__(self, Py_buffer *view, int flags):
        cdef bint live
        self.check_live()
        if flags & PyBUF_WRITABLE and not self.granting:
            raise BufferError("a lease is read-only; writable() gives a view to write through")
        nl_lock_take(&self.pool.lock)
        live = self.state == LEASE_LIVE
        self.exports += live
        self.writable_exports += live and self.granting
        nl_lock_give(&self.pool.lock)
        if not live:
            self.check_live()
        view.buf = self.data
        view.len = self.length
        view.itemsize = 1
        view.readonly = not self.granting
        view.ndim = 1
        view.format = BYTES if flags & PyBUF_FORMAT else NULL
        view.shape = &view.len if flags & PyBUF_ND else NULL
        view.strides = &view.itemsize if flags & PyBUF_STRIDES == PyBUF_STRIDES else NULL
        view.suboffsets = NULL
        view.internal = NULL
        view.obj = self

    def __releasebuffer__(self, Py_buffer *view):
        cdef bint last
        nl_lock_take(&self.pool.lock)
        self.exports -= 1
        self.writable_exports -= not view.readonly
        last = not self.exports and self.state == LEASE_ENDED
        nl_lock_give(&self.pool.lock)
        if last:
            self.end(LEASE_ENDED, False)

    def writable(self):
        """A memoryview to write through, for example to build a message. Release it before the lease is sent."""
        self.check_live()
        self.soil()
        self.granting = True
        try:
            return PyMemoryView_FromObject(self)
        finally:
            self.granting = False

    cdef int soil(self) noexcept:
        """Its bytes may be written to from now on, so that they are cleared if the pool is to be."""
        nl_lock_take(&self.pool.lock)
        c.nl_pool_soil(&self.pool.buffers, self.index,
                       self.data - c.nl_pool_address(&self.pool.buffers, self.index) + self.length)
        nl_lock_give(&self.pool.lock)
        return 0

    def __dlpack__(self, *, stream=None, max_version=None, dl_device=None, copy=None):
        """A capsule of its bytes, for ``from_dlpack()`` of a library of arrays; see the class.

        Raises:
            ValueError: the lease was released or handed over before.
            BufferError: memory on another device is asked for.
        """
        cdef Py_buffer view
        PyObject_GetBuffer(self, &view, PyBUF_SIMPLE)
        self.soil()
        return make_capsule(&view, self.pool.dlpack_device, max_version, dl_device, copy)

    def __dlpack_device__(self):
        """The device type and number that its pool was given."""
        self.check_live()
        return self.pool.dlpack_device

    @property
    def offset(self):
        """Where it begins, in bytes from the beginning of its pool's memory."""
        self.check_live()
        return self.data - self.pool.buffers.memory

    def split(self, Py_ssize_t length):
        """The first ``length`` bytes as a lease of their own; this one goes on with the rest.

        Both are in the same buffer, which goes back to the pool when both are released.

        Raises:
            ValueError: the lease is shorter, or was released.
            BufferError: there is a view that writes to it.
        """
        cdef Lease head
        self.check_live()
        if not 0 <= length <= self.length:
            raise ValueError(f"a lease of {self.length} bytes cannot be split at {length}")
        if self.writable_exports:
            raise BufferError(WRITABLE_VIEW)
        head = new_lease(self.pool, self.index, self.data, length)
        nl_lock_take(&self.pool.lock)
        c.nl_pool_hold(&self.pool.buffers, self.index)
        nl_lock_give(&self.pool.lock)
        head.holds = True
        self.data += length
        self.length -= length
        return head

    cdef int cut(self, Py_ssize_t length) noexcept:
        """Only so much has been received into it, which was a whole buffer."""
        self.length = length
        self.pool.buffers.buffers[self.index].dirty = <unsigned>length
        return 0

    cdef int behead(self, Py_ssize_t before, Py_ssize_t length) noexcept:
        """Of what was received into it only `length` bytes are data, after so many that describe them."""
        self.data += before
        self.length = length
        nl_lock_take(&self.pool.lock)
        self.pool.buffers.received_bytes -= before
        nl_lock_give(&self.pool.lock)
        return 0

    # The end ----------------------------------------------------------------------------------------------------

    cpdef release(self):
        """Give the bytes up; see the class. Releasing again does nothing. Any thread may do it."""
        if self.state == LEASE_LIVE:
            self.end(LEASE_LIVE, False)

    def __enter__(self):
        self.check_live()
        return self

    def __exit__(self, *exc_info):
        self.release()

    cdef int check_sendable(self, LoopCore loop) except -1:
        """Can a transport of this loop take it over?"""
        self.check_live()
        if self.writable_exports:
            raise BufferError(WRITABLE_VIEW)
        return 0 if self.pool.ring == <void *>loop.ring else self.pool.join(loop)

    cdef int hand_over(self) except -1:
        """A transport sends it from now on, and ends it by finish()."""
        cdef bint live
        nl_lock_take(&self.pool.lock)
        live = self.state == LEASE_LIVE
        if live:
            self.state = LEASE_HANDED_OVER
            c.nl_pool_send(&self.pool.buffers, self.index)
        nl_lock_give(&self.pool.lock)
        return 0 if live else self.check_live()

    cdef int finish(self, bint sent) except -1:
        """The transport has done with it, and with it the kernel, unless that has not said its last word."""
        self.finished, self.sent = True, sent
        return 0 if self.kept else self.end(LEASE_HANDED_OVER, sent)

    cdef int keep(self) noexcept:
        """The kernel is about to refer to it for longer than its transport's send lasts."""
        self.kept += 1
        return 0

    cdef int let_go(self) except -1:
        """The kernel does so no more."""
        self.kept -= 1
        return self.end(LEASE_HANDED_OVER, self.sent) if self.finished and not self.kept else 0

    cdef int end(self, unsigned char state, bint sent) except -1:
        """Leave a state; and be no holder of the buffer any more, unless there are views, whose last does it."""
        cdef nl_pool *buffers = &self.pool.buffers
        cdef bint wanted = False
        nl_lock_take(&self.pool.lock)
        if self.state == state:
            if state == LEASE_HANDED_OVER:
                c.nl_pool_sent(buffers, self.index)
                buffers.sent += sent
                buffers.sent_bytes += self.length if sent else 0
            self.state = LEASE_ENDED
            if self.holds and not self.exports:
                self.holds = False
                wanted = c.nl_pool_drop(buffers, self.index)
        nl_lock_give(&self.pool.lock)
        return self.pool.tell() if wanted else 0


cdef Lease new_lease(BufferPool pool, unsigned index, unsigned char *data, Py_ssize_t length):
    """A lease that does not hold its buffer yet."""
    cdef Lease lease = Lease.__new__(Lease)
    lease.pool = pool
    lease.index = index
    lease.data = data
    lease.length = length
    lease.state = LEASE_LIVE
    return lease


@cython.final
@cython.no_gc_clear
cdef class BufferPool:
    """Buffers of one size, which connections receive into and send from without a copy.

    A pool belongs to one loop: that which runs when it is made, or else the first whose connection uses it.

    Args:
        count: how many buffers, at most 32,768.
        size: bytes in a buffer, at most 1 GiB.
        memory: where they are: any writable, contiguous buffer, such as an mmap, a bytearray, a numpy array, shared
            or page-locked memory. It is not copied, and kept for as long as the pool or a lease lives. Some processors
            copy a quarter slower to what does not begin at a multiple of 32 bytes, as a bytearray seldom does. By
            default memory of the pool's own.
        register: have the ring pin the memory, so that operations can name it by a number. All of it takes memory then,
            which else only those pages do that have been written to. ``"auto"`` goes on without where that is refused,
            which ``loop.statistics()`` then tells; True raises.
        zero_copy: have network cards fetch from the buffers what ``write_lease()`` sends; these are free again only
            when the peer has acknowledged it. ``"auto"`` tries that for each host with 16 KiB or more, and goes on
            where the kernel does not copy all the same, as it does on the loopback interface; True does it always, and
            False never. What cannot be sent so is sent as usual; ``loop.statistics()`` tells what has become of it.
        wipe: clear a buffer when its last lease and view are gone, before anything else is received into it. What was
            received is cleared, and what could be written to: by ``writable()``, or through an array on a lease.
        dlpack_device: where DLPack is told that the memory lies, as a device type and a device's number. By default
            (1, 0), the processor's memory, which numpy, torch and jax take. Of memory that CUDA has page-locked, (3, 0)
            gives jax an array on the CUDA device, and (13, 0) cupy one; torch takes neither of these, numpy all.

    A library of arrays takes all of its memory by DLPack, such as ``numpy.from_dlpack(pool)``: a read-only row of
    bytes, in which what a lease holds begins at its ``offset``.

    Raises:
        ValueError: a size is out of range, or ``memory`` is too small, read-only, or that of another pool; or DLPack
            has no such device whose memory the processor can reach.
        TypeError: ``memory`` is no buffer, or not contiguous; ``dlpack_device`` is not two numbers.
        OSError: there is no memory, or ``register=True`` and the kernel refuses, with cause and remedy.
        RuntimeError: ``register=True`` and no loop of netloop's is running.
    """

    def __cinit__(self, count, size, *, memory=None, register="auto", zero_copy="auto", bint wipe=False,
                  dlpack_device=None):
        cdef int error
        self.dlpack_device = checked_device(dlpack_device)
        # None is for netloop's own, which belong to a loop only when they are used.
        if register is not True and register is not False and register is not None and register != "auto":
            raise ValueError(f"register must be True, False or 'auto', not {register!r}")
        if zero_copy is not True and zero_copy is not False and zero_copy != "auto":
            raise ValueError(f"zero_copy must be True, False or 'auto', not {zero_copy!r}")
        count = _checked_number("count", count, c.NL_POOL_LIMIT)
        size = _checked_number("size", size, c.NL_POOL_SIZE_LIMIT)
        self.register = register
        self.zero_copy = ZERO_COPY_AUTO if zero_copy == "auto" else ZERO_COPY_ALWAYS if zero_copy else ZERO_COPY_NEVER
        if memory is not None:
            self.bring(memory)
            if self.brought.len < <Py_ssize_t>count * <Py_ssize_t>size:
                raise ValueError(f"memory has {self.brought.len} bytes, and {count} buffers of {size} bytes take "
                                 f"{count * size}")
        error = c.nl_pool_open(&self.buffers, self.brought.buf if self.has_brought else NULL, count, size)
        if error:
            raise OSError(-error, f"no memory for a pool of {count} buffers of {size} bytes: " + os.strerror(-error))
        self.buffers.wipes = wipe
        if self.has_brought:
            _check_overlap(self)
            brought_pools.add(self)
        self.not_registered = "its loop has not used it yet" if register else "register=False"
        loop = None if register is None else _get_running_loop()
        if isinstance(loop, LoopCore):
            self.join(loop)
        elif register is True:
            raise RuntimeError("register=True needs a running event loop of netloop's, with whose ring the memory is "
                               "to be registered")

    def __dealloc__(self):
        cdef PoolGroup group = self.group()
        c.nl_pool_close(&self.buffers)
        if self.has_brought:
            PyBuffer_Release(&self.brought)
        if group is not None:
            group.on_orphaned()

    def __repr__(self):
        cdef nl_pool *buffers = &self.buffers
        return f"<BufferPool of {buffers.count} buffers of {buffers.size} bytes, {buffers.leased} leased>"

    cdef int bring(self, object memory) except -1:
        """Have the caller's memory exported to the pool."""
        try:
            PyObject_GetBuffer(memory, &self.brought, PyBUF_ANY_CONTIGUOUS | PyBUF_WRITABLE)
        except (BufferError, ValueError, TypeError) as error:
            with memoryview(memory) as view:  # a TypeError that says what is no buffer
                if view.readonly:
                    raise ValueError("memory must be writable, because the kernel puts there what arrives") from error
            raise TypeError(f"memory must be contiguous: {error}") from error
        self.has_brought = True
        return 0

    def __dlpack__(self, *, stream=None, max_version=None, dl_device=None, copy=None):
        """A capsule of all of its memory, for ``from_dlpack()`` of a library of arrays; see the class.

        Raises:
            BufferError: memory on another device is asked for.
        """
        cdef Py_buffer view
        PyBuffer_FillInfo(&view, self, self.buffers.memory, self.buffers.count * self.buffers.size, True, PyBUF_SIMPLE)
        return make_capsule(&view, self.dlpack_device, max_version, dl_device, copy)

    def __dlpack_device__(self):
        """The device type and number that it was given."""
        return self.dlpack_device

    # Properties -------------------------------------------------------------------------------------------------

    @property
    def count(self):
        """How many buffers it has."""
        return self.buffers.count

    @property
    def size(self):
        """Bytes in a buffer."""
        return self.buffers.size

    @property
    def registered(self):
        """Is the memory pinned for operations that name it by a number?"""
        return self.not_registered is None

    # Belonging to a loop ----------------------------------------------------------------------------------------

    cdef int join(self, LoopCore loop) except -1:
        """Belong to a loop, if to none yet."""
        cdef PoolGroup group
        self.check_usable()
        if self.ring == <void *>loop.ring:
            return 0
        if self.ring != NULL:
            raise ValueError("this buffer pool belongs to another event loop")
        group = new_group(self, loop)
        self.loop_reference = weakref.ref(loop)
        self.group_reference = weakref.ref(group)
        self.ring = <void *>loop.ring
        loop._pools.add(self)
        if self.register and loop.ring.is_owner():
            group.pin(self)
        return 0

    cdef PoolGroup group(self):
        """The ring's side of it, None if it has none or none any more."""
        return None if self.group_reference is None else self.group_reference()

    cdef int pinned_index(self, const unsigned char *data) except -2:
        """The entry of the ring's table of registered memory that has a buffer of the pool's, -1 if none has."""
        cdef PoolGroup group = self.group()
        if group is None or not group.pinned:
            return -1
        return group.pinned[<size_t>(data - self.buffers.memory) // pinned_at_once(self)]

    cdef int check_usable(self) except -1:
        if self.inherited:
            raise RuntimeError("this buffer pool belongs to the parent process, and cannot be used after fork()")
        if self.closed:
            raise RuntimeError("the event loop of this buffer pool is closed")
        return 0

    def _statistics(self):
        """The numbers of a PoolStatistics, as a dictionary."""
        cdef PoolGroup group = self.group()
        cdef nl_pool *buffers = &self.buffers
        return {
            "buffers": buffers.count, "size": <Py_ssize_t>buffers.size, "free": buffers.unused,
            "offered": buffers.offered, "leased": buffers.leased, "high_water": buffers.high_water,
            "lost": buffers.lost, "dry": buffers.dry, "waiting_receives": 0 if group is None else len(group.starved),
            "received": buffers.received, "received_bytes": buffers.received_bytes, "sent": buffers.sent,
            "sent_bytes": buffers.sent_bytes, "zero_copy_asked": self.zero_copy_asked,
            "zero_copy_done": self.zero_copy_done, "zero_copy_copied": self.zero_copy_copied,
            "zero_copy_failed": self.zero_copy_failed, "not_registered": self.not_registered or "",
        }

    def _states(self):
        """The state of each buffer, by its number in cext/nl_lease.h; for tests."""
        return bytes([self.buffers.buffers[index].state for index in range(self.buffers.count)])

    # Buffers ----------------------------------------------------------------------------------------------------

    def take(self, length=None):
        """A lease of an empty buffer, or of its first ``length`` bytes, to build a message in.

        What the buffer held before is still there, unless the pool wipes. What is not needed in the end is left by
        ``split()``.

        Raises:
            BlockingIOError: no buffer is free now.
            ValueError: ``length`` is negative, or more than a buffer has.
            RuntimeError: its loop is closed, or the pool is another process's.
        """
        cdef Lease lease = self.try_take(self.length_of(length))
        if lease is None:
            raise BlockingIOError(errno.EAGAIN, f"no buffer is free: of {self.buffers.count} {self.buffers.leased} are "
                                  f"leased, and {self.buffers.offered} wait for data")
        return lease

    async def take_when_free(self, length=None):
        """The same, but waits until a buffer is free. Who has waited longest is served first."""
        cdef PoolGroup group
        cdef Lease lease
        cdef Py_ssize_t size = self.length_of(length)
        self.join(_running_loop())
        group = self.group()
        lease = None if group.waiters else self.try_take(size)
        if lease is not None:
            return lease
        waiter = group.loop.create_future()
        group.waiters.append((waiter, size))
        group.want(self)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                waiter.result().release()
            raise

    cdef Py_ssize_t length_of(self, object length) except -1:
        self.check_usable()
        if length is None:
            return self.buffers.size
        length = operator.index(length)
        if not 0 <= length <= self.buffers.size:
            raise ValueError(f"length must be from 0 to {self.buffers.size}, the size of a buffer, not {length}")
        return length

    cdef Lease try_take(self, Py_ssize_t length):
        """A lease of an empty buffer, or None."""
        cdef Lease lease = new_lease(self, 0, NULL, length)
        nl_lock_take(&self.lock)
        cdef int index = c.nl_pool_take(&self.buffers, c.NL_TOKEN_NONE)
        nl_lock_give(&self.lock)
        if index < 0:
            lease.state = LEASE_ENDED
            return None
        lease.index = index
        lease.data = c.nl_pool_address(&self.buffers, index)
        lease.holds = True
        return lease

    cdef Lease received(self, unsigned index, Py_ssize_t length, uint64_t owner):
        """A lease of what the kernel has put into a buffer."""
        cdef Lease lease = new_lease(self, index, c.nl_pool_address(&self.buffers, index), length)
        nl_lock_take(&self.lock)
        # What a failed receive has written is not known.
        c.nl_pool_receive(&self.buffers, index, length if length else self.buffers.size, owner)
        c.nl_pool_note(&self.buffers, <unsigned>length)
        nl_lock_give(&self.lock)
        lease.holds = True
        return lease

    cdef unsigned top_up(self, bint exhausted) noexcept:
        """Offer the kernel as many buffers as it shall have, more than before if it found none; returns how many."""
        nl_lock_take(&self.lock)
        if exhausted:
            c.nl_pool_exhausted(&self.buffers)
        else:
            c.nl_pool_top_up(&self.buffers)
        nl_lock_give(&self.lock)
        return self.buffers.offered

    cdef int note_received(self, Py_ssize_t length) noexcept:
        """So much was received into a buffer that had been taken for that."""
        nl_lock_take(&self.lock)
        c.nl_pool_note(&self.buffers, <unsigned>length)
        nl_lock_give(&self.lock)
        return 0

    cdef int tell(self) except -1:
        """A buffer is free, and somebody waits for that. In whatever thread."""
        cdef PoolGroup group = self.group()
        if group is None or group.loop is None or self.inherited:
            return 0
        if group.ring.runs_elsewhere():
            group.loop.call_soon_threadsafe(group._go_on)
            return 0
        return group.mark_dirty()


cdef size_t pinned_at_once(BufferPool pool) noexcept:
    """How many bytes of a pool's memory are one entry of the ring's table: whole buffers."""
    return PINNED_LIMIT // pool.buffers.size * pool.buffers.size


def _checked_number(str name, number, most):
    number = operator.index(number)
    if not 1 <= number <= most:
        raise ValueError(f"{name} must be from 1 to {most}, not {number}")
    return number


def _check_overlap(BufferPool pool):
    """Would two pools hand out the same memory?"""
    cdef BufferPool other
    cdef unsigned char *begin = pool.buffers.memory
    cdef unsigned char *end = begin + pool.buffers.count * pool.buffers.size
    for other in list(brought_pools):
        if begin < other.buffers.memory + other.buffers.count * other.buffers.size and other.buffers.memory < end:
            raise ValueError(f"memory overlaps with that of another pool, {other!r}")


def _running_loop():
    loop = asyncio.get_running_loop()
    if not isinstance(loop, LoopCore):
        raise TypeError(f"a buffer pool needs an event loop of netloop's, and {type(loop).__name__} is none")
    return loop


cdef BufferPool default_pool(LoopCore loop):
    """The pool of a loop's own, for protocols that name none."""
    if loop._receive_pool is None:
        loop._receive_pool = BufferPool(DEFAULT_COUNT, loop.ring.streams.size, register=None)
    return loop._receive_pool


cdef Lease private_lease(bytes data):
    """A lease of memory of its own, with a copy of what had arrived before anybody wanted leases."""
    cdef BufferPool pool = BufferPool(1, PyBytes_GET_SIZE(data), register=None)
    cdef Lease lease = pool.try_take(PyBytes_GET_SIZE(data))
    memcpy(lease.data, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
    return lease


cdef bytes taken_bytes(Lease lease):
    """What a lease holds, for who wants no lease."""
    cdef bytes data = bytes(lease)
    lease.release()
    return data


@cython.final
@cython.no_gc
cdef class LeaseReceiver:
    """What a transport knows of the pool that it receives into. Nothing of that refers to a transport."""

    cdef int choose(self, object protocol, bint wanted, LoopCore loop) except -1:
        """Receive into the pool that a LeaseProtocol names, or into none if that is not wanted any more."""
        cdef object pool = protocol.receive_pool() if wanted else None
        if wanted:
            return self.use(default_pool(loop) if pool is None else pool, loop, "receive_pool() must return")
        self.pool = None
        self.starved = False
        return 0

    cdef int use(self, object pool, LoopCore loop, str what) except -1:
        """Receive into a pool from now on; `what` begins the message of a TypeError."""
        if type(pool) is not BufferPool:
            raise TypeError(f"{what} a BufferPool or None, not {type(pool).__name__}")
        (<BufferPool>pool).join(loop)
        self.pool = <BufferPool>pool
        # One that waits for a buffer of the former pool need not any more.
        self.starved = False
        return 0

    cdef bint arm(self, Endpoint endpoint, c.nl_file file) except -1:
        """Arm a multishot receive; says whether there is one, which there is not as long as it waits for a buffer."""
        if not self.prepare(endpoint):
            return False
        c.nl_prep_recv_multishot(endpoint.sqe(), file, FIRST_GROUP + self.lane,
                                 endpoint.token(c.NL_RECV_LEASED, self.lane))
        return True

    cdef bint arm_message(self, Endpoint endpoint, c.nl_file file, c.msghdr *message) except -1:
        """The same for datagrams, whose senders and control messages are put before them."""
        if not self.prepare(endpoint):
            return False
        c.nl_prep_recvmsg_multishot(endpoint.sqe(), file, message, FIRST_GROUP + self.lane,
                                    endpoint.token(c.NL_RECV_LEASED, self.lane))
        return True

    cdef bint arm_read(self, Endpoint endpoint, c.nl_file file, bint multishot) except -1:
        """The same for a file that is no socket."""
        if not self.prepare(endpoint):
            return False
        c.nl_prep_read_group(endpoint.sqe(), file, multishot, FIRST_GROUP + self.lane,
                             endpoint.token(c.NL_RECV_LEASED, self.lane))
        return True

    cdef bint prepare(self, Endpoint endpoint) except -1:
        """Have the kernel find a buffer; says whether there is one."""
        cdef PoolGroup group = self.pool.group()
        if self.starved:
            return False
        if not group.serves:
            group.serve(self.pool)
        if not self.pool.top_up(False):
            self.starve(endpoint)
            return False
        self.armed = self.pool
        self.lane = group.lane
        return True

    cdef Lease received(self, int length, unsigned flags, uint64_t owner):
        """The lease of what a completion has brought, None if that is nothing."""
        if flags & c.IORING_CQE_F_BUFFER:
            return self.armed.received(flags >> c.IORING_CQE_BUFFER_SHIFT, max(length, 0), owner)
        return <Lease>self.parked.pop(0) if length > 0 and self.parked else None

    cdef int park(self, c.io_uring_cqe *cqe) except -1:
        """A completion is kept until the loop runs again: have it name no buffer any more, but bring a lease.

        By then there may be another ring and another protocol, and the pool of this receive be forgotten.
        """
        cdef Lease lease
        if not cqe.flags & c.IORING_CQE_F_BUFFER:
            return 0
        lease = self.received(cqe.res, cqe.flags, cqe.user_data)
        cqe.flags &= ~<unsigned>c.IORING_CQE_F_BUFFER
        if cqe.res <= 0:
            lease.release()
        elif self.parked is None:
            self.parked = [lease]
        else:
            self.parked.append(lease)
        return 0

    cdef int drop(self, list backlog) except -1:
        """Nobody will be given what was held back, or kept when the loop stopped: its buffers go back."""
        while self.parked:
            (<Lease>self.parked.pop()).release()
        for each in backlog or ():
            if type(each) is Lease:
                (<Lease>each).release()
        return 0

    cdef int starve(self, Endpoint endpoint) except -1:
        """The kernel has found no buffer: have the endpoint flushed again when there is one."""
        if self.pool is None or self.starved:
            return endpoint.mark_dirty()
        return self.pool.group().starve(endpoint, self)


cdef PoolGroup new_group(BufferPool pool, LoopCore loop):
    cdef PoolGroup group = PoolGroup.__new__(PoolGroup)
    cdef list pools = loop.ring.pools
    if None in pools:
        group.lane = pools.index(None)
    elif len(pools) < POOLS_LIMIT:
        group.lane = len(pools)
        pools.append(None)
    else:
        raise RuntimeError(f"an event loop can have {POOLS_LIMIT} buffer pools, and this one has")
    group.loop = loop
    group.pool = weakref.ref(pool)
    loop.ring.attach(group)
    pools[group.lane] = group
    return group


@cython.final
cdef class PoolGroup(Endpoint):
    """A pool as its ring knows it."""

    def __cinit__(self):
        self.starved = deque()
        self.waiters = deque()
        self.pinned = []

    def __repr__(self):
        return f"<PoolGroup {self.lane}>"

    cdef int serve(self, BufferPool pool) except -1:
        """Have the kernel take the buffers of receives from the pool; done by the first receive."""
        cdef int error
        if pool.register and not self.pinned and pool.not_registered is not None:
            self.pin(pool)
        nl_lock_take(&pool.lock)
        error = c.nl_pool_serve(&pool.buffers, &self.ring.ring, FIRST_GROUP + self.lane)
        nl_lock_give(&pool.lock)
        if error:
            raise OSError(-error, "cannot register a pool of receive buffers: " + os.strerror(-error))
        self.serves = True
        return 0

    cdef int pin(self, BufferPool pool) except -1:
        """Register the memory itself, in pieces of whole buffers that the kernel can pin as one."""
        cdef size_t left = pool.buffers.count * pool.buffers.size
        cdef size_t most = pinned_at_once(pool)
        cdef unsigned char *at = pool.buffers.memory
        cdef int index
        while left:
            index = self.ring.register_memory(at, min(left, most))
            if index < 0:
                self.unpin()
                pool.not_registered = _why_not_pinned(-index, pool.buffers.count * pool.buffers.size)
                if pool.register is True:
                    raise OSError(-index, "cannot register the pool's memory: " + pool.not_registered)
                return 0
            self.pinned.append(index)
            at += min(left, most)
            left -= min(left, most)
        pool.not_registered = None
        return 0

    cdef int unpin(self) except -1:
        for index in self.pinned:
            self.ring.forget_memory(index)
        self.pinned.clear()
        return 0

    # Who waits for buffers --------------------------------------------------------------------------------------

    cdef int starve(self, Endpoint endpoint, LeaseReceiver receiver) except -1:
        """The kernel has found no buffer for a receive. Nothing is lost: the data stays in the socket."""
        cdef BufferPool pool = receiver.pool
        if pool.top_up(True):
            return endpoint.mark_dirty()
        receiver.starved = True
        self.starved.append((endpoint, receiver))
        pool.buffers.dry += 1
        self.ring.pools_dry += 1
        self.want(pool)
        return self.log_dry(pool)

    cdef int want(self, BufferPool pool) except -1:
        """Have who brings a buffer back tell."""
        pool.buffers.wanted = True
        # Without the interpreter lock that may have happened a moment ago.
        return self.mark_dirty() if NL_FREE_THREADED else 0

    cdef int log_dry(self, BufferPool pool) except -1:
        """Say, now and then, that receives wait for the application, and who has held a buffer for longest.

        Scheduled, because a flush may be under way, and handlers of the log are the application's code.
        """
        cdef double now = time.monotonic()
        cdef unsigned clock = c.nl_pool_now()
        cdef int oldest
        if self.logged and now - self.logged < LOG_PAUSE:
            return 0
        self.logged = now
        oldest = c.nl_pool_oldest(&pool.buffers, clock)
        if oldest < 0:
            return 0
        seconds = (clock - pool.buffers.buffers[oldest].since) * 1e-3
        self.loop.call_soon(
            logger.warning,
            "%s is dry, and receives wait until a lease is released. One is held for %.3f seconds, by %s",
            repr(pool), seconds, self.owner(pool.buffers.buffers[oldest].owner))
        return 0

    cdef str owner(self, uint64_t token):
        """Who had a lease first, in words."""
        cdef unsigned slot = c.nl_token_slot(token)
        if token == c.NL_TOKEN_NONE:
            return "whoever has called take()"
        if not c.nl_slots_match(&self.ring.slots, slot, c.nl_token_generation(token)):
            return "the protocol of a connection that is closed"
        endpoint = self.ring.resting[slot]() if slot in self.ring.resting else self.ring.endpoints[slot]
        return f"the protocol of {endpoint!r}"

    cdef int on_flush(self) except -1:
        cdef BufferPool pool = self.pool()
        if pool is None:
            return self.retire()
        self.feed_waiters(pool)
        self.feed_starved(pool)
        pool.buffers.wanted = bool(self.starved or self.waiters)
        # Those fed may have come to their end meanwhile: the others ask again in the next turn.
        return 1 if self.starved and pool.buffers.offered else 0

    cdef int feed_waiters(self, BufferPool pool) except -1:
        cdef Lease lease
        while self.waiters and pool.buffers.unused:
            waiter, length = self.waiters.popleft()
            if waiter.done():
                continue
            lease = pool.try_take(length)
            if lease is None:
                self.waiters.appendleft((waiter, length))
                return 0
            waiter.set_result(lease)
        return 0

    cdef int feed_starved(self, BufferPool pool) except -1:
        """Have as many receives armed again as there are buffers for them, the longest waiting first."""
        cdef unsigned left = pool.top_up(False)
        while left and self.starved:
            endpoint, receiver = self.starved.popleft()
            (<LeaseReceiver>receiver).starved = False
            (<Endpoint>endpoint).mark_dirty()
            left -= 1
        return 0

    def _go_on(self):
        if self.attached:
            self.mark_dirty()

    # The end ----------------------------------------------------------------------------------------------------

    cdef int on_orphaned(self) except -1:
        """The pool is gone. Its memory is the kernel's no more, since no receive is in flight; the group still is."""
        if self.loop is None or not self.attached or self.ring.abandoned:
            return 0
        if self.ring.runs_elsewhere():
            self.loop.call_soon_threadsafe(self._go_on)
            return 0
        return self.mark_dirty()

    cdef int retire(self) except -1:
        """Leave the ring."""
        if self.serves:
            c.nl_pool_unregister(&self.ring.ring, FIRST_GROUP + self.lane)
        self.unpin()
        self.ring.pools[self.lane] = None
        self.loop = None
        return self.ring.detach(self)

    cdef int on_completion(self, unsigned op, unsigned lane, int res, unsigned flags) except -1:
        return 0

    cdef int on_ring_replaced(self) except -1:
        """Register with the new ring what the old one had."""
        cdef BufferPool pool = self.pool()
        cdef bint pinned = bool(self.pinned)
        self.pinned.clear()
        if pool is None:
            self.serves = False
            return self.mark_dirty()
        if pinned:
            self.pin(pool)
        return self.serve(pool) if self.serves else 0

    cdef int on_ring_closed(self) except -1:
        """The loop is closed. What the kernel may still write to, because something is in flight, is not used again."""
        cdef BufferPool pool = self.pool()
        self.loop = None
        self.starved.clear()
        self.waiters.clear()
        if pool is None:
            return 0
        nl_lock_take(&pool.lock)
        c.nl_pool_leave(&pool.buffers, self.ring.in_flight != 0)
        pool.buffers.wanted = False
        nl_lock_give(&pool.lock)
        pool.closed = True
        pool.not_registered = "its loop is closed"
        pool.ring = NULL
        return 0

    cdef int after_fork(self, bint in_child) except -1:
        cdef BufferPool pool = self.pool()
        if in_child and pool is not None:
            nl_lock_reset(&pool.lock)
            pool.inherited = True
            # Nothing comes there any more, and what is shared with the parent is the parent's to clear.
            pool.buffers.wipes = False
            pool.buffers.serving = False
            pool.buffers.wanted = False
        return 0


def _why_not_pinned(int error, size_t size):
    """Cause and remedy of an error of registering memory."""
    if error == ENOMEM:
        limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
        return (f"pinning {size} bytes exceeds what this user may lock (RLIMIT_MEMLOCK is {limit} bytes, for all of "
                "the user's rings and pinned memory); raise it (ulimit -l, LimitMEMLOCK= of systemd), or make the pool "
                "smaller")
    if error == EFAULT:
        return ("the kernel cannot pin this memory, such as that of a mapped file or CUDA's managed memory; use "
                "anonymous, shared or page-locked memory")
    if error == ENOSPC:
        return "the ring's table of registered memory is full; use fewer pools, or register=False for some"
    if error == EINVAL:
        return "this kernel has no table of registered memory (it came with Linux 5.19)"
    return os.strerror(error)
