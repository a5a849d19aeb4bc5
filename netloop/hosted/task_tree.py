"""What the tasks of a loop await, and which of them await each other; for whoever looks at a loop from outside.

It is asked by another thread while the loop may go on. So what it tells of two tasks may be of two moments, and a task
that is gone is left out.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Final, NamedTuple

from netloop.stall_report import StackLine

__all__ = ["await_chain", "describe_tasks"]


class _Kind(NamedTuple):
    """How an object that can be suspended names its attributes, and the one with what it awaits."""

    prefix: str
    awaited: str


_SUSPENDABLE: Final = (_Kind("cr", "cr_await"), _Kind("gi", "gi_yieldfrom"), _Kind("ag", "ag_await"))
# Longer chains are cut: somebody's coroutine may recurse.
_LONGEST_CHAIN: Final = 100


def describe_tasks(loop: asyncio.AbstractEventLoop, limit: int, *, chains: bool = True) -> dict[str, Any]:
    """The tasks of a loop that are not done, in what JSON knows.

    Args:
        loop: the loop, of any thread.
        limit: how many tasks are described at most, those first that were found first.
        chains: whether coroutines may be looked into. They are not made for that while another thread could run them
            without the interpreter lock.

    Returns:
        How many there are (``count``), and of each that is ``shown`` its ``id``, ``name``, ``coroutine``, the ``chain``
        of coroutines that await each other, what the last of them waits for (``awaits``), whether it is being run
        (``running``), and the ids of the tasks that wait for it (``awaited_by``).
    """
    tasks = sorted(asyncio.all_tasks(loop), key=_by_name)
    shown = list(islice(tasks, limit))
    current = asyncio.current_task(loop)
    awaiting = _awaiting(tasks)
    return {
        "count": len(tasks),
        "shown": [
            {
                "id": id(task),
                "name": task.get_name(),
                "coroutine": _name(task.get_coro()),
                "chain": [str(line) for line in await_chain(task.get_coro())] if chains else [],
                "awaits": "nothing: it is being run" if task is current else _what(_future_of(task)),
                "running": task is current,
                "awaited_by": sorted(id(waiter) for waiter in _waiters(task, awaiting)),
            }
            for task in shown
        ],
    }


def await_chain(awaited: Any) -> list[StackLine]:
    """The coroutines, the outermost first, each of which awaits the next, and the line where it does so."""
    chain: list[StackLine] = []
    while len(chain) < _LONGEST_CHAIN:
        kind = next((kind for kind in _SUSPENDABLE if hasattr(awaited, f"{kind.prefix}_code")), None)
        if kind is None:
            break
        code, frame = getattr(awaited, f"{kind.prefix}_code"), getattr(awaited, f"{kind.prefix}_frame")
        line = (frame.f_lineno if frame is not None else None) or code.co_firstlineno
        chain.append(StackLine(code.co_filename, line, code.co_qualname))
        awaited = getattr(awaited, kind.awaited)
    return chain


def _by_name(task: asyncio.Task[Any]) -> tuple[int, str]:
    """Task-9 before Task-10."""
    name = task.get_name()
    return len(name), name


def _name(coroutine: Any) -> str:
    return str(getattr(coroutine, "__qualname__", type(coroutine).__qualname__))


def _future_of(task: asyncio.Task[Any]) -> Any:
    """What the task waits for; None if it is to be run next, or is being run."""
    return getattr(task, "_fut_waiter", None)


def _what(future: Any) -> str:
    if future is None:
        return "its turn"
    if isinstance(future, asyncio.Task):
        return f"the task {future.get_name()!r}"
    children = getattr(future, "_children", None)
    if isinstance(children, list):
        return f"{len(children)} others, gathered"
    kind = type(future)
    return "a future" if kind is asyncio.Future else f"{kind.__module__}.{kind.__qualname__}"


def _awaiting(tasks: Iterable[asyncio.Task[Any]]) -> dict[int, asyncio.Task[Any]]:
    """By the id of what is waited for: the task that waits."""
    found = {}
    for task in tasks:
        future = _future_of(task)
        if future is not None:
            found[id(future)] = task
            for child in getattr(future, "_children", None) or ():
                found[id(child)] = task
    return found


def _waiters(task: asyncio.Task[Any], awaiting: dict[int, asyncio.Task[Any]]) -> Iterator[asyncio.Task[Any]]:
    """The tasks that wait for a task: for itself, or for what its callbacks complete."""
    direct = awaiting.get(id(task))
    if direct is not None:
        yield direct
        return
    seen = set()
    for callback, *_ in getattr(task, "_callbacks", None) or ():
        for thing in _held_by(callback):
            waiter = awaiting.get(id(thing), getattr(thing, "_parent_task", None))
            if isinstance(waiter, asyncio.Task) and waiter is not task and id(waiter) not in seen:
                seen.add(id(waiter))
                yield waiter


def _held_by(callback: Any) -> Iterator[Any]:
    """What a callback refers to: the object of a method, the variables of a closure, the arguments of a partial."""
    while isinstance(callback, functools.partial):
        yield from callback.args
        callback = callback.func
    owner = getattr(callback, "__self__", None)
    if owner is not None:
        yield owner
    for cell in getattr(callback, "__closure__", None) or ():
        try:
            yield cell.cell_contents
        except ValueError:
            continue  # not assigned yet
