"""What each io_uring feature is to netloop: since when Linux has it, what it is for, what happens without it."""

from __future__ import annotations

from typing import Final, NamedTuple

__all__ = ["CATALOGUE", "PREFIXES", "REQUIRED", "TITLES", "Feature"]


class Feature(NamedTuple):
    """One thing the kernel may offer.

    Attributes:
        since: the first Linux release that has it.
        purpose: what netloop uses it for.
        without: what its absence costs a program, or :data:`REQUIRED`.
    """

    since: str
    purpose: str
    without: str

    @property
    def required(self) -> bool:
        """Whether the loop cannot run without it."""
        return self.without == REQUIRED

    @property
    def cost(self) -> str:
        """What its absence costs a program; empty when that is nothing."""
        return "" if self.without in (_NOT_YET, _NEVER_ALONE) else self.without


REQUIRED: Final = "the loop cannot run"
_NOT_YET: Final = "nothing changes: the loop makes no use of it"
_NEVER_ALONE: Final = "nothing changes: a kernel without it has no connections without descriptors"
_DESCRIPTOR: Final = "each connection takes a descriptor and about 0.5 KiB more"

TITLES: Final = {
    "setup_flags": "Set-up flags",
    "operations": "Operations",
    "registrations": "Registrations",
    "features": "Features of the ring",
    "trials": "Flags and commands, each tried",
}
"""The groups of a probe in the order they are shown, with their titles."""

PREFIXES: Final = {
    "setup_flags": "IORING_SETUP_",
    "operations": "IORING_OP_",
    "registrations": "IORING_REGISTER_",
    "features": "IORING_FEAT_",
}
"""By group, what the kernel's names begin with, where the probe's are without it."""

# The releases are those given in io_uring_setup(2), io_uring_enter(2) and io_uring_register(2).
CATALOGUE: Final[dict[str, dict[str, Feature]]] = {
    "setup_flags": {
        "CQSIZE": Feature("5.5", "a completion queue larger than twice the submission queue", REQUIRED),
        "CLAMP": Feature("5.6", "queue sizes cut down to what the kernel allows", REQUIRED),
        "R_DISABLED": Feature("5.10", "a loop made in one thread and run in another", REQUIRED),
        "SUBMIT_ALL": Feature("5.18", "a batch goes on after an operation that fails", "the others wait for a turn"),
        "COOP_TASKRUN": Feature("5.19", "no interrupts for completions", "a little more CPU time per message"),
        "TASKRUN_FLAG": Feature("5.19", "the kernel shows that completions wait", "the loop asks by a system call"),
        "SINGLE_ISSUER": Feature("6.0", "the kernel saves locks for one thread", "a little more CPU time per message"),
        "DEFER_TASKRUN": Feature("6.1", "completions in batches, when the loop asks", "about 10 % more CPU time"),
        "NO_SQARRAY": Feature("6.6", "a submission queue without indirection", "a memory access per operation"),
    },
    "operations": {
        "WRITEV": Feature("5.1", "many writes to a pipe gathered into one", REQUIRED),
        "POLL_ADD": Feature("5.1", "add_reader and add_writer", REQUIRED),
        "SENDMSG": Feature("5.3", "many writes gathered into one send", REQUIRED),
        "RECVMSG": Feature("5.3", "datagrams", "there are no datagram endpoints"),
        "ACCEPT": Feature("5.5", "taking connections", REQUIRED),
        "ASYNC_CANCEL": Feature("5.5", "closing with operations in flight", REQUIRED),
        "CONNECT": Feature("5.5", "waiting for room in a UNIX socket's backlog", REQUIRED),
        "CLOSE": Feature("5.6", "closing connections", REQUIRED),
        "READ": Feature("5.6", "wake-ups from threads and signals", REQUIRED),
        "WRITE": Feature("5.6", "pipes", REQUIRED),
        "SEND": Feature("5.6", "sending", REQUIRED),
        "RECV": Feature("5.6", "receiving", REQUIRED),
        "SPLICE": Feature("5.7", "sending files without copying them", _NOT_YET),
        "SHUTDOWN": Feature("5.11", "half-closing connections", REQUIRED),
        "MSG_RING": Feature("5.18", "messages between rings", _NOT_YET),
        "SOCKET": Feature("5.19", "sockets made in the fixed-file table", _NOT_YET),
        "URING_CMD": Feature("5.19", "commands on sockets, see below", "each command below is missing too"),
        "SEND_ZC": Feature("6.0", "sending leases without a copy", "they are copied"),
        "SENDMSG_ZC": Feature("6.1", "sending several leases without a copy", "they are copied"),
        "READ_MULTISHOT": Feature(
            "6.7", "pipes, read without arming anew each time", "each read from a pipe is armed anew"
        ),
        "WAITID": Feature("6.7", "waiting for child processes", _NOT_YET),
        "FIXED_FD_INSTALL": Feature("6.8", "a descriptor for a fixed file, on demand", _DESCRIPTOR),
        "BIND": Feature("6.11", "listeners in the fixed-file table", _NOT_YET),
        "LISTEN": Feature("6.11", "listeners in the fixed-file table", _NOT_YET),
        "RECV_ZC": Feature("6.15", "receiving without a copy, where the network card can", _NOT_YET),
    },
    "registrations": {
        "BUFFERS": Feature("5.19", "registering the memory of buffer pools", "pools go on without"),
        "FILES": Feature("5.1", "the fixed-file table: connections without descriptors", _DESCRIPTOR),
        "RESTRICTIONS": Feature(
            "5.10", "rings that may do only what netloop does", "nothing holds a loop's ring to that"
        ),
        "RING_FDS": Feature("5.18", "a cheaper io_uring_enter", "the ring's descriptor is looked up each time"),
        "PBUF_RING": Feature("5.19", "the receive buffers that all connections share", REQUIRED),
        "NAPI": Feature("6.9", "EventLoop(busy_poll=...)", "that has no effect: the loop sleeps until it is woken"),
    },
    "features": {
        "SINGLE_MMAP": Feature("5.4", "both queues in one mapping", REQUIRED),
        "NODROP": Feature("5.5", "a full completion queue loses nothing", REQUIRED),
        "FAST_POLL": Feature("5.7", "sockets wait without a thread", REQUIRED),
        "EXT_ARG": Feature("5.11", "waiting with a timeout in one system call", REQUIRED),
        "CQE_SKIP": Feature("5.17", "no completion for operations nobody asks about", "they are counted and dropped"),
        "RECVSEND_BUNDLE": Feature("6.10", "several buffers in one completion", _NOT_YET),
        "MIN_TIMEOUT": Feature("6.12", "waiting for a batch", _NOT_YET),
    },
    "trials": {
        "IORING_ACCEPT_DONTWAIT": Feature(
            "6.10", "accepting what waits, into the fixed-file table", f"{_DESCRIPTOR}, and a system call to accept it"
        ),
        "files closed at once": Feature("6.13", "connections without descriptors", _DESCRIPTOR),
        "SOCKET_URING_OP_SETSOCKOPT": Feature("6.7", "options of connections without descriptors", _NEVER_ALONE),
        "SOCKET_URING_OP_GETSOCKNAME": Feature(
            "6.19",
            "the own address of a connection without a descriptor",
            "on a server on all addresses, asking a connection that has no descriptor for its own address takes three "
            "system calls instead of one",
        ),
    },
}
