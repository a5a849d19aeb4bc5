from libc.stdint cimport uint64_t

from netloop.core.cext cimport flag, io_uring_cqe, msghdr, nl_file, nl_pool
from netloop.core.free_threading cimport nl_lock
from netloop.core.ring cimport Endpoint, Ring
from netloop.core.turn cimport LoopCore


cdef enum:
    # A lease of no more than this part of its buffer is small.
    SMALL_SHARE = 16


cdef enum:
    # When a pool's leases are sent without a copy.
    ZERO_COPY_NEVER
    ZERO_COPY_AUTO
    ZERO_COPY_ALWAYS


cdef class Lease:
    cdef BufferPool pool
    cdef unsigned index
    # One of LEASE_LIVE and its kin; and does it count among the buffer's holders?
    cdef unsigned char state
    cdef flag holds
    cdef flag granting
    cdef unsigned char *data
    cdef Py_ssize_t length
    # Views of it, and those of them that can be written through.
    cdef Py_ssize_t exports
    cdef Py_ssize_t writable_exports
    # Handed over: sends without a copy of which the kernel has not said its last word; and has its transport done with
    # it all the same, and sent it?
    cdef unsigned kept
    cdef flag finished
    cdef flag sent

    cdef int check_live(self) except -1
    cdef int soil(self) noexcept
    cdef int check_sendable(self, LoopCore loop) except -1
    cdef int hand_over(self) except -1
    cdef int finish(self, bint sent) except -1
    cdef int keep(self) noexcept
    cdef int let_go(self) except -1
    cpdef release(self)
    cdef int end(self, unsigned char state, bint sent) except -1
    cdef inline bint is_small(self) noexcept:
        """Does it hold so little that copying it is better than keeping its buffer until a slow peer has taken it?"""
        return self.length * SMALL_SHARE <= <Py_ssize_t>self.pool.buffers.size
    cdef int cut(self, Py_ssize_t length) noexcept
    cdef int behead(self, Py_ssize_t before, Py_ssize_t length) noexcept


cdef class BufferPool:
    cdef nl_pool buffers
    # Without the interpreter lock, for all of the former and for the leases; never held while anything is called.
    cdef nl_lock lock
    cdef Py_buffer brought
    cdef bint has_brought
    # Where DLPack is told that the memory lies: a device type and a device's number.
    cdef tuple dlpack_device
    # What it belongs to, by weak references, since leases in a transport's outbox are not seen by the collector.
    cdef object loop_reference
    cdef object group_reference
    cdef object __weakref__
    # The ring's address, to be compared; NULL while there is none, and when that has gone.
    cdef void *ring
    cdef object register
    cdef unsigned char zero_copy
    # Leases that were to be sent without a copy, and what has become of those of which the kernel has said so.
    cdef uint64_t zero_copy_asked, zero_copy_done, zero_copy_copied, zero_copy_failed
    cdef str not_registered
    cdef bint closed
    cdef bint inherited

    cdef int bring(self, object memory) except -1
    cdef int join(self, LoopCore loop) except -1
    cdef PoolGroup group(self)
    cdef int pinned_index(self, const unsigned char *data) except -2
    cdef int check_usable(self) except -1
    cdef Py_ssize_t length_of(self, object length) except -1
    cdef Lease try_take(self, Py_ssize_t length)
    cdef Lease received(self, unsigned index, Py_ssize_t length, uint64_t owner)
    cdef unsigned top_up(self, bint exhausted) noexcept
    cdef int note_received(self, Py_ssize_t length) noexcept
    cdef int tell(self) except -1


cdef class LeaseReceiver:
    # The pool that is wanted, None if the protocol takes no leases; and that of the receive in flight, or None.
    cdef BufferPool pool
    cdef BufferPool armed
    cdef unsigned lane
    # Does it wait for a buffer?
    cdef flag starved
    # What has arrived in completions that wait for the loop to run again, in their order; or None.
    cdef list parked

    cdef Lease received(self, int length, unsigned flags, uint64_t owner)
    cdef int park(self, io_uring_cqe *cqe) except -1
    cdef int drop(self, list backlog) except -1
    cdef int choose(self, object protocol, bint wanted, LoopCore loop) except -1
    cdef int use(self, object pool, LoopCore loop, str what) except -1
    cdef bint arm(self, Endpoint endpoint, nl_file file) except -1
    cdef bint arm_message(self, Endpoint endpoint, nl_file file, msghdr *message) except -1
    cdef bint arm_read(self, Endpoint endpoint, nl_file file, bint multishot) except -1
    cdef bint prepare(self, Endpoint endpoint) except -1
    cdef int starve(self, Endpoint endpoint) except -1


cdef class PoolGroup(Endpoint):
    cdef LoopCore loop
    cdef object pool
    cdef unsigned lane
    cdef bint serves
    cdef list pinned
    cdef object starved
    cdef object waiters
    cdef double logged
    cdef object __weakref__

    cdef int serve(self, BufferPool pool) except -1
    cdef int pin(self, BufferPool pool) except -1
    cdef int starve(self, Endpoint endpoint, LeaseReceiver receiver) except -1
    cdef int want(self, BufferPool pool) except -1
    cdef int log_dry(self, BufferPool pool) except -1
    cdef str owner(self, uint64_t token)
    cdef int unpin(self) except -1
    cdef int feed_waiters(self, BufferPool pool) except -1
    cdef int feed_starved(self, BufferPool pool) except -1
    cdef int on_orphaned(self) except -1
    cdef int retire(self) except -1


cdef BufferPool default_pool(LoopCore loop)
cdef Lease private_lease(bytes data)
cdef bytes taken_bytes(Lease lease)
