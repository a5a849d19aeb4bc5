"""``python -m netloop serve module:app``: run an existing aiohttp application on netloop."""

from __future__ import annotations

import argparse
import errno
import importlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING, Any, Final

from netloop.setup.loops import new_event_loop

if TYPE_CHECKING:
    import asyncio

    from aiohttp import web

__all__ = ["BadApplication", "load_application", "main"]

_LOOPS: Final = ("netloop", "uvloop", "asyncio")
_CANNOT_LISTEN: Final = frozenset({errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES})


class BadApplication(Exception):
    """What was named on the command line is not an aiohttp application; says why."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGINT or SIGTERM.

    Args:
        arguments: the command line after ``serve``.

    Returns:
        0 after serving, 1 when the loop cannot be made or the port is taken, 2 for a bad command line.
    """
    options = _parse(arguments)
    if importlib.util.find_spec("aiohttp") is None:
        print("netloop serve needs aiohttp: pip install aiohttp", file=sys.stderr)
        return 2
    from aiohttp import web

    if options.stall_threshold is not None:
        # The loop reads it from there, and so do those of the processes that the application starts.
        os.environ["NETLOOP_STALL_THRESHOLD"] = str(options.stall_threshold)
    try:
        loop = _new_loop(options.loop)
    except (OSError, ImportError, ValueError) as refused:
        print(f"netloop serve: {refused}", file=sys.stderr)
        return 1
    try:
        web.run_app(load_application(options.application), host=options.host, port=options.port, loop=loop)
    except BadApplication as bad:
        print(f"netloop serve: {bad}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.errno not in _CANNOT_LISTEN:
            raise
        print(f"netloop serve: {error.strerror}", file=sys.stderr)
        return 1
    finally:
        loop.close()
    return 0


def load_application(name: str) -> web.Application | Awaitable[web.Application]:
    """Import the application called ``module:attribute``.

    Args:
        name: the module and, after a colon, an attribute of it (dots reach further in): an ``aiohttp.web.Application``,
            or a function or coroutine function that takes no arguments and returns one.

    Returns:
        The application, or what to await for it.

    Raises:
        BadApplication: there is no such module or attribute, or it is something else.
        Exception: whatever importing the module, or calling the function, raises.
    """
    module_name, colon, path = name.partition(":")
    if not (module_name and colon and path):
        raise BadApplication(f"{name!r} names no application: write module:attribute, for instance shop.web:app")
    found: Any = _import(module_name)
    for attribute in path.split("."):
        if not hasattr(found, attribute):
            raise BadApplication(f"the module {module_name} has no attribute {path!r}")
        found = getattr(found, attribute)
    return _application(found, name)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m netloop serve", description="Run an existing aiohttp application on netloop."
    )
    parser.add_argument("application", metavar="module:app", help="an Application, or a function that returns one")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (default 127.0.0.1)")
    parser.add_argument("--port", type=_port, default=8080, help="the port to listen on (default 8080; 0 for any)")
    parser.add_argument("--loop", choices=_LOOPS, default="netloop", help="the event loop (default netloop)")
    parser.add_argument(
        "--stall-threshold",
        type=float,
        metavar="SECONDS",
        help="report turns of the loop that take longer (default as NETLOOP_STALL_THRESHOLD says, or never)",
    )
    options = parser.parse_args(arguments)
    if options.stall_threshold is not None and options.loop != "netloop":
        parser.error(f"--stall-threshold needs --loop netloop, not {options.loop}")
    return options


def _port(text: str) -> int:
    if not text.isdigit() or int(text) > 65_535:
        raise argparse.ArgumentTypeError(f"{text} is not a port: a number from 0 to 65535")
    return int(text)


def _new_loop(name: str) -> asyncio.AbstractEventLoop:
    import asyncio

    if name == "netloop":
        return new_event_loop()
    if name == "asyncio":
        return asyncio.SelectorEventLoop()
    try:
        uvloop = importlib.import_module("uvloop")
    except ImportError as missing:
        raise ImportError(f"--loop uvloop needs uvloop: pip install uvloop ({missing})") from missing
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


def _import(module_name: str) -> Any:
    here = os.getcwd()
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as missing:
        # The named module, or a package on the way to it; a module that it imports itself is its own affair.
        if missing.name and (module_name == missing.name or module_name.startswith(missing.name + ".")):
            raise BadApplication(f"there is no module {missing.name!r} in {here} or on Python's path") from missing
        raise


def _application(found: Any, name: str) -> web.Application | Awaitable[web.Application]:
    from aiohttp import web

    if isinstance(found, web.Application):
        return found
    if callable(found) and not isinstance(found, type):
        try:
            inspect.signature(found).bind()
        except TypeError as error:
            raise BadApplication(f"{name} cannot be called without arguments: {error}") from error
        made = found()
        return _awaited(made, name) if inspect.isawaitable(made) else _checked(made, name)
    raise BadApplication(f"{name} is {_kind(found)}, not an aiohttp.web.Application or a function that returns one")


async def _awaited(made: Awaitable[Any], name: str) -> web.Application:
    return _checked(await made, name)


def _checked(made: Any, name: str) -> web.Application:
    from aiohttp import web

    if not isinstance(made, web.Application):
        raise BadApplication(f"{name} returned {_kind(made)}, not an aiohttp.web.Application")
    return made


def _kind(thing: Any) -> str:
    if isinstance(thing, type):
        return f"the class {thing.__name__}"
    return "None" if thing is None else f"an object of type {type(thing).__name__}"
