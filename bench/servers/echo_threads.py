"""TCP echo by several threads, each with a loop and a port of its own; ``bench/threads.py`` drives it."""

import argparse
import asyncio
import queue
import signal
import sys
import threading

from echo_protocol import Echo
from echo_work import Working
from loop_factories import LoopFactory, loop_factory
from serving import BACKLOG, HOST, add_options, die_with_parent, port_of, raise_descriptor_limit


async def _serve(protocol: type[Echo], ports: queue.SimpleQueue[int]) -> None:
    server = await asyncio.get_running_loop().create_server(protocol, HOST, 0, backlog=BACKLOG)
    ports.put(port_of(server))
    await server.serve_forever()


def _run(factory: LoopFactory, protocol: type[Echo], ports: queue.SimpleQueue[int]) -> None:
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(_serve(protocol, ports))


def main() -> None:
    """Print the ports, and whether the interpreter lock is in force; serve until SIGTERM."""
    parser = argparse.ArgumentParser(description="Echo by several threads.")
    add_options(parser)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--work", type=int, default=0, help="rounds of an empty loop in Python for each message")
    options = parser.parse_args()
    Working.rounds = options.work
    protocol = Working if options.work else Echo
    die_with_parent()
    raise_descriptor_limit()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    ports: queue.SimpleQueue[int] = queue.SimpleQueue()
    for _ in range(options.threads):
        threading.Thread(target=_run, args=(loop_factory(options.loop), protocol, ports), daemon=True).start()
    found = [ports.get(timeout=10) for _ in range(options.threads)]
    print(*found, "locked" if getattr(sys, "_is_gil_enabled", lambda: True)() else "free", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
