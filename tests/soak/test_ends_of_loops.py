"""A loop ends at any moment with everything under way: closed here or in another thread, collected, or forked.

It neither hangs nor crashes, and no descriptor stays. It all happens in a child process.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import random
import signal
import socket
import sys
import threading
import time
import warnings
from typing import Any

from faults.child import descriptors, descriptors_left, run_child
from loop.helpers import HOST, address_of

ENDINGS = ("close", "close the servers first", "close in a thread", "run in a thread", "collect", "fork")
CHILD_SECONDS = 5


class Busy(asyncio.Protocol):
    """Writes, answers, closes, and now and then stops the loop."""

    def __init__(self, scene: Scene) -> None:
        self.scene, self.chance = scene, scene.chance

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        if self.chance.random() < 0.7:
            transport.write(bytes(self.chance.choice((10, 100_000, 3_000_000))))
        if self.chance.random() < 0.2:
            transport.get_extra_info("socket").fileno()
        if self.chance.random() < 0.2:
            transport.pause_reading()

    def data_received(self, data: bytes) -> None:
        if self.chance.random() < 0.5:
            self.transport.write(data[:1000])
        what = self.chance.random()
        if what < 0.05:
            self.transport.close()
        elif what < 0.08:
            self.transport.abort()
        elif what < 0.1:
            self.scene.loop.stop()


class Scene:
    """A loop on which a bit of everything is under way."""

    def __init__(self, chance: random.Random) -> None:
        import netloop

        self.chance = chance
        self.loop: Any = netloop.EventLoop(
            buffer_count=chance.choice((2, 64)),
            submission_entries=chance.choice((4, 512)),
            completion_entries=chance.choice((8, 4096)),
            fixed_files=chance.choice((12, 1000)),
        )
        self.loop.set_exception_handler(lambda loop, context: None)
        self.socks: list[socket.socket] = []
        self.others: list[Any] = []
        self.servers: list[Any] = []

    def run(self) -> None:
        """Run for a moment."""
        self.others.append(self.loop.create_task(self.begin()))
        self.loop.call_later(self.chance.choice((0, 0.001, 0.003, 0.01)), self.loop.stop)
        self.loop.run_forever()

    async def begin(self) -> None:
        loop = self.loop
        self.servers.append(await loop.create_server(lambda: Busy(self), HOST, 0))
        address = address_of(self.servers[0])
        for _ in range(self.chance.randrange(8)):
            await loop.create_connection(lambda: Busy(self), *address)
        near, far = socket.socketpair()
        connecting, listening = socket.socket(), socket.create_server((HOST, 0))
        self.socks += near, far, connecting, listening
        for sock in self.socks:
            sock.setblocking(False)
        loop.add_reader(near, near.recv, 10)
        loop.add_writer(far, int)
        calls = loop.sock_recv(near, 10), loop.sock_connect(connecting, address), loop.sock_accept(listening)
        self.others += [loop.create_task(call) for call in calls]
        if threading.current_thread() is threading.main_thread() and self.chance.random() < 0.2:
            loop.add_signal_handler(signal.SIGUSR1, int)
        self.others += [loop.call_later(self.chance.random() * 0.02, int) for _ in range(20)]
        self.others += [loop.call_later(100, int) for _ in range(20)]
        await asyncio.sleep(10)

    def end(self, how: str) -> None:
        if how == "fork":
            self.fork()
        if how == "close the servers first":
            for server in self.servers:
                server.close()
        if how == "close in a thread":
            self.loop.remove_signal_handler(signal.SIGUSR1)  # which only the main thread can do
            in_thread(self.loop.close)
        elif how != "collect":
            self.loop.close()
        for sock in self.socks:
            sock.close()

    def fork(self) -> None:
        """In the child, use what is left of the loop, and another one; then go on in the parent."""
        pid = os.fork()
        if pid == 0:
            signal.alarm(CHILD_SECONDS)
            good = False
            try:
                good = self.be_a_child()
            finally:
                os._exit(0 if good else 1)
        assert os.waitpid(pid, 0)[1] == 0
        self.loop.call_later(0.005, self.loop.stop)
        self.loop.run_forever()

    def be_a_child(self) -> bool:
        import netloop

        refused = False
        try:
            self.loop.run_forever()
        except RuntimeError:
            refused = True
        for sock in self.socks:
            sock.close()
        if self.chance.random() < 0.5:
            self.loop.close()
        fresh = netloop.EventLoop()
        fresh.run_until_complete(asyncio.sleep(0.001))
        fresh.close()
        return refused


def in_thread(function: Any) -> None:
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()


def end_once(chance: random.Random) -> str:
    scene = Scene(chance)
    how = chance.choice(ENDINGS)
    if how == "run in a thread":
        in_thread(scene.run)
    else:
        scene.run()
    scene.end(how)
    return how


def end_loops(seed: int, seconds: float) -> tuple[dict[str, int], list[str]]:
    """End one loop after the other; how many in which way, and the descriptors that stay."""
    warnings.simplefilter("ignore")  # what a scene leaves open is the point of it
    logging.disable(logging.CRITICAL)
    sys.unraisablehook = lambda unraisable: None
    chance = random.Random(seed)
    end_once(chance)
    gc.collect()
    before = descriptors()
    counts = dict.fromkeys(ENDINGS, 0)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        counts[end_once(chance)] += 1
        gc.collect()
    return counts, descriptors_left(before)


def test_a_loop_that_ends_at_any_moment_leaves_nothing(seed: int, seconds: float) -> None:
    counts, left = run_child(end_loops, seed, seconds, seconds=seconds + 40)
    assert left == []
    assert sum(counts.values()) > 10
