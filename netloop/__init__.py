"""netloop: an asyncio event loop whose data path is Linux io_uring.

Switch a program to it with one line::

    netloop.run(main())                                            # instead of asyncio.run(main())
    asyncio.run(main(), loop_factory=netloop.new_event_loop)       # Python 3.12 and later
    aiohttp.web.run_app(app, loop=netloop.new_event_loop())

and from the command line ``uvicorn --loop netloop:new_event_loop app:app``,
``gunicorn --worker-class netloop.gunicorn.AiohttpWorker app:app`` or ``python -m netloop serve app:app``.

Importing this package does not touch the kernel. Where io_uring is not available, making a loop raises
:class:`Unavailable`, which says why and what to do; ``fallback=`` or the environment variable ``NETLOOP_FALLBACK``
(``uvloop`` or ``asyncio``) asks for another loop instead. ``python -m netloop doctor`` shows what this machine offers.
"""

from __future__ import annotations

import importlib
from pkgutil import extend_path
from typing import TYPE_CHECKING, Any

# Started in the source directory, `python -m netloop` finds the sources first. Their compiled part is then in the
# package that `pip install .` has put elsewhere on the path; one that was built in place comes before it.
__path__ = extend_path(__path__, __name__)

from netloop._version import __version__
from netloop.setup.install import install, run
from netloop.setup.loops import FallbackName, new_event_loop
from netloop.setup.unavailable import Unavailable
from netloop.stall_report import StallReport
from netloop.statistics import PoolStatistics, RingStatistics, Statistics

if TYPE_CHECKING:
    from netloop import metrics as metrics
    from netloop.core.lease_protocol import LeaseProtocol as LeaseProtocol
    from netloop.core.lease_protocol import LeaseTransport as LeaseTransport
    from netloop.core.pool import BufferPool as BufferPool
    from netloop.core.pool import Lease as Lease
    from netloop.event_loop import EventLoop as EventLoop
    from netloop.setup.policy import EventLoopPolicy as EventLoopPolicy
    from netloop.transports.packet_batch import Packet as Packet
    from netloop.transports.packet_batch import PacketBatch as PacketBatch
    from netloop.transports.packet_protocol import PacketError as PacketError
    from netloop.transports.packet_protocol import PacketProtocol as PacketProtocol
    from netloop.transports.packet_transport import PacketTransport as PacketTransport

__all__ = [
    "BufferPool",
    "EventLoop",
    "EventLoopPolicy",
    "FallbackName",
    "Lease",
    "LeaseProtocol",
    "LeaseTransport",
    "Packet",
    "PacketBatch",
    "PacketError",
    "PacketProtocol",
    "PacketTransport",
    "PoolStatistics",
    "RingStatistics",
    "StallReport",
    "Statistics",
    "Unavailable",
    "__version__",
    "install",
    "metrics",
    "new_event_loop",
    "run",
]


def __getattr__(name: str) -> Any:
    # These are found on first use: the loop, the pools and the metrics bring in the compiled modules, and the policy
    # derives from a class that asyncio deprecates in Python 3.14. Who does not need them does not pay for them.
    if name == "EventLoop":
        from netloop.setup.loops import load_event_loop

        value: Any = load_event_loop()
    elif name == "EventLoopPolicy":
        from netloop.setup.policy import EventLoopPolicy

        value = EventLoopPolicy
    elif name in ("Packet", "PacketBatch"):
        from netloop.transports import packet_batch

        value = getattr(packet_batch, name)
    elif name in ("PacketError", "PacketProtocol"):
        from netloop.transports import packet_protocol

        value = getattr(packet_protocol, name)
    elif name == "PacketTransport":
        from netloop.transports.packet_transport import PacketTransport

        value = PacketTransport
    elif name == "metrics":
        value = importlib.import_module("netloop.metrics")
    elif name in ("LeaseProtocol", "LeaseTransport"):
        from netloop.core import lease_protocol

        value = getattr(lease_protocol, name)
    elif name in ("BufferPool", "Lease"):
        from netloop.setup.loops import load_event_loop

        load_event_loop()  # which says what is wrong where the compiled modules cannot be used
        from netloop.core import pool

        value = getattr(pool, name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
