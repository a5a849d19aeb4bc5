"""What a test may need of the kernel beyond what the loop itself needs: the list of exceptions for older kernels.

The kernel is asked, by the probe that the loop and the doctor rely on; its version says nothing.
"""

from __future__ import annotations

import errno
import functools
import os
from typing import Final, NamedTuple

__all__ = ["NEEDS", "Need", "missing"]


class Need(NamedTuple):
    """Something that a test may need.

    Attributes:
        features: the probe's group and name of each feature that it takes.
        reason: why the test cannot pass without them.
    """

    features: tuple[tuple[str, str], ...]
    reason: str


NEEDS: Final = {
    "fixed_table": Need(
        (
            ("registrations", "FILES"),
            ("operations", "FIXED_FD_INSTALL"),
            ("trials", "IORING_ACCEPT_DONTWAIT"),
        ),
        "it is about connections without descriptors, which this kernel cannot offer (Linux 6.10 can)",
    ),
    "socket_names": Need(
        (("trials", "SOCKET_URING_OP_GETSOCKNAME"),),
        "it is about a socket's name asked through the ring, which this kernel does not tell (Linux 6.19 does)",
    ),
    "prompt_pipes": Need(
        (("pipes", "RWF_NOWAIT"),),
        "the ring reads the pipe that wakes the loop in a thread of this kernel's, so the signal that ends a run is "
        "read after it, and another owner of signal.set_wakeup_fd() hears of it in the next run (Linux 6.1 is so)",
    ),
}


def missing(name: str) -> str | None:
    """Why a test that needs this is skipped here; None if it need not be."""
    need = NEEDS[name]
    offered = _probe()
    lacking = [feature for group, feature in need.features if not offered[group][feature]]
    return f"{need.reason}: it lacks {', '.join(lacking)}" if lacking else None


@functools.cache
def _probe() -> dict[str, dict[str, bool]]:
    # Not before it is asked for: some tests run where netloop is not built.
    from netloop.core.probe import probe

    return {**probe(), "pipes": {"RWF_NOWAIT": _reads_pipes_promptly()}}


def _reads_pipes_promptly() -> bool:
    """Can a read from a pipe be kept from waiting, which the ring needs to do it without a thread?

    A Python that was built with an old kernel's headers cannot ask. Older kernels are tested with one that can.
    """
    if not hasattr(os, "RWF_NOWAIT"):
        return True
    reading, writing = os.pipe()
    try:
        os.write(writing, b"x")
        return os.preadv(reading, [bytearray(1)], -1, os.RWF_NOWAIT) == 1
    except OSError as refused:
        if refused.errno != errno.EOPNOTSUPP:
            raise
        return False
    finally:
        os.close(reading)
        os.close(writing)
