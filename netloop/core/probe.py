"""What this kernel offers: the names of io_uring_setup(2) and its kin for the numbers that the ring is told."""

from __future__ import annotations

from typing import Final

from netloop.core.ring import FaultPlan, ask_kernel

__all__ = ["probe"]

# The numbers are the kernel's binary interface, <linux/io_uring.h>.
_SETUP_FLAGS: Final = {
    "R_DISABLED": 1 << 6,
    "CQSIZE": 1 << 3,
    "CLAMP": 1 << 4,
    "SUBMIT_ALL": 1 << 7,
    "COOP_TASKRUN": 1 << 8,
    "SINGLE_ISSUER": 1 << 12,
    "DEFER_TASKRUN": 1 << 13,
    "TASKRUN_FLAG": 1 << 9,
    "NO_SQARRAY": 1 << 16,
}
_FEATURES: Final = {"SINGLE_MMAP": 1 << 0, "NODROP": 1 << 1, "EXT_ARG": 1 << 8, "FAST_POLL": 1 << 5}
# fmt: off
_OPERATIONS: Final = {
    "WRITEV": 2, "SENDMSG": 9, "RECVMSG": 10, "POLL_ADD": 6, "ACCEPT": 13, "ASYNC_CANCEL": 14, "CONNECT": 16,
    "CLOSE": 19, "READ": 22, "WRITE": 23, "SEND": 26, "RECV": 27, "SPLICE": 30, "SHUTDOWN": 34, "SOCKET": 45,
    "URING_CMD": 46, "SEND_ZC": 47, "SENDMSG_ZC": 48, "READ_MULTISHOT": 49, "WAITID": 50, "FIXED_FD_INSTALL": 54,
    "BIND": 56, "LISTEN": 57, "RECV_ZC": 58,
}
# fmt: on
_REGISTRATIONS: Final = ("PBUF_RING", "FILES", "BUFFERS", "RING_FDS", "RESTRICTIONS", "NAPI")
_TRIALS: Final = (
    "IORING_ACCEPT_DONTWAIT",
    "SOCKET_URING_OP_SETSOCKOPT",
    "SOCKET_URING_OP_GETSOCKNAME",
    "files closed at once",
)


def probe(faults: FaultPlan | None = None) -> dict[str, dict[str, bool]]:
    """Ask the kernel what it offers.

    Args:
        faults: a kernel that a test pretends.

    Returns:
        Four tables, ``setup_flags``, ``operations``, ``registrations`` and ``features``, each from a name (as in
        io_uring_setup(2), without its prefix) to whether it was found; and a fifth, ``trials``, of what the kernel does
        not list and only a trial tells, by full names.

    Raises:
        OSError: with the errno of the system call that was refused.
    """
    flags, features, operations, registrations, trials = ask_kernel(faults)
    return {
        "setup_flags": {name: bool(flags & bit) for name, bit in _SETUP_FLAGS.items()},
        "operations": {name: operations[number] for name, number in _OPERATIONS.items()},
        "registrations": dict(zip(_REGISTRATIONS, registrations, strict=True)),
        "features": {name: bool(features & bit) for name, bit in _FEATURES.items()},
        "trials": dict(zip(_TRIALS, trials, strict=True)),
    }
