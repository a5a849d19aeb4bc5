# cython: language_level=3, boundscheck=False, wraparound=False
"""Which thread a ring belongs to, and how a loop that has stopped goes on in another one.

The kernel binds a single-issuer ring to the thread that enabled it, for good: no other may submit, or cancel what is in
flight. Operations and files of the ring's table cannot be moved to another ring by anybody but that thread either, and
it may have ended, or block somewhere, when the loop is run in the next one. So a loop that stops parks what is in
flight: everything is cancelled, and every connection has a descriptor. What had completed by then is kept with the
ring's completions, in their order. The same thread goes on with them; for another one they, and the receive buffers
that they name, are handed to a new ring.

Parking costs a loop that stops and runs again 1 µs for each operation that it cancels and arms anew: a call of
run_until_complete() took 10 µs, with a server in the loop 26. So a loop that one thread has stopped many times, as a
program does that lets it run for a moment now and then, is parked no more: it stays there, and is refused elsewhere.

A ring with a poller belongs to no thread, and what is in flight on it goes on while the loop rests.
"""

import threading
import time

from netloop.core cimport cext as c
from netloop.core.free_threading cimport PyThread_get_thread_ident, nl_store_thread
from netloop.core.ring cimport BufferGroup, Endpoint, Ring, unawaited_token


# How long stopping waits for what is cancelled, in seconds. Only what blocks a worker of the kernel's takes long.
cdef double PARK_SECONDS = 0.1


cdef enum:
    # How many stops in one thread a loop is parked at.
    PARKED_STOPS = 64


cdef int enter_thread(Ring ring, Endpoint wake) except -1:
    """Make the calling thread the ring's submitter; called when the loop starts to run.

    ``wake`` is the loop's own endpoint, which starts its operation anew wherever it finds none in flight.

    Raises RuntimeError after a fork, and when operations that another thread has started could not be parked.
    """
    ring.check_usable()
    cdef unsigned long me = threading.get_native_id()
    if ring.enabled and ring.owner != me and ring.ring.setup_flags & c.IORING_SETUP_SINGLE_ISSUER:
        change_thread(ring, wake)
    if not ring.enabled:
        ring.enable()
        ring.owner = me
    nl_store_thread(&ring.running, PyThread_get_thread_ident())
    return ring.register_descriptor(True)


cdef int leave_thread(Ring ring, Endpoint wake) except -1:
    """The loop has stopped: undo what enter_thread() has registered with the calling thread, and park the rest."""
    if ring.abandoned or ring.ring.fd < 0:
        nl_store_thread(&ring.running, 0)
        return 0
    try:
        ring.stops += 1
        if not ring.polled and ring.stops <= PARKED_STOPS and (
                ring.in_flight > wake.in_flight or c.nl_files_used(&ring.files)):
            park(ring)
    except OSError:
        pass  # the next turn's enter meets the error again
    finally:
        nl_store_thread(&ring.running, 0)
        ring.register_descriptor(False)
    return 0


cdef int park(Ring ring) except -1:
    """Cancel everything, and keep what had completed by then."""
    cdef double end = time.monotonic() + PARK_SECONDS
    if c.nl_files_used(&ring.files):
        for endpoint in ring.all_endpoints():
            (<Endpoint>endpoint).on_park()
    ring.make_space(1)
    c.nl_prep_cancel_all(c.nl_ring_sqe(&ring.ring), unawaited_token(c.NL_CANCEL))
    while True:
        ring.enter(0, 0)
        if put_aside(ring) == ring.in_flight or time.monotonic() > end:
            return 0
        time.sleep(0)


cdef int put_aside(Ring ring) except -1:
    """Take in all cancellations, and set everything else aside; how many operations have then come to their end.

    An endpoint is told of a cancellation at once. It calls no code of the application for that, and only arms its
    operation anew when it is flushed.
    """
    cdef c.io_uring_cqe cqe
    cdef c.io_uring_cqe *kept
    cdef int ended = 0
    cdef size_t index
    ring.set_aside()
    for index in range(ring.ring.aside_next, ring.ring.aside_end):
        kept = &ring.ring.aside[index]
        if kept.user_data == c.NL_TOKEN_NONE or c.nl_token_slot(kept.user_data) == c.NL_CALL_SLOT or (
                c.nl_token_op(kept.user_data) == c.NL_CANCEL):
            # Nobody counts these as operations in flight.
            continue
        if kept.res == -c.ECANCELED and not kept.flags & (c.IORING_CQE_F_MORE | c.IORING_CQE_F_BUFFER):
            cqe = kept[0]
            kept.user_data = c.NL_TOKEN_NONE
            ring.dispatch_one(&cqe)
            continue
        ring.park_one(kept)
        ended += not kept.flags & c.IORING_CQE_F_MORE
    return ended


cdef int change_thread(Ring ring, Endpoint wake) except -1:
    """Replace the ring by one that the calling thread may use, and hand over what is parked."""
    cdef int left = ring.in_flight - wake.in_flight - put_aside(ring)
    if left > 0 and ring.owner_has_ended():
        left -= ring.leave_behind()
    if left > 0 or c.nl_files_used(&ring.files):
        raise RuntimeError(
            f"this event loop has {left} operations in flight that were started by another thread, and "
            f"{c.nl_files_used(&ring.files)} connections without a descriptor; the kernel lets only that thread go on "
            "with them. Close them there first")
    ring.replace()
    ring.stops = 0
    ring.in_flight -= wake.in_flight
    wake.in_flight = 0
    move_buffers(ring, ring.streams)
    move_buffers(ring, ring.datagrams)
    for endpoint in ring.all_endpoints():
        (<Endpoint>endpoint).on_ring_replaced()
    return 0


cdef int move_buffers(Ring ring, BufferGroup group) except -1:
    """Register a group's memory with the new ring; buffers whose data is parked stay the application's."""
    return 0 if group.buffers.queue == NULL else group.move(ring, group.find_parked(ring))
