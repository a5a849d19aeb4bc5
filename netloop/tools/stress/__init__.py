"""``python -m netloop stress``: many thousands of connections, some of them busy, and what they cost.

Servers and clients are processes of their own, all on netloop. The servers share one port; the connections of the
servers live in their rings' file tables and need no descriptors, those of the clients need one each, so that there are
as many clients as it takes. Every answer is checked to the last byte, and every step is bounded in time.

It uses ``netloop`` as every program does, and what the commands share in ``tools``.
"""

from __future__ import annotations

import importlib.util
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

from netloop.tools.stress.fleet import Fleet
from netloop.tools.stress.options import Options, parse
from netloop.tools.stress.processes import StressFailed
from netloop.tools.stress.progress import progress
from netloop.tools.stress.report import plot, show, write
from netloop.tools.stress.scenarios import RUN, Outcome

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the stress test and print its table.

    Args:
        arguments: the command line after ``stress``.

    Returns:
        0; 1 when something failed or was judged bad, or the test was interrupted; 2 when it could not begin.
    """
    options = parse(arguments)
    if options.server == "aiohttp" and options.address is None and importlib.util.find_spec("aiohttp") is None:
        print("The aiohttp server needs aiohttp: pip install 'netloop[demo]'", file=sys.stderr)
        return 2
    # A supervisor's SIGTERM must not leave children behind any more than Ctrl-C does.
    previous = signal.signal(signal.SIGTERM, _interrupted)
    try:
        return _run(options)
    except KeyboardInterrupt:
        print("interrupted; servers and clients are stopped", file=sys.stderr)
        return 1
    except StressFailed as failed:
        print(f"The stress test could not go on: {failed}", file=sys.stderr)
        return 1
    finally:
        signal.signal(signal.SIGTERM, previous)


def _run(options: Options) -> int:
    outcome = Outcome()
    with progress() as step, Fleet(options, step) as fleet:
        RUN[options.scenario](fleet, outcome)
        for process in (*fleet.clients, *fleet.servers):
            if (status := process.finish()) != 0:
                outcome.add(f"a {process.name}'s end", f"status {status}: {process.complaints()}", False)
            elif complaints := process.complaints():
                outcome.add(f"a {process.name}'s complaints", complaints, False)
    show(outcome, options)
    paths = [write(outcome, options, fleet.history)]
    if options.plots:
        paths += plot(outcome, options, fleet.history)
    print(f"wrote {', '.join(map(str, paths))}", file=sys.stderr)
    return 0 if outcome.good else 1


def _interrupted(signum: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt
