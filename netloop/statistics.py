"""The counters of one loop, as ``EventLoop.statistics()`` returns them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

__all__ = ["PoolStatistics", "RingStatistics", "Statistics"]


@dataclass(frozen=True, slots=True)
class PoolStatistics:
    """A snapshot of one buffer pool."""

    buffers: int
    """Buffers that it has."""
    size: int
    """Bytes in each."""
    free: int
    """Those that are nobody's now, which ``take()`` gives."""
    offered: int
    """Those that the kernel has now, for data to come."""
    leased: int
    """Those of which leases or views are out now, leases that are being sent among them."""
    high_water: int
    """The most that were leased at once (high-water mark)."""
    lost: int
    """Those that are never used again, because the kernel had not let go of them when the loop was closed."""
    dry: int
    """Times a receive had to wait because all buffers were leased (count)."""
    waiting_receives: int
    """Connections whose receive waits for a buffer now."""
    received: int
    """Leases of received data (count)."""
    received_bytes: int
    """What they held."""
    sent: int
    """Leases that were sent in place (count)."""
    sent_bytes: int
    """What they held."""
    zero_copy_asked: int
    """Leases that were to be sent without a copy (count). Those that the next three do not tell of are under way."""
    zero_copy_done: int
    """Those that the network card has fetched (count)."""
    zero_copy_copied: int
    """Those that the kernel has copied all the same (count)."""
    zero_copy_failed: int
    """Those that could not be sent so, as on a UNIX connection, and were sent as usual if it went on (count)."""
    not_registered: str
    """Why the memory is not registered with the ring; empty if it is."""


@dataclass(frozen=True, slots=True)
class RingStatistics:
    """A snapshot of one of the rings of a loop."""

    io_cpu: int | None
    """The CPU to which the kernel thread is bound that submits for it; None: the loop's own thread does."""
    submissions: int
    """Operations handed to the kernel (count)."""
    completions: int
    """Completions taken from the kernel (count)."""
    in_flight: int
    """Operations that the kernel holds now, on the first ring the loop's own wake-up read among them."""
    connections: int
    """Stream connections and datagram endpoints open now that are on it."""
    fixed_files_in_use: int
    """Slots of its fixed-file table taken now."""
    poller_wakeups: int
    """Times the kernel thread slept when there was something to submit, and was woken by a system call (count)."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """A snapshot of a loop's counters.

    Counts run from the loop's creation and never go down; the others say how it stands at the moment of the call.
    Subtract two snapshots to see one period: ``completions / enters`` is then the mean batch size, and ``enters``
    per message is the figure that a ring is there to lower.
    """

    turns: int
    """Passes of the loop (count)."""
    enters: int
    """Calls of ``io_uring_enter(2)`` (count)."""
    submissions: int
    """Operations handed to the kernel (count)."""
    completions: int
    """Completions taken from the kernel, stale ones included (count)."""
    stale_completions: int
    """Completions whose endpoint was gone or whose slot had a new owner; counted and dropped (count)."""
    in_flight: int
    """Operations the kernel holds on behalf of endpoints now; the loop's own wake-up read is not among them."""
    max_completions_per_turn: int
    """The most completions that one turn had to dispatch (high-water mark)."""
    buffers_total: int
    """Receive buffers in the loop's groups, for streams and for datagrams, now."""
    buffers_in_use: int
    """Receive buffers that completions have brought and that are not back in their group now."""
    buffers_high_water: int
    """The most receive buffers ever in use at once (high-water mark)."""
    buffers_exhausted: int
    """Times a receive ended with ENOBUFS because the group was dry; nothing is lost by it (count)."""
    fixed_files_total: int
    """Size of the fixed-file table."""
    fixed_files_in_use: int
    """Slots of the fixed-file table taken now."""
    restricted: bool
    """Whether the kernel holds the loop's ring to the operations and registrations that netloop uses; ``doctor`` lists
    them. Not where the kernel, or a policy, refuses that."""
    connections: int
    """Stream connections and datagram endpoints open now."""
    connections_accepted: int
    """Connections accepted by listeners (count)."""
    packets_received: int
    """Datagrams that packet endpoints have received (count)."""
    packets_sent: int
    """Datagrams of packet endpoints that the kernel has taken (count)."""
    packets_dropped: int
    """Datagrams for packet endpoints that the kernel has dropped because a socket's receive buffer was full, as far as
    packets received since then have told (count)."""
    segmentation_refused: int
    """Sends by segmentation offload that a route refused, after which it is sent its packets one by one (count)."""
    watchers: int
    """Descriptors watched by ``add_reader`` and ``add_writer`` now."""
    ready: int
    """Callbacks in the ready queue now."""
    timers: int
    """Timers in the timer heap now; one that is cancelled leaves it at once."""
    wakeups: int
    """Times another thread or a signal woke the loop (count)."""
    rings: tuple[RingStatistics, ...]
    """The loop's rings and their share: one, or one for each of the ``io_cpus``."""
    pools: tuple[PoolStatistics, ...]
    """The loop's buffer pools, in no order."""
    pools_dry: int
    """Times a receive had to wait because all buffers of its pool were leased, in pools that are gone too (count)."""
    stalls: int
    """Callbacks that have blocked the loop for longer than ``stall_threshold`` (count)."""
    saturated_turns: int
    """Turns that took longer than that with callbacks of which each was short (count)."""
    stall_seconds: float
    """For how long the former have blocked the loop, all together."""
    stall_histogram: tuple[int, ...]
    """How many of them took up to as long as each of ``stall_bounds`` says, and more than the one before; the last
    number is of those that took longer than all of these (counts)."""

    stall_bounds: ClassVar[tuple[float, ...]] = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
    """Seconds; the upper bounds of ``stall_histogram``."""
