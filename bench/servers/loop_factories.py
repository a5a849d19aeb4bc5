"""The event loops a server program can run on, by the name given to ``--loop``.

Run as a program it tells the harness whether one of them works here: ``python loop_factories.py NAME THREADS`` prints
its version and exits 0, or prints why not and exits 3 (not installed) or 4 (installed, but it refuses to run). THREADS
is how many kernel threads are to submit for it; a loop that has another number has not understood its settings.
"""

import asyncio
import functools
import importlib
import importlib.metadata
import platform
import sys
from collections.abc import Callable
from pathlib import Path

LoopFactory = Callable[[], asyncio.AbstractEventLoop]

#: The module to import for each loop. ``asyncio-mmap`` is asyncio with another malloc setting, which the harness makes
#: in the environment: inside the process it is the same loop.
MODULES = {
    "asyncio": "asyncio",
    "asyncio-mmap": "asyncio",
    "uvloop": "uvloop",
    "netloop": "netloop",
    "netloop-spin": "netloop",
    "netloop-metrics": "netloop",
    "netloop-copies": "netloop",
    "rsloop": "rsloop",
    "zuvloop": "zuvloop",
    "rloop": "rloop",
    "aiofastnet": "aiofastnet",
}

EXIT_NOT_INSTALLED = 3
EXIT_REFUSED = 4


def loop_factory(name: str) -> LoopFactory:
    """Return the function that makes a new loop of this name.

    Raises:
        ImportError: the loop is not installed.
        KeyError: there is no loop of this name.
    """
    module = importlib.import_module(MODULES[name])
    if name == "aiofastnet":
        factory: LoopFactory = module.loop_factory()
    elif name == "netloop-spin":
        factory = functools.partial(module.EventLoop, spin=100e-6)
    elif name == "netloop-metrics":
        # What netloop.metrics has the loops do. Without a client library: whatever is imported makes collections of
        # garbage longer, in which a row like call_soon spends a part of its time that shows.
        importlib.import_module("netloop.hosted.totals").totals.want()
        factory = module.new_event_loop
    else:
        factory = module.new_event_loop
    return factory


def version(name: str) -> str:
    """Return the version of the distribution that provides the loop; Python's own for asyncio.

    A checkout that is not installed has no distribution, and is asked itself.
    """
    module = MODULES[name]
    if module == "asyncio":
        return platform.python_version()
    try:
        return importlib.metadata.version(module)
    except importlib.metadata.PackageNotFoundError:
        return str(getattr(importlib.import_module(module), "__version__", "unknown"))


def submitting_threads() -> int:
    """Return how many kernel threads submit for this process's rings (IORING_SETUP_SQPOLL)."""
    names = (task.joinpath("comm").read_text() for task in Path("/proc/self/task").iterdir())
    return sum(name.startswith("iou-sqp") for name in names)


async def _submitting_threads() -> int:
    """Count them while the loop listens, since it may not have asked for them before."""
    server = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0)
    try:
        return submitting_threads()
    finally:
        server.close()


def _try(factory: LoopFactory, threads: int) -> None:
    """Make a loop, and see whether it has that many threads that submit.

    Raises:
        RuntimeError: it has another number.
    """
    if not threads:
        factory().close()
        return
    with asyncio.Runner(loop_factory=factory) as runner:
        found = runner.run(_submitting_threads())
    if found != threads:
        raise RuntimeError(f"{found} kernel threads submit for this loop, and not {threads}")


def main() -> int:
    """Try the loop named on the command line and say what came of it."""
    name, threads = sys.argv[1], int(sys.argv[2])
    try:
        factory = loop_factory(name)
    except ImportError as error:
        print(error)
        return EXIT_NOT_INSTALLED
    try:
        _try(factory, threads)
    except Exception as error:  # Whatever a foreign loop raises here is the reason to report.
        print(f"{type(error).__name__}: {error}")
        return EXIT_REFUSED
    print(version(name))
    return 0


if __name__ == "__main__":
    sys.exit(main())
