"""Watched files that are open under several numbers, in other processes too; and too few numbers to watch anything."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import socket
import threading

import pytest
from loop.helpers import eventually, turns

from .child import run_child
from .test_fork import in_fork, refuses


class Watched:
    """A socket that is watched under a number of its own, closed while a duplicate keeps it open."""

    def __init__(self, loop):
        self.loop = loop
        near, self.far = socket.socketpair()
        self.called = []
        self.duplicate = near.dup()
        self.number = near.detach()
        loop.add_reader(self.number, self.called.append, 1)

    def close(self):
        os.close(self.number)

    def remove(self):
        assert self.loop.remove_reader(self.number) is True
        self.called.clear()

    def end(self):
        self.far.close()
        self.duplicate.close()


async def rests(loop):
    """Does the loop sleep while nothing happens?"""
    await turns(10)
    before = loop.statistics().turns
    await asyncio.sleep(0.05)
    return loop.statistics().turns - before < 20


@pytest.mark.parametrize("used_again", ["no", "free", "watched"])
async def test_what_was_closed_before_its_removal_keeps_nobody_busy(loop, used_again):
    """The kernel goes on telling of it as long as there is a duplicate."""
    watched = [Watched(loop) for _ in range(3)]
    near, far = socket.socketpair()
    seen = []
    loop.add_reader(near, lambda: seen.append(near.recv(10)))
    await turns()
    others = []
    for each in watched:
        each.close()
        each.remove()
        if used_again != "no":
            other, peer = socket.socketpair()
            others.append((other, peer))
            if used_again == "watched":
                loop.add_reader(other, lambda other=other: seen.append(other.recv(10)))
    for each in watched:
        each.far.send(b"for nobody")
    assert await rests(loop)
    assert not any(each.called for each in watched)
    far.send(b"x")
    await eventually(lambda: seen == [b"x"])
    if used_again == "watched":
        for _, peer in others:
            peer.send(b"y")
        await eventually(lambda: seen == [b"x", b"y", b"y", b"y"])
    for each in watched:
        each.end()
    for sock in [near, far, *(sock for pair in others for sock in pair)]:
        loop.remove_reader(sock)
        sock.close()


async def test_a_number_that_is_its_old_files_again(loop):
    watched = Watched(loop)
    await turns()
    watched.close()
    watched.remove()
    os.dup2(watched.duplicate.fileno(), watched.number)
    loop.add_reader(watched.number, watched.called.append, 2)
    watched.far.send(b"x")
    await eventually(lambda: watched.called)
    assert set(watched.called) == {2}
    loop.remove_reader(watched.number)
    assert await rests(loop)
    watched.close()
    watched.end()


def fork_with_watchers():
    """In a child, remove the parent's watchers, add others, and close its loop: the parent goes on watching."""
    import netloop

    async def main():
        loop = asyncio.get_running_loop()
        near, far = socket.socketpair()
        seen = []
        loop.add_reader(near, lambda: seen.append(near.recv(100)))
        loop.add_writer(far, lambda: None)
        await turns()

        def in_child():
            good = refuses(loop.add_reader, far, print)
            good = loop.remove_reader(near) is True and loop.remove_writer(far) is True and good
            near.close()
            return loop.remove_reader(far) is False and good

        good = in_fork(in_child)
        far.send(b"still watched")
        await eventually(lambda: seen)
        good = loop.remove_writer(far) and loop.remove_reader(near) and good
        near.close()
        far.close()
        return good, seen[0].decode()

    return netloop.run(main())


def test_a_childs_removals_do_not_reach_the_parent():
    assert run_child(fork_with_watchers) == [True, "still watched"]


def watch_without_descriptors():
    """Watch a descriptor when no other can be had, and go on when one can; then do without one again."""
    import netloop

    async def main():
        loop = asyncio.get_running_loop()
        near, far = socket.socketpair()
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, limit))
        try:
            loop.add_reader(near, print)
        except OSError as error:
            refused = str(error)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
        seen = []
        loop.add_reader(near, lambda: seen.append(near.recv(10)))
        watched = Watched(loop)
        await turns()
        watched.close()
        watched.remove()
        watched.far.send(b"for nobody")
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, limit))
        fillers = []
        with contextlib.suppress(OSError):
            while True:
                fillers.append(os.dup(near.fileno()))
        rested = await rests(loop)
        far.send(b"x")
        await eventually(lambda: seen)
        for filler in fillers:
            os.close(filler)
        loop.remove_reader(near)
        watched.end()
        near.close()
        far.close()
        return refused, rested, seen == [b"x"]

    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return netloop.run(main())


def test_watching_without_descriptors_to_spare():
    refused, rested, seen = run_child(watch_without_descriptors)
    assert refused == "[Errno 24] cannot make the epoll instance of watchers: Too many open files"
    assert rested and seen


def test_an_interrupt_out_of_a_watchers_callback_loses_no_event(loop):
    pairs = [socket.socketpair() for _ in range(20)]
    seen = []

    def read(sock):
        seen.append(sock.recv(10))
        raise KeyboardInterrupt

    for near, far in pairs:
        loop.add_reader(near, read, near)
        far.send(b"x")
    runs = 0
    while len(seen) < 20:
        runs += 1
        with pytest.raises(KeyboardInterrupt):
            loop.run_forever()
    assert runs == 20
    for near, far in pairs:
        loop.remove_reader(near)
        near.close()
        far.close()


def test_another_thread_adds_a_watcher_to_a_loop_that_sleeps(loop):
    near, far = socket.socketpair()
    with near, far:
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        while not loop.is_running():
            pass
        seen = threading.Event()
        far.send(b"x")
        for _ in range(3):
            loop.add_reader(near, seen.set)
            assert seen.wait(10)
            loop.remove_reader(near)
            seen.clear()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
