# cython: language_level=3, boundscheck=False, wraparound=False
"""The ring seen from Python's side: who owns which operation, and what one turn does with the kernel.

The ring knows its users only as endpoints. An endpoint writes submissions when it is flushed and is told of each
completion. It stays in the endpoint table, which holds a strong reference, for as long as the kernel may touch memory
that it owns.
"""

import errno
import os
import threading
import time
import weakref
from collections import deque

cimport cython
from libc.errno cimport EAGAIN, EBADF, EBUSY, EINTR, EMFILE, ENFILE, ENOMEM
from libc.stdint cimport INT64_MAX
from libc.stdlib cimport calloc
from libc.stdlib cimport free as free_memory
from libc.string cimport memset
from posix.time cimport timespec, nanosleep
from posix.unistd cimport close as close_descriptor

from netloop.core cimport cext as c
from netloop.core.free_threading cimport (
    PyThread_get_thread_ident, nl_glance, nl_glance64, nl_load_thread, nl_load_unsigned,
    nl_store_meter, nl_store_unsigned,
)

cdef enum:
    FILES_MARGIN = 8
    # Memory of a buffer is committed page by page as datagrams fill it, so what large ones need costs small ones
    # nothing.
    DATAGRAM_BUFFERS = 16
    DATAGRAM_BUFFERS_MAX = 512
    SHORT_OF_MEMORY_PAUSE = 1000000  # nanoseconds
    # How long a loop with a poller sleeps before it looks for the ends of silent operations, in nanoseconds; and where
    # somebody has more to send after one.
    SETTLE_WAIT = 5000000
    AWAITED_WAIT = 50000
    # Fewer than the operations whose deferred work one enter runs.
    ENDINGS_AT_ONCE = 16

# How long after a group of buffers has last grown its memory is given back.
cdef double BURST_SECONDS = 5.0
# How long closing waits for the kernel to let go of all memory.
cdef double CLOSE_SECONDS = 1.0

# Set-up flags that this kernel was found to accept; asked once per process, or by several threads at the same time.
cdef unsigned accepted_flags = 0
# And whether its fixed-file table can be used for connections that are closed again: one of these.
cdef enum:
    NOT_ASKED, RELEASES_FILES, KEEPS_FILES
cdef unsigned release_of_files = NOT_ASKED

cdef unsigned _OF_POLLERS = c.IORING_SETUP_SQPOLL | c.IORING_SETUP_SQ_AFF | c.IORING_SETUP_ATTACH_WQ

# The rings that have a poller, to find one whose poller another ring of this process can share; and who may look.
cdef object polled_rings = weakref.WeakSet()
cdef object polled_rings_lock = threading.RLock()
# A child has none of the threads that may be looking while it is forked, so nobody would unlock this there. A handler
# of a signal that forks may have interrupted the very thread that is looking, which may therefore lock it again.
os.register_at_fork(before=polled_rings_lock.acquire, after_in_parent=polled_rings_lock.release,
                    after_in_child=polled_rings_lock.release)

# What the kernel may still write to although its ring is closed.
cdef list left_in_flight = []

_MESSAGES = {
    errno.EEXIST: "the ring belongs to the thread that first ran this loop, and cannot be used from another one",
    errno.EBADR: "the kernel dropped completions because it had no memory for them; this loop has lost operations",
    errno.EBADF: "the ring's descriptor was closed by somebody else",
    errno.EOWNERDEAD: "the kernel's thread that submits for this ring is gone",
}


def ask_kernel(FaultPlan faults=None):
    """What the kernel offers, in its own numbers; netloop.core.probe gives them names.

    Returns the accepted set-up flags and the features, each as bits; whether it knows each operation, by number;
    whether it registers buffer groups, files, buffers, ring descriptors, restrictions and busy polling; and whether
    trials succeeded of an accept that does not wait, of setting a socket's option, of asking for its name, and of
    closing a file in the table.

    Raises OSError with the errno of the system call that was refused.
    """
    cdef c.nl_probe answer
    cdef nl_sys sys
    c.nl_sys_real(&sys)
    cdef int error = c.nl_probe_run(&answer, &sys if faults is None else faults.system())
    if error:
        raise OSError(-error, os.strerror(-error))
    operations = [bool(answer.operations[i]) for i in range(c.NL_OPS_KNOWN)]
    registrations = (answer.buffer_groups, answer.fixed_files, answer.registered_buffers, answer.registered_rings,
                     answer.restrictions, answer.busy_polling)
    trials = (answer.accepts_now, answer.sets_options, answer.tells_names, answer.releases_files)
    return answer.setup_flags, answer.features, operations, list(map(bool, registrations)), list(map(bool, trials))


cdef list names_in(const c.nl_allowed *table):
    cdef list names = []
    while table.name != NULL:
        names.append(table.name.decode())
        table += 1
    return names


def list_allowed():
    """What a loop's ring may do: the names of the operations, of their flags, and of what may be registered."""
    return {
        "operations": names_in(c.nl_allowed_operations),
        "flags": names_in(c.nl_allowed_flags),
        "registrations": names_in(c.nl_allowed_registrations),
    }


cdef class FaultPlan:
    """Make the ``nth`` (from 1) io_uring system call of a kind fail with ``errno``: a tool for tests.

    ``call`` is "setup", "enter", "register" or "any". Hand the plan to a loop as ``EventLoop(_faults=plan)``;
    ``plan.calls`` then counts the calls of that kind.
    """

    def __init__(self, str call, uint64_t nth, int errno):  # no-cython-lint
        kinds = {"setup": c.NL_CALL_SETUP, "enter": c.NL_CALL_ENTER, "register": c.NL_CALL_CONTROL,
                 "any": c.NL_CALL_ANY}
        if call not in kinds:
            raise ValueError(f"call must be one of {', '.join(kinds)}, not {call!r}")
        c.nl_fault_init(&self.fault, kinds[call], nth, errno)

    @property
    def calls(self):
        return self.fault.calls

    cdef nl_sys *system(self) noexcept:
        return &self.fault.sys


_LACKING = {
    "FIXED_FD_INSTALL": c.NL_LACKS_INSTALL, "READ_MULTISHOT": c.NL_LACKS_READ_MULTISHOT,
    "IORING_ACCEPT_DONTWAIT": c.NL_LACKS_ACCEPT_NOW, "SOCKET_URING_OP_SETSOCKOPT": c.NL_LACKS_OPTIONS,
    "SOCKET_URING_OP_GETSOCKNAME": c.NL_LACKS_NAMES, "files closed at once": c.NL_LACKS_RELEASE,
    "RESTRICTIONS": c.NL_LACKS_RESTRICTIONS,
    "NAPI": c.NL_LACKS_NAPI,
}


cdef class OlderKernel(FaultPlan):
    """Have a loop find a kernel that lacks some features: a tool for tests, handed to a loop as a FaultPlan is.

    ``lacking`` names features as netloop.core.probe does; ``unknown_flags`` are set-up flags by their numbers.
    """

    def __init__(self, object lacking=(), unsigned unknown_flags=0):
        cdef unsigned bits = 0
        super().__init__("any", 0, 0)
        for name in lacking:
            bits |= _LACKING[name]
        c.nl_older_init(&self.older, bits, unknown_flags)

    cdef nl_sys *system(self) noexcept:
        return &self.older.sys


cdef int refuse_thread() except -1:
    raise RuntimeError("Non-thread-safe operation invoked on an event loop that runs in another thread: without the "
                       "interpreter lock this is not possible; have it done there, with call_soon_threadsafe()")


cdef uint64_t unawaited_token(unsigned op) noexcept:
    """The token of an operation whose end nobody waits for: NL_OPTION or NL_CANCEL."""
    return nl_token(c.NL_CALL_SLOT, 1, op, 0)


cdef class Endpoint:
    """An owner of operations on a ring."""

    cdef int on_flush(self) except -1:
        """Write submissions; at least FLUSH_RESERVE entries are free. Return 1 to be flushed again next turn.

        No code of the application may run in here.
        """
        raise NotImplementedError

    cdef int on_flush_failed(self, object error) except -1:
        """on_flush() has raised an exception, mostly for want of memory: this endpoint cannot go on, all others can."""
        raise error

    cdef int on_completion(self, unsigned op, unsigned lane, int res, unsigned flags) except -1:
        """An operation has completed. Raises nothing but SystemExit and KeyboardInterrupt."""
        raise NotImplementedError

    cdef int on_silent_end(self) except -1:
        """The operation has succeeded that completes only if it fails. No code of the application may run in here."""
        raise NotImplementedError

    cdef int on_gathered(self) except -1:
        """All completions of a dispatch have been told, in which this endpoint has asked for this by Ring.gathered."""
        raise NotImplementedError

    cdef int on_farewell(self) except -1:
        """Its place in the ready queue has come, for which it has asked; code of the application may run in here."""
        raise NotImplementedError

    cdef int on_park(self) except -1:
        """The loop has stopped, and may go on in another thread: let go of what only this thread's ring has."""
        return 0

    cdef int on_parked(self, c.io_uring_cqe *cqe) except -1:
        """A completion is kept until the loop runs again: change it if it names what only this thread's ring has."""
        return 0

    cdef int on_ring_replaced(self) except -1:
        """The loop runs in another thread from now on, with a new ring: register with that what this endpoint had."""
        return 0

    cdef int on_abandoned(self, unsigned op, unsigned lane, int res, unsigned flags) except -1:
        """An operation has completed after the loop was closed: release what the completion carries."""
        return 0

    cdef int on_ring_closed(self) except -1:
        """The loop was closed: nothing is in flight any more, and nothing will be flushed."""
        return 0

    cdef int before_fork(self) except -1:
        """The process is about to fork: prepare what the child is to inherit. Raises OSError if that is too much."""
        return 0

    cdef int after_fork(self, bint in_child) except -1:
        """The process has forked, or could not."""
        return 0

    cdef bint on_left_behind(self) except -1:
        """The ring's thread has ended. Say whether that leaves operations whose end will never be heard of, which keep
        this endpoint for ever; in_flight counts those no more."""
        return False

    cdef io_uring_sqe *sqe(self):
        """A submission entry for an operation that this endpoint owns from now on."""
        if self.resting:
            self.ring.hold(self)
        self.in_flight += 1
        self.ring.in_flight += 1
        return c.nl_ring_sqe(&self.ring.ring)


# In the place of an endpoint that rests, for the answer to a cancel that had found nothing.
cdef Endpoint nobody = Endpoint.__new__(Endpoint)


cdef class BufferGroup:
    """Receive buffers that endpoints of one kind share, and the endpoints that wait for some to come back."""

    def __cinit__(self, unsigned number, size_t size, unsigned count, unsigned count_max):
        self.number = number
        self.size = size
        self.count = count
        self.count_max = count_max
        self.starved = deque()

    def __dealloc__(self):
        c.nl_buffers_close(&self.buffers)

    cdef int open(self, Ring ring) except -1:
        """Register the group; done by the first receive, so that a loop without connections has none."""
        cdef int error
        if self.buffers.queue == NULL:
            error = c.nl_buffers_open(&self.buffers, &ring.ring, self.number, self.size, self.count, self.count_max)
            if error:
                raise OSError(-error, "cannot register receive buffers: " + os.strerror(-error))
        return 0

    cdef int move(self, Ring ring, bytearray parked) except -1:
        """Register the memory with a new ring; `parked` says of each buffer whether a completion yet to come has it."""
        cdef int error = c.nl_buffers_move(&self.buffers, &ring.ring, parked)
        if error:
            raise OSError(-error, "cannot register receive buffers: " + os.strerror(-error))
        return 0

    cdef int shrink_unregistered(self, Ring ring) except -1:
        """Give memory back where a poller may fill a buffer at any moment: meanwhile the kernel has none of them.

        A receive that finds none for that reason is armed again.
        """
        cdef bytearray parked
        if self.buffers.queue == NULL or self.buffers.taken:
            return 0
        c.nl_pool_unregister(&ring.ring, self.number)
        while c.nl_ring_overflowed(&ring.ring):
            ring.set_aside()
            ring.enter(0, 0)
        ring.set_aside()
        parked = self.find_parked(ring)
        c.nl_buffers_shrink(&self.buffers, 1 in parked)
        return self.move(ring, parked)

    cdef bytearray find_parked(self, Ring ring):
        """For each buffer 1 if a completion has it that is set aside, else 0. No other may name one."""
        cdef bytearray parked = bytearray(self.buffers.limit)
        cdef c.io_uring_cqe *cqe
        cdef size_t index
        for index in range(ring.ring.aside_next, ring.ring.aside_end):
            cqe = &ring.ring.aside[index]
            if cqe.flags & c.IORING_CQE_F_BUFFER and ring.group_of(c.nl_token_op(cqe.user_data)) is self:
                parked[cqe.flags >> c.IORING_CQE_BUFFER_SHIFT] = 1
        return parked

    cdef int drop(self, unsigned flags) noexcept:
        """Give back, unread, the buffer that a completion with these flags may carry."""
        if flags & c.IORING_CQE_F_BUFFER:
            c.nl_buffers_take(&self.buffers, flags)
            c.nl_buffers_give(&self.buffers, flags)
        return 0

    cdef int starve(self, Endpoint endpoint) except -1:
        """The kernel found no buffer for an endpoint's receive: flush it again when there are some."""
        if c.nl_buffers_exhausted(&self.buffers):
            endpoint.ring.burst_over = time.monotonic() + BURST_SECONDS
            return endpoint.mark_dirty()
        self.starved.append(endpoint)
        return 0

    cdef int feed_starved(self) except -1:
        """Re-arm as many waiting receives as there are free buffers, the longest waiting first."""
        cdef Endpoint endpoint
        cdef unsigned free = self.buffers.offered - self.buffers.taken
        while free and self.starved:
            endpoint = <Endpoint>self.starved.popleft()
            endpoint.mark_dirty()
            free -= 1
        return 0


# The ring is closed before the memory goes that the kernel may write to.
@cython.no_gc_clear
cdef class Ring:
    """One io_uring with its endpoint table, buffer groups and fixed-file table.

    ``poller`` is the CPU of a kernel thread that submits for it and the milliseconds for which that finds nothing to do
    before it sleeps; or None.
    """

    def __cinit__(self, *, unsigned submission_entries, unsigned completion_entries, unsigned buffer_count,
                  unsigned buffer_count_max, size_t buffer_size, unsigned fixed_files, FaultPlan faults=None,
                  tuple poller=None):
        self.ring.fd = -1
        c.nl_slots_init(&self.slots)
        self.endpoints = []
        self.resting = {}
        self.late_calls = {}
        self.pools = []
        self.silent = []
        self.gathered = []
        self.dirty = []
        self.flushing = []
        self.streams = BufferGroup(0, buffer_size, buffer_count, buffer_count_max)
        self.datagrams = BufferGroup(1, c.NL_DATAGRAM_HEAD + c.NL_DATAGRAM_CONTROL_ROOM + c.NL_DATAGRAM_LIMIT,
                                     DATAGRAM_BUFFERS, DATAGRAM_BUFFERS_MAX)
        self.taken_up_by_all = &self.taken_up
        self.faults = faults
        self.submission_entries = max(submission_entries, <unsigned>FLUSH_RESERVE)
        self.completion_entries = max(completion_entries, self.submission_entries)
        self.fixed_files = fixed_files
        if poller is not None:
            self.polled = True
            self.poller.cpu, self.poller.idle = poller
        c.nl_sys_real(&self.sys)
        cdef bint older = isinstance(faults, OlderKernel)
        cdef int error = self.set_up(&self.ring, 0 if older else nl_load_unsigned(&accepted_flags))
        if error:
            raise OSError(-error, os.strerror(-error))
        if not older and not self.polled:
            nl_store_unsigned(&accepted_flags, self.ring.setup_flags)

    def __dealloc__(self):
        c.nl_ring_close(&self.ring)
        c.nl_files_close(&self.files)
        c.nl_slots_free(&self.slots)
        free_memory(self.meter)

    cdef int measure(self) except -1:
        """Have the time counted that turns are at work, from the next one on. Any thread, one at a time."""
        cdef c.nl_meter *meter
        if self.meter == NULL:
            meter = <c.nl_meter *>calloc(1, sizeof(c.nl_meter))
            if meter == NULL:
                raise MemoryError("no memory to count how long turns take")
            nl_store_meter(&self.meter, meter)
        return 0

    cdef nl_sys *system(self) noexcept:
        """How the ring makes its system calls."""
        return &self.sys if self.faults is None else self.faults.system()

    cdef int set_up(self, c.nl_ring *ring, unsigned flags) except? -1:
        """Set up a ring, not enabled yet, that may do only what netloop does; 0, or -errno.

        Where the kernel, or who has started this process, does not let it be restricted, it may do everything else that
        is allowed here, and ring.restricted says so.
        """
        cdef int error
        if self.polled:
            error = self.set_up_polled(ring)
        else:
            error = c.nl_ring_setup(ring, self.system(), self.submission_entries, self.completion_entries, flags)
        if not error and c.nl_ring_restrict(ring) == -ENOMEM:
            # This may pass, and no ring should be without restrictions only because memory was short for a moment.
            c.nl_ring_close(ring)
            error = -ENOMEM
        return error

    cdef int set_up_polled(self, c.nl_ring *ring) except? -1:
        """The same with a poller: that of another ring on this CPU, or else one of its own."""
        cdef Ring other
        cdef int error
        with polled_rings_lock:
            for each in list(polled_rings):
                other = <Ring>each
                if other.poller.cpu == self.poller.cpu and <int>nl_glance(&other.ring.fd) >= 0:
                    self.poller.shared = <int>nl_glance(&other.ring.fd)
                    if not c.nl_ring_setup_polled(ring, self.system(), self.submission_entries,
                                                  self.completion_entries, &self.poller):
                        polled_rings.add(self)
                        return 0
            # A ring that another thread closes at this moment shares its poller with nobody.
            self.poller.shared = -1
            error = c.nl_ring_setup_polled(ring, self.system(), self.submission_entries, self.completion_entries,
                                           &self.poller)
            if not error:
                polled_rings.add(self)
            return error

    # Ownership: threads and processes ---------------------------------------------------------------------------

    cdef int check_usable(self) except -1:
        if self.abandoned:
            raise RuntimeError("this event loop belongs to the parent process; its ring cannot be used after fork(). "
                               "Make a new loop in the child")
        # Also asked by threads that watch a descriptor while the loop goes to another thread and ring.
        if <int>nl_glance(&self.ring.fd) < 0:
            raise RuntimeError("Event loop is closed")
        return 0

    cdef bint is_owner(self):
        """Is the calling thread the one that the kernel lets use this ring?

        A running loop's thread is known by the interpreter's identifier, which costs nothing to ask for. Once a thread
        has ended, that identifier is given to another; the kernel's own, which takes a system call, is not.
        """
        cdef unsigned long running = nl_load_thread(&self.running)
        if running:
            return running == PyThread_get_thread_ident()
        if self.polled:
            return self.enabled
        return self.enabled and self.owner == <unsigned long>threading.get_native_id()

    cdef bint is_idle(self):
        """Does the loop not run, and may the calling thread use the ring all the same?"""
        return not self.running and self.ring.fd >= 0 and not self.abandoned and self.is_owner()

    cdef int enable(self) except -1:
        """Make the calling thread the ring's only submitter."""
        cdef int error = c.nl_ring_enable(&self.ring)
        if error:
            raise OSError(-error, "cannot enable the ring: " + os.strerror(-error))
        self.enabled = True
        return 0

    cdef int register_descriptor(self, bint wanted) except -1:
        """Use the ring through the calling thread's registered descriptors, or stop doing so."""
        if wanted:
            c.nl_ring_register_fd(&self.ring)
        else:
            c.nl_ring_unregister_fd(&self.ring)
        return 0

    def poll_busily(self, unsigned microseconds):
        """Have waits poll the queues of network cards for so long before they sleep. Raises OSError."""
        cdef int error = c.nl_ring_busy_poll(&self.ring, microseconds)
        if error:
            raise OSError(-error, os.strerror(-error))
        self.busy_poll = microseconds

    cdef int set_aside(self) except -1:
        """Move the completions that are there to memory of our own, where they can be looked at and handed over."""
        if c.nl_ring_set_aside(&self.ring):
            raise MemoryError("no memory to keep what has completed")
        return 0

    cdef int replace(self) except -1:
        """Take a new ring, not enabled yet, in the place of this one; what is set aside goes along."""
        cdef c.nl_ring fresh, old
        cdef int error = self.set_up(&fresh, self.ring.setup_flags)
        if error:
            raise OSError(-error, "cannot set up a ring for this thread: " + os.strerror(-error))
        if self.busy_poll:
            # The ring before has taken it; a refusal would cost latency only.
            c.nl_ring_busy_poll(&fresh, self.busy_poll)
        fresh.counters = self.ring.counters
        fresh.aside, self.ring.aside = self.ring.aside, NULL
        fresh.aside_next, fresh.aside_end = self.ring.aside_next, self.ring.aside_end
        # In this order, so that there is a ring at any time: other threads take none for a loop that is closed.
        old, self.ring = self.ring, fresh
        c.nl_ring_close(&old)
        c.nl_files_close(&self.files)
        memset(&self.registered, 0, sizeof(self.registered))
        self.files_refused = False
        self.enabled = False
        return 0

    def before_fork(self):
        """Have the endpoints prepare for a fork, as far as descriptors last; in a thread that may use the ring."""
        if self.ring.fd < 0 or self.abandoned or not self.is_owner():
            return
        try:
            for endpoint in self.all_endpoints():
                (<Endpoint>endpoint).before_fork()
        except OSError:
            # The child is told by whatever it misses.
            pass

    def after_fork(self, bint in_child):
        """Tell the endpoints that the process has forked; in the parent, in the thread that has prepared for it."""
        if not in_child and not self.is_owner():
            return
        for endpoint in self.all_endpoints():
            (<Endpoint>endpoint).after_fork(in_child)

    def abandon(self):
        """In a forked child: give the inherited ring up without touching what it shares with the parent."""
        self.abandoned = True
        self.in_flight = 0
        self.silent.clear()
        self.awaited = False
        c.nl_ring_abandon(&self.ring)

    # The endpoint table -----------------------------------------------------------------------------------------

    cdef int attach(self, Endpoint endpoint) except -1:
        self.check_usable()
        self.check_thread()
        cdef int slot = c.nl_slots_take(&self.slots)
        if slot < 0:
            raise OSError(-slot, "no slot for another endpoint: " + os.strerror(-slot))
        while len(self.endpoints) < <Py_ssize_t>self.slots.capacity:
            self.endpoints.append(None)
        endpoint.ring = self
        endpoint.slot = slot
        endpoint.generation = self.slots.generation[slot]
        endpoint.attached = True
        self.endpoints[slot] = endpoint
        return 0

    cdef int detach(self, Endpoint endpoint) except -1:
        """Let an endpoint go; nothing of it may be in flight."""
        if not endpoint.attached:
            return 0
        if endpoint.in_flight:
            raise RuntimeError(f"{endpoint!r} still has {endpoint.in_flight} operations in flight")
        if endpoint.resting:
            self.hold(endpoint)
        endpoint.attached = False
        c.nl_slots_give(&self.slots, endpoint.slot)
        self.endpoints[endpoint.slot] = None
        return 0

    cdef int rest(self, Endpoint endpoint) except -1:
        """Nothing of an endpoint is in flight or to be flushed: keep it alive no longer than others do.

        Its next submission has it held again.
        """
        cdef size_t index
        for index in range(self.ring.aside_next, self.ring.aside_end):
            # Something was kept for it when the loop stopped, though nothing of it is in flight any more: an operation
            # that was cancelled then had brought it before. When that is dispatched, this is asked again.
            if c.nl_token_slot(self.ring.aside[index].user_data) == endpoint.slot:
                return 0
        if not endpoint.resting:
            self.resting[endpoint.slot] = weakref.ref(endpoint)
            self.endpoints[endpoint.slot] = nobody
            endpoint.resting = True
        return 0

    cdef int hold(self, Endpoint endpoint) except -1:
        """Keep an endpoint alive that has rested."""
        self.endpoints[endpoint.slot] = endpoint
        endpoint.resting = False
        self.resting.pop(endpoint.slot, None)
        return 0

    cdef list all_endpoints(self):
        """Those that are attached, resting ones too."""
        cdef list found = [each for each in self.endpoints if each is not None and each is not nobody]
        found += [each for each in [reference() for reference in self.resting.values()] if each is not None]
        return found

    # One turn's dealings with the kernel ------------------------------------------------------------------------

    cdef int flush(self) except -1:
        """Have every dirty endpoint write its submissions."""
        if self.silent and self.polled:
            self.settle_silent()
            self.note_awaited()
        if self.streams.starved:
            self.streams.feed_starved()
        if self.datagrams.starved:
            self.datagrams.feed_starved()
        cdef list batch = self.dirty
        self.dirty = self.flushing
        self.flushing = batch
        cdef Py_ssize_t flushed = 0
        try:
            while flushed < len(batch):
                if c.nl_ring_space(&self.ring) < FLUSH_RESERVE:
                    self.enter(0, 0)
                    if c.nl_ring_space(&self.ring) < FLUSH_RESERVE:
                        break
                # Around many endpoints and not around each, which would cost each of them something.
                try:
                    self.flush_some(batch, &flushed)
                except Exception as error:
                    (<Endpoint>batch[flushed - 1]).on_flush_failed(error)
        finally:
            if flushed < len(batch):
                self.dirty[:0] = batch[flushed:]
            batch.clear()
        return 0

    cdef int flush_some(self, list batch, Py_ssize_t *flushed) except -1:
        """Flush endpoints for as long as the submission queue has room for what one may write."""
        cdef Endpoint endpoint
        cdef Py_ssize_t count = len(batch)
        while flushed[0] < count and c.nl_ring_space(&self.ring) >= FLUSH_RESERVE:
            endpoint = <Endpoint>batch[flushed[0]]
            flushed[0] += 1
            endpoint.dirty = False
            if endpoint.attached and endpoint.on_flush():
                endpoint.mark_dirty()
        return 0

    cdef int enter(self, unsigned wait, int64_t timeout) except -1:
        """Submit and wait. Running out of time and being interrupted by a signal are no errors."""
        cdef int result
        if wait and self.pressing and self.polled:
            self.pass_on()
        with nogil:
            if wait and not self.closing:
                # The rest ends before this thread asks for the interpreter lock, which may take long too.
                self.end_work()
                result = c.nl_ring_enter(&self.ring, wait, timeout)
                self.begin_work(False)
            else:
                result = c.nl_ring_enter(&self.ring, wait, timeout)
        if wait and self.pulse != NULL:
            c.nl_pulse_got_lock(self.pulse)
        return self.conclude(result)

    cdef int wait_any(self, list others, int64_t timeout) except -1:
        """Submit on this ring and the others, all of which have pollers, and wait until one of them has something."""
        cdef nl_ring *rings[c.NL_POLLED_MOST]
        cdef unsigned count = 1
        cdef int result
        cdef Ring each
        rings[0] = &self.ring
        if self.pressing:
            self.pass_on()
        for each in others:
            if each.pressing:
                each.pass_on()
            rings[count] = &each.ring
            count += 1
        with nogil:
            self.end_work()
            result = c.nl_polled_wait_any(rings, count, timeout)
            self.begin_work(False)
        if self.pulse != NULL:
            c.nl_pulse_got_lock(self.pulse)
        return self.judge(result)

    cdef int pass_on(self) except -1:
        """Have what is written submitted, without waiting: entered, or left to the poller."""
        cdef int result
        cdef bint pressing = self.pressing
        self.pressing = False
        with nogil:
            result = c.nl_ring_submit(&self.ring) if pressing and self.polled else c.nl_ring_pass_on(&self.ring)
        return self.conclude(result)

    cdef int conclude(self, int result) except -1:
        """The kernel has been given what was written: see what ended with that, and judge what the call returned."""
        if self.silent:
            self.settle_silent()
        return self.judge(result)

    cdef int judge(self, int result) except -1:
        """What an enter has returned: raise the error that it is, unless it will pass."""
        cdef timespec pause
        if result >= 0 or result == -EINTR:
            return 0
        if result == -EBUSY or result == -EAGAIN:
            # EBUSY: completions that overflowed must be consumed first. EAGAIN: the kernel is out of memory for
            # requests for the moment. Both pass; the pause keeps the loop from spinning until they do.
            if not c.nl_ring_ready(&self.ring):
                pause.tv_sec = 0
                pause.tv_nsec = SHORT_OF_MEMORY_PAUSE
                with nogil:
                    nanosleep(&pause, NULL)
            return 0
        raise OSError(-result, _MESSAGES.get(-result, "io_uring_enter failed: " + os.strerror(-result)))

    cdef bint submit(self) except -1:
        """Hand over what is written, in the middle of a turn, so that what need not wait completes now.

        Says whether the kernel took everything. An error is left for the turn's own enter to meet again and report.
        """
        if not c.nl_ring_unsubmitted(&self.ring):
            return True
        if not self.is_owner():
            return False
        with nogil:
            c.nl_ring_submit(&self.ring)
        if self.silent:
            self.settle_silent()
        return c.nl_ring_unsubmitted(&self.ring) == 0

    cdef int settle_silent(self) except -1:
        """Tell the owners of silent operations of their end: the kernel has taken them, and complains of none.

        Its complaints are among the completions by then. Of what it has not taken, and while it has completions that
        did not fit into the queue, nothing is known, and what those operations refer to is kept. An enter takes all;
        a poller takes what it finds, a batch at a time.
        """
        cdef Endpoint endpoint
        cdef Py_ssize_t settled = 0
        # Asked for before the complaints, which the kernel has made before it says that it has come so far.
        cdef unsigned taken = c.nl_ring_taken(&self.ring)
        cdef bint all_taken = taken == c.nl_ring_position(&self.ring)
        if c.nl_ring_overflowed(&self.ring):
            return 0
        if not all_taken and c.nl_ring_awaits((<Endpoint>self.silent[0]).silent_at, taken):
            return 0
        self.note_failures()
        # They leave the list at the end, so that an error of one owner loses none of the others.
        for each in self.silent:
            endpoint = <Endpoint>each
            if endpoint.silent:
                if not all_taken and c.nl_ring_awaits(endpoint.silent_at, taken):
                    break
                endpoint.silent = False
                endpoint.in_flight -= 1
                self.in_flight -= 1
                if self.closing:
                    endpoint.on_abandoned(c.NL_SEND, 0, 0, 0)
                else:
                    endpoint.on_silent_end()
            settled += 1
        del self.silent[:settled]
        # A failure may be seen a moment before the head of the queue that covers it, so the list may be empty earlier.
        if self.awaited and (not self.silent or not c.nl_ring_awaits(self.awaited_at, taken)):
            self.awaited = False
        return 0

    cdef int note_awaited(self) except -1:
        """Find out whether an endpoint that is to be flushed has to wait until a poller has taken its last operation.

        It is flushed again when that is seen. Nobody waits for the poller here, although it takes most of what it finds
        at once: it may have hundreds of receives to do first, and what other pollers have brought would wait as long.
        With three pollers waiting here gave 340,000 messages a second instead of 500,000 (400 x 64 B, sixteen cores).
        """
        cdef Endpoint endpoint
        for each in self.dirty:
            endpoint = <Endpoint>each
            if endpoint.silent and (not self.awaited or c.nl_ring_awaits(endpoint.silent_at, self.awaited_at)):
                self.awaited = True
                self.awaited_at = endpoint.silent_at
        return 0

    cdef bint look(self) except -1:
        """Look for a moment whether the poller takes what somebody waits for; then flush that one. Is there more?"""
        cdef int result
        with nogil:
            result = c.nl_polled_look(&self.ring, self.awaited_at)
        self.conclude(result)
        if not self.dirty:
            return self.has_work()
        self.flush()
        return True

    cdef int catch_up(self) except -1:
        """Wait until the poller has taken what somebody waits for, and have that one's next operation submitted."""
        cdef int result
        with nogil:
            result = c.nl_polled_await(&self.ring, self.awaited_at)
        self.conclude(result)
        self.flush()
        return self.pass_on()

    cdef int64_t settle_limit(self) noexcept:
        """How long the loop may sleep before it looks again what the poller has taken, in nanoseconds."""
        if self.awaited:
            return AWAITED_WAIT
        return SETTLE_WAIT if self.silent else INT64_MAX

    cdef int note_failures(self) except -1:
        """Find the silent operations that have failed: they will be dispatched as any others."""
        cdef c.io_uring_cqe *cqe
        cdef unsigned index = 0
        cdef size_t kept
        while True:
            cqe = c.nl_ring_peek(&self.ring, index)
            if cqe == NULL:
                break
            if c.nl_token_op(cqe.user_data) == c.NL_SEND:
                self.note_failure(cqe.user_data)
            index += 1
        for kept in range(self.ring.aside_next, self.ring.aside_end):
            if c.nl_token_op(self.ring.aside[kept].user_data) == c.NL_SEND:
                self.note_failure(self.ring.aside[kept].user_data)
        return 0

    cdef int note_failure(self, uint64_t token) except -1:
        cdef uint32_t slot = c.nl_token_slot(token)
        if c.nl_slots_match(&self.slots, slot, c.nl_token_generation(token)):
            (<Endpoint>self.endpoints[slot]).silent = False
        return 0

    cdef int dispatch(self) except -1:
        """Tell the owners of all completions that are there now.

        A completion that arrives meanwhile waits for the next turn, so that a busy peer cannot keep timers and
        callbacks from running.
        """
        cdef c.io_uring_cqe cqe
        cdef unsigned remaining = c.nl_ring_ready(&self.ring)
        if remaining > self.most_completions:
            self.most_completions = remaining
        self.dispatched = remaining
        try:
            while remaining and c.nl_ring_next(&self.ring, &cqe):
                remaining -= 1
                self.taken_up_by_all[0] += 1
                self.dispatch_one(&cqe)
            while self.gathered:
                (<Endpoint>self.gathered.pop(0)).on_gathered()
        except BaseException:
            # An exit from the loop. If it goes on, what was gathered must not wait for the next completion.
            for endpoint in self.gathered:
                (<Endpoint>endpoint).mark_dirty()
            raise
        return 0

    cdef int dispatch_one(self, const c.io_uring_cqe *cqe) except -1:
        """Tell a completion's owner of it."""
        cdef Endpoint endpoint
        cdef uint32_t slot
        cdef unsigned op = c.nl_token_op(cqe.user_data)
        if cqe.user_data == c.NL_TOKEN_NONE or op == c.NL_CANCEL or op == c.NL_OPTION:
            # A cancel that found nothing, or a socket option: nobody waits for either.
            return 0
        slot = c.nl_token_slot(cqe.user_data)
        if not c.nl_slots_match(&self.slots, slot, c.nl_token_generation(cqe.user_data)):
            if slot == c.NL_CALL_SLOT:
                return self.on_late_call(cqe.user_data, cqe.res)
            return self.drop_stale(op, cqe.flags)
        endpoint = <Endpoint>self.endpoints[slot]
        if not cqe.flags & c.IORING_CQE_F_MORE:
            endpoint.in_flight -= 1
            self.in_flight -= 1
            if op == c.NL_SEND:
                # A silent one has failed, before settle_silent() has looked for that.
                endpoint.silent = False
        if self.closing:
            self.drop_buffer(op, cqe.flags)
            return endpoint.on_abandoned(op, c.nl_token_lane(cqe.user_data), cqe.res, cqe.flags)
        return endpoint.on_completion(op, c.nl_token_lane(cqe.user_data), cqe.res, cqe.flags)

    cdef int dispatch_ending(self) except -1:
        """Dispatch now what concerns endpoints whose end is near; no code of the application runs in here.

        One enter runs the deferred work of about twenty operations only (Linux 6.18), so many that end together take
        several. A poller does that of 32 at a time, and does not tell whether there is more: there is, unless the last
        enter has brought nothing.
        """
        cdef unsigned before, index = 0
        cdef int rounds = self.endings // ENDINGS_AT_ONCE
        if self.polled:
            self.enter(0, 0)  # what was cancelled is cancelled by now
        while True:
            before = index
            index = self.dispatch_ending_from(index)
            if rounds <= 0 or not (index != before if self.polled else c.nl_ring_needs_enter(&self.ring)):
                return 0
            rounds -= 1
            self.enter(0, 0)

    cdef unsigned dispatch_ending_from(self, unsigned index) except? 0:
        """The same for completions from the index-th in the queue on; returns how many there are."""
        cdef c.io_uring_cqe *cqe
        cdef c.io_uring_cqe copy
        cdef uint32_t slot
        while True:
            cqe = c.nl_ring_peek(&self.ring, index)
            if cqe == NULL:
                return index
            index += 1
            if cqe.user_data == c.NL_TOKEN_NONE:
                continue
            slot = c.nl_token_slot(cqe.user_data)
            if not c.nl_slots_match(&self.slots, slot, c.nl_token_generation(cqe.user_data)):
                continue
            if (<Endpoint>self.endpoints[slot]).ending:
                copy = cqe[0]
                cqe.user_data = c.NL_TOKEN_NONE
                self.dispatch_one(&copy)

    cdef int park_one(self, c.io_uring_cqe *cqe) except -1:
        """Tell a completion's owner that it is kept for later, perhaps for another ring."""
        cdef uint32_t slot = c.nl_token_slot(cqe.user_data)
        if not c.nl_slots_match(&self.slots, slot, c.nl_token_generation(cqe.user_data)):
            return 0
        return (<Endpoint>self.endpoints[slot]).on_parked(cqe)

    cdef int drop_stale(self, unsigned op, unsigned flags) except -1:
        self.stale += 1
        if not flags & c.IORING_CQE_F_MORE:
            self.in_flight -= 1
        return self.drop_buffer(op, flags)

    # Operations that are answered at once -----------------------------------------------------------------------

    cdef int make_space(self, unsigned entries) except -1:
        if c.nl_ring_space(&self.ring) < entries:
            self.enter(0, 0)
            if c.nl_ring_space(&self.ring) < entries:
                raise OSError(errno.EAGAIN, "the submission queue is full and the kernel takes nothing from it")
        return 0

    cdef io_uring_sqe *call_sqe(self) except NULL:
        """An entry for an operation that nobody owns because call() awaits it."""
        self.check_usable()
        if not self.is_owner():
            raise RuntimeError("this can be done only by the thread that runs the event loop")
        self.make_space(1)
        return c.nl_ring_sqe(&self.ring)

    cdef uint64_t new_call(self, unsigned op) noexcept:
        """A token for one call(), so that an answer that comes too late is not taken for that of another call."""
        self.calls += 1
        return nl_token(c.NL_CALL_SLOT, <uint32_t>(1 + self.calls % (c.NL_GENERATION_LIMIT - 1)), op, 0)

    cdef int32_t call(self, uint64_t token, object memory) except? -1:
        """Submit, and return the result of the operation with this token: 0 or more, or -errno.

        ``memory`` is the object that holds what the operation reads or writes, or None. It is kept where the kernel has
        taken the operation and gives no answer now.
        """
        cdef int32_t result = 0
        cdef int error
        with nogil:
            error = c.nl_ring_call(&self.ring, token, &result)
        if error == -EAGAIN or error == -ENOMEM:
            self.late_calls[token] = memory
        return error if error < 0 else result

    cdef int on_late_call(self, uint64_t token, int res) except -1:
        """A call's operation has completed after all; nobody waits for its answer any more."""
        self.stale += 1
        self.late_calls.pop(token, None)
        if c.nl_token_op(token) == c.NL_INSTALL and res >= 0:
            close_descriptor(res)
        return 0

    # Buffers and files ------------------------------------------------------------------------------------------

    cdef int shrink_buffers(self) except -1:
        """A burst is over: give the memory of its receives back. Nothing may wait to be dispatched."""
        self.burst_over = 0
        for group in (self.streams, self.datagrams):
            if self.polled:
                (<BufferGroup>group).shrink_unregistered(self)
            else:
                c.nl_buffers_shrink(&(<BufferGroup>group).buffers, False)
        return 0

    cdef BufferGroup group_of(self, unsigned op):
        """The group from which the kernel takes the buffers of an operation; None if that is a pool's."""
        if op == c.NL_RECV_LEASED:
            return None
        if op == c.NL_RECVMSG or op == c.NL_READ_MESSAGE:
            return self.datagrams
        return self.streams

    cdef int drop_buffer(self, unsigned op, unsigned flags) except -1:
        """Nobody will read the buffer that a completion may carry. Those of a pool the endpoint itself gives back."""
        cdef BufferGroup group = self.group_of(op)
        return 0 if group is None else group.drop(flags)

    cdef int register_memory(self, void *memory, size_t length) noexcept:
        """Pin memory for operations that name it by the index that is returned; or -errno."""
        return c.nl_registered_add(&self.registered, &self.ring, memory, length)

    cdef int forget_memory(self, unsigned index) noexcept:
        c.nl_registered_remove(&self.registered, &self.ring, index)
        return 0

    cdef bint open_files(self) except -1:
        """Register the fixed-file table; done by the first server. Says whether there is one."""
        cdef int released
        if not self.files.total and not self.files_refused:
            # Asked first what needs no table: one that is registered stays with the ring.
            released = self.can_release()
            if released == -EMFILE or released == -ENFILE or released == -ENOMEM:
                return False  # this may pass, and the next connection asks again
            self.files_refused = released != 1 or c.nl_files_open(
                &self.files, &self.ring, self.fixed_files, FILES_MARGIN) != 0
            if not self.files_refused and not self.can_install():
                self.files_refused = True
                c.nl_files_close(&self.files)
        return not self.files_refused

    cdef int adopt(self, int descriptor) except -2:
        """Move the file of a descriptor into the table, and close the descriptor; the slot, or -1 if that cannot be."""
        cdef int slot
        if not self.open_files():
            return -1
        # The slot may be one that is still to be closed.
        self.submit()
        slot = c.nl_files_take(&self.files)
        if slot >= 0 and c.nl_files_put(&self.ring, slot, descriptor):
            c.nl_files_give(&self.files, slot)
            return -1
        if slot >= 0:
            close_descriptor(descriptor)
        return slot

    cdef bint can_install(self) except -1:
        """Can a fixed file be given a descriptor (Linux 6.8)? Without that, transports could not offer their socket.

        An empty slot is asked for: a kernel that knows the operation says EBADF, one that does not EINVAL.
        """
        cdef uint64_t token = self.new_call(c.NL_INSTALL)
        c.nl_prep_install(self.call_sqe(), 0, token)
        return self.call(token, None) == -EBADF

    cdef int can_release(self) noexcept:
        """Does a file that is closed in the table go at once (Linux 6.13)? Otherwise one idle connection would keep the
        sockets of all that are closed after it. Asked of another ring, once per process.

        1 for yes, 0 for no, or the -errno for which it could not be asked.
        """
        cdef int answer
        cdef unsigned flags = self.ring.setup_flags & ~_OF_POLLERS
        if isinstance(self.faults, OlderKernel):
            return c.nl_probe_release(self.system(), flags)
        if nl_load_unsigned(&release_of_files) == NOT_ASKED:
            answer = c.nl_probe_release(&self.sys, flags)
            if answer < 0:
                return answer
            nl_store_unsigned(&release_of_files, RELEASES_FILES if answer else KEEPS_FILES)
        return nl_load_unsigned(&release_of_files) == RELEASES_FILES

    cdef bint can_accept_now(self) except -1:
        """Can an accept be kept from waiting (Linux 6.10)? Asked once.

        A descriptor that is none is asked for: a kernel that knows the flag says EBADF, one that does not EINVAL.
        """
        cdef uint64_t token
        if not self.accepts_asked:
            token = self.new_call(c.NL_INSTALL)
            c.nl_prep_accept(self.call_sqe(), c.nl_descriptor(-1), NULL, NULL, -1, c.NL_ACCEPT_DONTWAIT,
                             token)
            self.accepts_now = self.call(token, None) == -EBADF
            self.accepts_asked = True
        return self.accepts_now

    # The end ----------------------------------------------------------------------------------------------------

    cdef int cancel_all(self, double seconds) except -1:
        """Cancel everything and wait until the kernel has let go of all memory, or the time is over."""
        cdef double end = time.monotonic() + seconds
        self.closing = True
        self.dirty.clear()
        self.make_space(1)
        c.nl_prep_cancel_all(c.nl_ring_sqe(&self.ring), unawaited_token(c.NL_CANCEL))
        while True:
            self.enter(1 if self.in_flight else 0, 50000000)
            self.dispatch()
            if not self.in_flight or time.monotonic() > end:
                return 0

    def close(self):
        """Cancel what is in flight, wait for it, and close the ring. At most a second."""
        if self.ring.fd < 0:
            return
        self.pulse = NULL
        self.gathered.clear()
        try:
            if self.is_owner():
                self.cancel_all(CLOSE_SECONDS)
            else:
                # Only the owner may enter the ring, but what it has brought already may hold descriptors.
                self.closing = True
                self.dispatch()
        except OSError:
            # The kernel refuses the ring's calls. Closing the descriptor makes it cancel everything by itself.
            pass
        finally:
            self.closing = True
            c.nl_ring_close(&self.ring)
            left, self.endpoints = self.all_endpoints(), []
            self.resting.clear()
            self.keep_for_ever(left)
            for each in left:
                (<Endpoint>each).attached = False
                (<Endpoint>each).on_ring_closed()
            self.dirty.clear()
            self.streams.starved.clear()
            self.datagrams.starved.clear()
            self.in_flight = 0

    cdef bint owner_has_ended(self) except -1:
        """Is the thread gone that the ring belongs to? One that Python knows no more is about to go."""
        if not self.enabled:
            return True
        if self.polled:
            return False  # it is the poller that has carried them out
        cdef double end = time.monotonic() + CLOSE_SECONDS
        if any(thread.native_id == self.owner for thread in threading.enumerate()):
            return False
        while os.path.exists(f"/proc/self/task/{self.owner}"):
            if time.monotonic() > end:
                return False
            time.sleep(0.0001)
        return True

    cdef int leave_behind(self) except -1:
        """The thread of this ring has ended: leak what may stay behind, and say how many operations that is.

        The kernel has cancelled all else with the thread. But sends without a copy have their last word when the peer
        has acknowledged the data, and it goes to a ring that nobody may enter any more.
        """
        cdef Endpoint endpoint
        cdef int unheard, left = 0
        for each in self.all_endpoints():
            endpoint = <Endpoint>each
            unheard = endpoint.in_flight - self.count_parked_ends(endpoint)
            if unheard <= 0:
                continue
            endpoint.in_flight -= unheard
            if endpoint.on_left_behind():
                left_in_flight.append(endpoint)
                left += unheard
            else:
                endpoint.in_flight += unheard
        self.in_flight -= left
        return left

    cdef int count_parked_ends(self, Endpoint endpoint) noexcept:
        """How many operations of an endpoint have come to an end that is set aside."""
        cdef const c.io_uring_cqe *cqe
        cdef size_t index
        cdef int count = 0
        for index in range(self.ring.aside_next, self.ring.aside_end):
            cqe = &self.ring.aside[index]
            if c.nl_token_slot(cqe.user_data) == endpoint.slot and not cqe.flags & c.IORING_CQE_F_MORE:
                count += cqe.user_data != c.NL_TOKEN_NONE
        return count

    cdef int keep_for_ever(self, list endpoints) except -1:
        """Leak, on purpose, the memory of operations whose end has not come.

        The kernel cancels them by itself, some time after the ring is closed, and may write to it until then. Nobody
        tells when that is. Of a thread that has ended it has done so before the thread was gone.
        """
        cdef Endpoint endpoint
        if not self.in_flight and not self.late_calls or self.owner_has_ended():
            return 0
        for each in endpoints:
            endpoint = <Endpoint>each
            if endpoint.in_flight:
                left_in_flight.append(endpoint)
        left_in_flight.append((self.streams, self.datagrams, self.late_calls))
        return 0

    def own_counters(self):
        """What loop.statistics().rings tells about this ring."""
        return {
            "io_cpu": self.poller.cpu if self.polled else None,
            "submissions": nl_glance64(&self.ring.counters.submissions),
            "completions": nl_glance64(&self.ring.counters.completions),
            "in_flight": <int>nl_glance(&self.in_flight),
            "connections": nl_glance64(&self.connections),
            "fixed_files_in_use": max(<int>nl_glance(&self.files.total) - <int>nl_glance(&self.files.unused), 0),
            "poller_wakeups": nl_glance64(&self.ring.counters.woken),
        }

    def counters(self):
        """What loop.statistics() tells about the ring, as a dictionary of numbers."""
        cdef nl_buffers *streams = &self.streams.buffers
        cdef nl_buffers *datagrams = &self.datagrams.buffers
        return {
            "enters": nl_glance64(&self.ring.counters.enters),
            "submissions": nl_glance64(&self.ring.counters.submissions),
            "completions": nl_glance64(&self.ring.counters.completions),
            "stale_completions": nl_glance64(&self.stale),
            "in_flight": <int>nl_glance(&self.in_flight),
            "connections": nl_glance64(&self.connections),
            "max_completions_per_turn": nl_glance(&self.most_completions),
            "buffers_total": nl_glance(&streams.total) + nl_glance(&datagrams.total),
            "buffers_in_use": nl_glance(&streams.taken) + nl_glance(&datagrams.taken),
            "buffers_high_water": nl_glance(&streams.high_water) + nl_glance(&datagrams.high_water),
            "pools_dry": nl_glance64(&self.pools_dry),
            "buffers_exhausted": nl_glance64(&streams.exhausted) + nl_glance64(&datagrams.exhausted),
            "fixed_files_total": nl_glance(&self.files.total),
            "restricted": bool(nl_glance(&self.ring.restricted)),
            "fixed_files_in_use": max(<int>nl_glance(&self.files.total) - <int>nl_glance(&self.files.unused), 0),
        }
