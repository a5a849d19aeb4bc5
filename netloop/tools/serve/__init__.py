"""``python -m netloop serve module:app``: run an existing aiohttp or ASGI application on netloop.

One process serves unless ``--workers`` asks for several. Then this process is their master: it binds the listening
sockets and starts the workers, which are programs of their own with a loop each, and looks after them. ``process`` is
what serving in one process takes, alone or as a worker, and ``master`` what looking after several takes.

It uses ``setup``, of ``hosted`` what tells whether a UNIX socket is in use, and of ``tools`` what commands share.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from netloop.tools.serve.finding import BadApplication, load_application
from netloop.tools.serve.listeners import CannotListen, Listeners, open_listeners
from netloop.tools.serve.notify import Notifier
from netloop.tools.serve.options import Options, parse
from netloop.tools.serve.say import say

__all__ = ["BadApplication", "load_application", "main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGINT or SIGTERM.

    Args:
        arguments: the command line after ``serve``.

    Returns:
        0 after serving, 1 when the loop cannot be made, the application fails to start or the port is taken, 2 for a
        bad command line.
    """
    options = parse(arguments)
    try:
        listeners = open_listeners(options.address, options.workers or 1)
    except CannotListen as refused:
        say(str(refused))
        return 1
    try:
        with listeners:
            return (_serve_alone if options.workers is None else _serve_by_workers)(options, listeners)
    except KeyboardInterrupt:
        return 130


def _serve_alone(options: Options, listeners: Listeners) -> int:
    from netloop.tools.serve.process import Process

    notifier = Notifier(os.environ)

    def serving() -> None:
        print(f"======== Running on {listeners.name} ========\n(Press CTRL+C to quit)", flush=True)
        notifier.ready()

    return Process(options.application, listeners.of_worker(0), serving, notifier.stopping).run()


def _serve_by_workers(options: Options, listeners: Listeners) -> int:
    from netloop.tools.serve.master import Master

    return Master(options, listeners, Notifier(os.environ)).run()
