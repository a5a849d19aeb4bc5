"""A watch is of a file, not of a number: descriptors that are closed while they are watched, and numbers used again."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import socket
import weakref

import pytest

from .helpers import POLLED, eventually, turns


class Pair:
    """A number to watch, and the socket that is connected to what it stands for."""

    def __init__(self):
        near, self.far = socket.socketpair()
        self.number = near.detach()
        self.far.setblocking(False)
        os.set_blocking(self.number, False)

    def close(self):
        """Close the watched end, of which nobody is told."""
        os.close(self.number)
        self.number = -1

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.far.close()
        if self.number >= 0:
            os.close(self.number)


def at_number(number):
    """A pair whose near end has this number, which is free."""
    pair = Pair()
    if pair.number != number:
        os.dup2(pair.number, number)
        os.close(pair.number)
        pair.number = number
    return pair


async def test_the_peer_of_a_watched_descriptor_sees_it_closed(loop):
    with Pair() as pair:
        loop.add_reader(pair.number, print)
        await turns()
        number = pair.number
        pair.close()
        await eventually(lambda: ended(pair.far))
        loop.remove_reader(number)


async def test_the_peer_of_a_watched_socket_sees_it_closed(loop):
    near, far = socket.socketpair()
    with near, far:
        far.setblocking(False)
        loop.add_reader(near, print)
        await turns()
        near.close()
        await eventually(lambda: ended(far))
        loop.remove_reader(near)


def ended(sock):
    """Has the peer closed?"""
    try:
        return sock.recv(1) == b""
    except BlockingIOError:
        return False


@pytest.mark.parametrize("called_before", [False, True])
async def test_the_next_owner_of_a_number_is_not_watched(loop, called_before):
    """The old callback reads nothing of the new file, also when the old one has ended."""
    read = []
    with Pair() as old:
        number = old.number
        loop.add_reader(number, lambda: read.append(os.read(number, 100)))
        await turns()
        if called_before:
            old.far.send(b"for the old one")
            await eventually(lambda: read)
            read.clear()
        old.close()
        with at_number(number) as new:
            await turns()
            old.far.close()
            new.far.send(b"for the new one")
            await asyncio.sleep(0.01)
            assert read == []
            assert os.read(number, 100) == b"for the new one"
            loop.remove_reader(number)


async def test_the_next_owner_of_a_number_may_be_watched(loop):
    """Nobody has removed the old watch; the new one takes its place."""
    called = []
    with Pair() as old:
        number = old.number
        loop.add_reader(number, called.append, "old reader")
        loop.add_writer(number, lambda: None)
        await turns()
        old.close()
        with at_number(number) as new:
            loop.add_reader(number, lambda: called.append(os.read(number, 100)))
            new.far.send(b"data")
            await eventually(lambda: called)
            assert called == [b"data"]
            assert loop.remove_writer(number) is False
            assert loop.remove_reader(number) is True


async def test_a_number_that_was_closed_cannot_be_watched_anew(loop):
    with Pair() as pair:
        number = pair.number
        loop.add_reader(number, print)
        pair.close()
        with pytest.raises(OSError, match="Bad file descriptor"):
            loop.add_reader(number, print)
        loop.remove_reader(number)


@pytest.mark.parametrize("what", ["reader", "writer"])
async def test_a_socket_that_was_closed_can_be_removed(loop, what):
    near, far = socket.socketpair()
    with near, far:
        add, remove = getattr(loop, f"add_{what}"), getattr(loop, f"remove_{what}")
        add(near, lambda: None)
        await turns()
        near.close()
        assert remove(near) is not False
        with pytest.raises(ValueError, match="Invalid file descriptor: -1"):
            remove(near)


async def test_reader_and_writer_of_a_socket_that_was_closed_can_be_removed(loop):
    near, far = socket.socketpair()
    with near, far:
        loop.add_reader(near, lambda: None)
        loop.add_writer(near, lambda: None)
        await turns()
        near.close()
        assert loop.remove_reader(near) is not False
        assert loop.remove_writer(near) is not False


async def test_a_closed_socket_that_was_never_watched(loop):
    near, far = socket.socketpair()
    with far:
        near.close()
        for call in (loop.remove_reader, loop.remove_writer, lambda sock: loop.add_reader(sock, print)):
            with pytest.raises(ValueError, match="Invalid file descriptor: -1"):
                call(near)


class Held:
    """An object with a descriptor."""

    def __init__(self, number):
        self.number = number

    def fileno(self):
        return self.number


async def test_what_is_watched_is_kept(loop):
    """Who watches a socket need not hold it: nobody closes it while it is watched."""
    with Pair() as pair:
        held = Held(pair.number)
        seen = weakref.ref(held)
        loop.add_reader(held, print)
        del held
        gc.collect()
        assert seen() is not None
        loop.remove_reader(pair.number)
        await turns()
        gc.collect()
        assert seen() is None


class Scene:
    """Watched pairs at random: which callbacks are called, and which should be."""

    def __init__(self, loop, seed):
        self.loop = loop
        self.chance = random.Random(seed)
        self.pairs = []
        # Number → the pair whose near end was watched under it; it may be closed by now.
        self.watched = {}
        self.unread = set()
        self.called = set()

    def open(self):
        pair = Pair()
        self.pairs.append(pair)
        if pair.number in self.watched and self.chance.random() < 0.5:
            self.remove(pair.number)  # else the watch of the former owner stays, and must stay silent

    def watch(self):
        pair = self.chance.choice(self.pairs)
        if pair.number not in self.watched:
            self.watched[pair.number] = pair
            self.loop.add_reader(pair.number, self.call, pair)

    def call(self, pair):
        self.called.add(pair)

    def send(self):
        pair = self.chance.choice(self.pairs)
        pair.far.send(b"x")
        self.unread.add(pair)

    def read(self):
        pair = self.chance.choice(self.pairs)
        if pair in self.unread:
            os.read(pair.number, 100)
            self.unread.remove(pair)

    def remove(self, number=None):
        if self.watched:
            number = self.chance.choice(list(self.watched)) if number is None else number
            self.loop.remove_reader(number)
            del self.watched[number]

    def close(self):
        pair = self.pairs.pop(self.chance.randrange(len(self.pairs)))
        self.unread.discard(pair)
        if self.chance.random() < 0.5 and self.watched.get(pair.number) is pair:
            self.remove(pair.number)
        pair.close()
        pair.far.close()

    def expected(self):
        return {pair for number, pair in self.watched.items() if pair.number == number and pair in self.unread}

    async def step(self):
        steps = [self.open] if len(self.pairs) < 5 else [self.watch, self.send, self.read, self.remove, self.close]
        self.chance.choice([*steps, self.open] if len(self.pairs) < 60 else steps)()
        await turns(2)  # what was ready before may still be called
        self.called.clear()
        await turns(4)
        if POLLED:  # a thread of the kernel's comes when it has the CPU
            await eventually(lambda: self.called >= self.expected())
        assert self.called == self.expected()

    def end(self):
        for number in list(self.watched):
            self.remove(number)
        for pair in self.pairs:
            pair.close()
            pair.far.close()


@pytest.mark.parametrize("seed", range(3))
async def test_numbers_are_used_again_at_random(loop, seed):
    scene = Scene(loop, seed)
    try:
        for _ in range(1000):
            await scene.step()
    finally:
        scene.end()
