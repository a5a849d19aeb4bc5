"""The demo's server process: one loop, one aiohttp application, one listening socket on the loopback interface."""

from __future__ import annotations

import argparse
import json
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from aiohttp import web

from netloop.tools.children import allow_tracing, die_with_parent, pin
from netloop.tools.demo.application import create_application
from netloop.tools.demo.loops import LOOPS, new_loop

__all__ = ["main"]

_BACKLOG = 1024


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT. Prints a line of JSON with ``port``, ``pid`` and ``loop`` when ready.

    Returns:
        0, or 1 when the loop cannot be made; standard error then says why.
    """
    parser = argparse.ArgumentParser(prog="python -m netloop.tools.demo.server")
    parser.add_argument("--parent", type=int, required=True, help="the process to end with")
    parser.add_argument("--loop", choices=LOOPS, required=True)
    parser.add_argument("--files", type=Path, required=True, help="the directory to serve")
    parser.add_argument("--cpu", type=int)
    options = parser.parse_args(arguments)
    die_with_parent(options.parent)
    allow_tracing()
    pin(options.cpu)
    try:
        loop = new_loop(options.loop)
    except (OSError, ImportError) as refused:
        print(refused, file=sys.stderr)
        return 1
    kind = type(loop)
    with socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG) as listener:
        ready = {"port": listener.getsockname()[1], "pid": os.getpid(), "loop": f"{kind.__module__}.{kind.__name__}"}
        # aiohttp prints its banner when it listens, which is when the demo may begin.
        web.run_app(
            create_application(options.files),
            sock=listener,
            loop=loop,
            backlog=_BACKLOG,
            print=lambda *_: print(json.dumps(ready), flush=True),
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
