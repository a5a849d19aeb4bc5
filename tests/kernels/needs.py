"""What a test may need of the kernel beyond what the loop itself needs: the list of exceptions for older kernels.

The kernel is asked, by the probe that the loop and the doctor rely on; its version says nothing.
"""

from __future__ import annotations

import functools
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
            ("trials", "files closed at once"),
        ),
        "it is about connections without descriptors, which this kernel cannot offer (Linux 6.13 can)",
    ),
    "busy_polling": Need(
        (("registrations", "NAPI"),),
        "it is about polling network cards, which this kernel cannot (Linux 6.9 can)",
    ),
    "socket_names": Need(
        (("trials", "SOCKET_URING_OP_GETSOCKNAME"),),
        "it is about a socket's name asked through the ring, which this kernel does not tell (Linux 6.19 does)",
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

    return probe()
