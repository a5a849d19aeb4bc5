"""``python -m netloop stacks PID``: what the loops of a running process do, and what each of their tasks awaits."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from netloop.tools.inspection import Unanswered, add_options, ask, printable

__all__ = ["lines_of", "main"]

_Task = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tasks of a process as a tree.

    Args:
        arguments: the command line after ``stacks``.

    Returns:
        0, or 1 if the process does not tell.
    """
    parser = argparse.ArgumentParser(
        prog="python -m netloop stacks",
        description="Show what the netloop event loops of a running process do, also of one that is stuck.",
    )
    add_options(parser, limit=1000)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    options = parser.parse_args(arguments)
    try:
        answer = ask(options.process, limit=options.limit, timeout=options.timeout)
    except Unanswered as reason:
        print(f"netloop stacks: {reason}", file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps(answer, indent=2))
    else:
        print("\n".join(printable(line) for line in lines_of(answer)))
    return 0


def lines_of(answer: dict[str, Any]) -> Iterator[str]:
    """The text for an answer."""
    yield f"process {answer['pid']}, netloop {answer['netloop']} on Python {answer['python']}"
    for number, loop in enumerate(answer["loops"], 1):
        yield ""
        yield f"loop {number}{_where(loop)}: {_doing(loop)}"
        yield from (f"  {line}" for line in loop["stack"])
        tasks = loop["tasks"]
        yield f"tasks: {tasks['count']}{_left_out(tasks)}"
        yield from _tree(tasks["shown"])
    if not answer["loops"]:
        yield "no loop that is open"


def _where(loop: dict[str, Any]) -> str:
    return f" in {loop['thread']}" if loop["thread"] else ""


def _doing(loop: dict[str, Any]) -> str:
    if not loop["running"]:
        return "does not run"
    if not loop["turn_seconds"]:
        return "waits"
    return f"in the same turn for {loop['turn_seconds']:.3f} s"


def _left_out(part: dict[str, Any]) -> str:
    missing = part["count"] - len(part["shown"])
    return f", {missing} of them not shown (--limit)" if missing > 0 else ""


def _tree(tasks: list[_Task]) -> Iterator[str]:
    """Each task below the one that waits for it, those that nobody waits for at the left."""
    by_id = {task["id"]: task for task in tasks}
    children: dict[int, list[_Task]] = {}
    roots = []
    for task in tasks:
        waiters = [waiter for waiter in task["awaited_by"] if waiter in by_id]
        for waiter in waiters:
            children.setdefault(waiter, []).append(task)
        if not waiters:
            roots.append(task)
    told: set[int] = set()
    for task in roots:
        yield from _branch(task, children, "  ", told)
    # Tasks that wait for each other in a circle.
    for task in tasks:
        if task["id"] not in told:
            yield from _branch(task, children, "  ", told)


def _branch(root: _Task, children: dict[int, list[_Task]], indent: str, told: set[int]) -> Iterator[str]:
    # No recursion: a chain of tasks may be longer than Python's stack.
    waiting = [(root, indent)]
    while waiting:
        task, indent = waiting.pop()
        if task["id"] in told:
            yield f"{indent}{task['name']}, see above"
            continue
        told.add(task["id"])
        yield f"{indent}{task['name']} {task['coroutine']}, awaits {task['awaits']}"
        yield from (f"{indent}    {line}" for line in task["chain"])
        waiting.extend((child, indent + "  ") for child in reversed(children.get(task["id"], [])))
