"""Finding the application that the command line names, and telling what it is."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Awaitable
from typing import Any, Final

__all__ = ["BadApplication", "is_aiohttp", "is_graceful_exit", "load_application"]

_WANTED: Final = "an aiohttp.web.Application or an ASGI application"


class BadApplication(Exception):
    """What was named on the command line is not an application that can be served; says why."""


def load_application(name: str) -> Any:
    """Import the application called ``module:attribute``.

    Args:
        name: the module and, after a colon, an attribute of it (dots reach further in): an ``aiohttp.web.Application``,
            an ASGI application, or a function or coroutine function that takes no arguments and returns one.

    Returns:
        The application, or what to await for it.

    Raises:
        BadApplication: there is no such module or attribute, or it is something else.
        Exception: whatever importing the module, or calling the function, raises.
    """
    module_name, colon, path = name.partition(":")
    if not (module_name and colon and path) or module_name.startswith("."):
        raise BadApplication(f"{name!r} names no application: write module:attribute, for instance shop.web:app")
    found: Any = _import(module_name)
    for attribute in path.split("."):
        if not hasattr(found, attribute):
            raise BadApplication(f"the module {module_name} has no attribute {path!r}")
        found = getattr(found, attribute)
    return _application(found, name)


def is_aiohttp(found: Any) -> bool:
    """Is it an application of aiohttp's?"""
    return _is_from_aiohttp(found, "Application")


def is_graceful_exit(error: SystemExit) -> bool:
    """Has the application ended its server as aiohttp lets it?"""
    return _is_from_aiohttp(error, "GracefulExit")


def _is_from_aiohttp(thing: Any, name: str) -> bool:
    # Whatever is of its class was made by aiohttp, which has then been imported; it need not be there.
    wanted = getattr(sys.modules.get("aiohttp.web"), name, None)
    return isinstance(wanted, type) and isinstance(thing, wanted)


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


def _application(found: Any, name: str) -> Any:
    if is_aiohttp(found) or _is_asgi(found):
        return found
    if callable(found) and not isinstance(found, type):
        try:
            inspect.signature(found).bind()
        except TypeError as error:
            raise BadApplication(f"{name} cannot be called without arguments: {error}") from error
        made = found()
        return _awaited(made, name) if inspect.isawaitable(made) else _checked(made, name)
    raise BadApplication(f"{name} is {_kind(found)}, not {_WANTED}, or a function that returns one")


async def _awaited(made: Awaitable[Any], name: str) -> Any:
    return _checked(await made, name)


def _checked(made: Any, name: str) -> Any:
    if not (is_aiohttp(made) or _is_asgi(made)):
        raise BadApplication(f"{name} returned {_kind(made)}, not {_WANTED}")
    return made


def _is_asgi(found: Any) -> bool:
    """Is it called with a scope, a way to receive and one to send? Whoever can do without these is a function."""
    if not callable(found) or isinstance(found, type):
        return False
    try:
        signature = inspect.signature(found)
    except (TypeError, ValueError):
        # Compiled, without a signature: functions that people write to make an application have one.
        return True
    return _takes(signature, 3) and not _takes(signature, 0)


def _takes(signature: inspect.Signature, count: int) -> bool:
    try:
        signature.bind(*range(count))
    except TypeError:
        return False
    return True


def _kind(thing: Any) -> str:
    if isinstance(thing, type):
        return f"the class {thing.__name__}"
    return "None" if thing is None else f"an object of type {type(thing).__name__}"
