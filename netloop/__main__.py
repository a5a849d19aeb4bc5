"""The command line: ``python -m netloop doctor``, ``demo``, ``serve``, ``stacks``, ``top``, ``bench`` or ``stress``."""

from __future__ import annotations

import argparse
import importlib
import os
import select
import signal
import sys
from collections.abc import Sequence
from typing import Final

import netloop

_COMMANDS: Final = {
    "doctor": ("netloop.tools.doctor", "show what this kernel and container offer; exits 1 when the loop cannot run"),
    "demo": (
        "netloop.tools.demo",
        "serve aiohttp on netloop, uvloop and asyncio, check every answer and compare them",
    ),
    "serve": ("netloop.tools.serve", "run an existing aiohttp or ASGI application on netloop"),
    "stacks": ("netloop.tools.stacks", "show what a running process's loops do, and what each task awaits"),
    "top": ("netloop.tools.top", "the same in figures, again and again"),
    "bench": ("netloop.tools.bench", "compare loops with each other and with servers in C; needs gcc"),
    "stress": (
        "netloop.tools.stress",
        "hold many thousands of connections, drive some, and report what they cost",
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: the command line without the program's name; that of this process unless given.

    Returns:
        The exit status: 0 for success, 1 for a negative answer, 2 for a command line that cannot be followed, and what
        a shell reports for SIGPIPE where nobody reads the output any more.
    """
    try:
        try:
            return _run(arguments)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        if not _is_output_gone():
            raise
        # The interpreter flushes once more when it ends, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE


def _run(arguments: Sequence[str] | None) -> int:
    parser = argparse.ArgumentParser(prog="python -m netloop", description="An asyncio event loop on io_uring.")
    parser.add_argument("--version", action="version", version=f"netloop {netloop.__version__}")
    commands = parser.add_subparsers(title="commands", dest="command", required=True, metavar="COMMAND")
    for name, (_, summary) in _COMMANDS.items():
        # The command's own parser takes the rest, --help included, so that only its module need be imported.
        commands.add_parser(name, help=summary, add_help=False)
    chosen, rest = parser.parse_known_args(arguments)
    status: int = importlib.import_module(_COMMANDS[chosen.command][0]).main(rest)
    return status


def _is_output_gone() -> bool:
    """Has the reader of standard output, such as ``head``, closed the pipe?"""
    poll = select.poll()
    poll.register(sys.stdout, 0)
    return any(events & select.POLLERR for _, events in poll.poll(0))


if __name__ == "__main__":
    sys.exit(main())
