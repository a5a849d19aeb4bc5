"""add_reader and add_writer watch descriptors level by level."""

from __future__ import annotations

import asyncio
import os
import socket

import pytest

from .helpers import connected, eventually, turns


@pytest.fixture
def pair():
    """Two connected non-blocking sockets of a pair."""
    near, far = socket.socketpair()
    near.setblocking(False)
    far.setblocking(False)
    with near, far:
        yield near, far


async def test_a_reader_is_called_when_there_is_data(loop, pair):
    near, far = pair
    seen = []
    loop.add_reader(near, lambda *args: seen.append((args, near.recv(100))), 1, "two")
    await turns()
    assert seen == []
    far.send(b"one")
    await eventually(lambda: seen)
    far.send(b"two")
    await eventually(lambda: len(seen) == 2)
    assert loop.remove_reader(near) is True
    assert seen == [((1, "two"), b"one"), ((1, "two"), b"two")]


async def test_a_writer_is_called_while_there_is_room(loop, pair):
    near, _ = pair
    seen = []
    loop.add_writer(near, seen.append, 1)
    await eventually(lambda: len(seen) > 3)
    assert loop.remove_writer(near) is True
    count = len(seen)
    await asyncio.sleep(0.01)
    assert len(seen) == count


async def test_a_reader_is_called_again_until_the_data_is_read(loop, pair):
    near, far = pair
    seen = []

    def read_one_byte():
        seen.append(near.recv(1))

    loop.add_reader(near, read_one_byte)
    far.send(b"0123456789")
    await eventually(lambda: len(seen) == 10)
    await asyncio.sleep(0.01)
    loop.remove_reader(near)
    assert b"".join(seen) == b"0123456789"


async def test_a_reader_that_does_not_read_is_called_again(loop, pair):
    near, far = pair
    seen = []
    loop.add_reader(near, seen.append, 1)
    far.send(b"x")
    await eventually(lambda: len(seen) >= 5)
    near.recv(10)
    await turns(5)
    count = len(seen)
    await asyncio.sleep(0.01)
    assert len(seen) == count
    loop.remove_reader(near)


async def test_a_reader_added_after_the_data_came_is_called(loop, pair):
    near, far = pair
    far.send(b"early")
    seen = []
    loop.add_reader(near, lambda: seen.append(near.recv(10)))
    await eventually(lambda: seen)
    loop.remove_reader(near)
    assert seen == [b"early"]


async def test_the_end_is_readable(loop, pair):
    near, far = pair
    seen = []
    loop.add_reader(near, lambda: (seen.append(near.recv(10)), loop.remove_reader(near)))
    far.close()
    await eventually(lambda: seen)
    assert seen == [b""]


async def test_a_full_socket_calls_its_writer_when_it_is_emptied(loop, pair):
    near, far = pair
    try:
        while True:
            near.send(bytes(65536))
    except BlockingIOError:
        pass
    seen = []
    loop.add_writer(near, lambda: (seen.append(1), loop.remove_writer(near)))
    await asyncio.sleep(0.01)
    assert seen == []
    try:
        while far.recv(1_000_000):
            pass
    except BlockingIOError:
        pass
    await eventually(lambda: seen)


async def test_reader_and_writer_on_one_descriptor(loop, pair):
    near, far = pair
    read, written = [], []
    loop.add_reader(near, lambda: read.append(near.recv(10)))
    loop.add_writer(near, lambda: (written.append(1), loop.remove_writer(near)))
    await eventually(lambda: written)
    far.send(b"x")
    await eventually(lambda: read)
    assert len(written) == 1
    assert loop.remove_reader(near) and not loop.remove_writer(near)


async def test_adding_again_replaces_the_callback(loop, pair):
    near, far = pair
    seen = []
    loop.add_reader(near, seen.append, "first")
    loop.add_reader(near, lambda: seen.append(near.recv(10)))
    far.send(b"x")
    await eventually(lambda: seen)
    await turns()
    loop.remove_reader(near)
    assert seen == [b"x"]


async def test_removing_what_is_not_there(loop, pair):
    near, _ = pair
    assert loop.remove_reader(near) is False
    assert loop.remove_writer(near) is False
    loop.add_reader(near, print)
    assert loop.remove_writer(near) is False
    assert loop.remove_reader(near) is True
    assert loop.remove_reader(near) is False


async def test_after_its_removal_a_reader_is_not_called(loop, pair):
    near, far = pair
    for number in range(50):
        seen = []
        loop.add_reader(near, seen.append, 1)
        await turns(number % 3)
        far.send(b"x")
        loop.remove_reader(near)
        await turns(3)
        assert seen == []
        near.recv(10)


async def test_a_reader_can_remove_another(loop, pair):
    near, far = pair
    other_near, other_far = socket.socketpair()
    with other_near, other_far:
        seen = []

        def remove_both(name):
            seen.append(name)
            loop.remove_reader(near)
            loop.remove_reader(other_near)

        loop.add_reader(near, remove_both, "one")
        loop.add_reader(other_near, remove_both, "other")
        far.send(b"x")
        other_far.send(b"x")
        await eventually(lambda: seen)
        await turns(5)
        assert len(seen) == 1


async def test_descriptor_numbers_and_objects_are_the_same(loop, pair):
    near, _ = pair
    loop.add_reader(near.fileno(), print)
    assert loop.remove_reader(near) is True
    loop.add_reader(near, print)
    assert loop.remove_reader(near.fileno()) is True


async def test_pipes(loop):
    reader, writer = os.pipe()
    seen = []
    loop.add_reader(reader, lambda: seen.append(os.read(reader, 10)))
    os.write(writer, b"pipe")
    await eventually(lambda: seen)
    os.close(writer)
    await eventually(lambda: len(seen) > 1)
    loop.remove_reader(reader)
    os.close(reader)
    assert seen[:2] == [b"pipe", b""]


async def test_a_number_used_again_is_a_new_descriptor(loop):
    """A descriptor is closed after its removal, and the next one gets the same number."""
    for number in range(20):
        near, far = socket.socketpair()
        with near, far:
            seen = []
            loop.add_reader(near, lambda: seen.append(near.recv(10)))  # noqa: B023
            far.send(b"%d" % number)
            await eventually(lambda: seen)  # noqa: B023
            loop.remove_reader(near)
            assert seen == [b"%d" % number]


async def test_an_exception_in_a_reader_is_reported(loop, pair, exceptions):
    near, far = pair

    def fail():
        near.recv(10)
        raise LookupError("reader")

    loop.add_reader(near, fail)
    far.send(b"x")
    await eventually(lambda: exceptions)
    far.send(b"x")
    await eventually(lambda: len(exceptions) == 2)
    loop.remove_reader(near)
    assert exceptions.take_types() == [LookupError, LookupError]


@pytest.mark.parametrize("method", ["add_reader", "add_writer", "remove_reader", "remove_writer"])
async def test_a_transports_descriptor_is_not_for_watching(loop, method):
    async with connected() as (client, _):
        fd = client.transport.get_extra_info("socket").fileno()
        with pytest.raises(RuntimeError, match="used by transport"):
            getattr(loop, method)(*((fd, print) if method.startswith("add") else (fd,)))


@pytest.mark.parametrize("path", ["/dev/null", "/dev/zero", "/proc", __file__])
@pytest.mark.parametrize("method", ["add_reader", "add_writer"])
async def test_what_cannot_be_polled_is_refused(loop, path, method):
    """It would be ready always; programs tell by the error that there is no terminal."""
    fd = os.open(path, os.O_RDONLY)
    called = []
    with pytest.raises(PermissionError):
        getattr(loop, method)(fd, called.append, 1)
    await turns()
    assert called == []
    os.close(fd)


async def test_a_file_that_can_be_polled_is_watched(loop):
    """The table of mounts looks like a regular file, and tells of changes."""
    with open("/proc/self/mountinfo") as table:
        called = []
        loop.add_reader(table, called.append, 1)
        await eventually(lambda: called)
        loop.remove_reader(table)


async def test_reader_and_writer_hear_of_an_error(loop):
    """Nobody reads what is written to the pipe any more."""
    reader, writer = os.pipe()
    called = []
    loop.add_reader(writer, lambda: (called.append("reader"), loop.remove_reader(writer)))
    loop.add_writer(writer, lambda: (called.append("writer"), loop.remove_writer(writer)))
    await eventually(lambda: called)
    called.clear()
    loop.add_reader(writer, lambda: (called.append("reader"), loop.remove_reader(writer)))
    loop.add_writer(writer, lambda: (called.append("writer"), loop.remove_writer(writer)))
    os.close(reader)
    await eventually(lambda: len(called) == 2)
    assert sorted(called) == ["reader", "writer"]
    os.close(writer)


async def test_a_reader_removes_and_adds_itself(loop, pair):
    near, far = pair
    seen = []

    def read():
        seen.append(near.recv(1))
        loop.remove_reader(near)
        loop.add_reader(near, read)

    loop.add_reader(near, read)
    far.send(b"0123456789")
    await eventually(lambda: len(seen) == 10)
    loop.remove_reader(near)
    assert b"".join(seen) == b"0123456789"


@pytest.mark.parametrize("times", [1, 20])
async def test_what_takes_the_place_of_a_callback_that_is_due_waits_for_the_next_event(loop, pair, times):
    """Of two that are ready at once the first takes the other's data, and gives it another callback."""
    other, other_far = socket.socketpair()
    with other, other_far:
        for _ in range(times):
            called = []

            def first(mine, others, called=called):
                called.append("first")
                mine.recv(10)
                others.recv(10)
                loop.add_reader(others, called.append, "nothing to read")

            loop.add_reader(pair[0], first, pair[0], other)
            loop.add_reader(other, first, other, pair[0])
            pair[1].send(b"x")
            other_far.send(b"x")
            await eventually(lambda: called)  # noqa: B023
            await turns(5)
            assert called == ["first"]
            loop.remove_reader(pair[0])
            loop.remove_reader(other)


@pytest.mark.parametrize("bad", [-1, "name", None, 1.5, 10_000])
async def test_a_bad_descriptor(loop, bad):
    with pytest.raises((ValueError, TypeError, OSError)):
        loop.add_reader(bad, print)


def test_a_closed_loop_watches_nothing(loop, pair):
    loop.close()
    with pytest.raises(RuntimeError, match="closed"):
        loop.add_reader(pair[0], print)
    with pytest.raises(RuntimeError, match="closed"):
        loop.add_writer(pair[0], print)


def test_watching_may_begin_before_the_loop_runs_and_last_over_runs(loop, pair):
    near, far = pair
    seen = []
    loop.add_reader(near, lambda: seen.append(near.recv(10)))
    far.send(b"one")
    loop.run_until_complete(eventually(lambda: seen))
    far.send(b"two")
    loop.run_until_complete(eventually(lambda: len(seen) == 2))
    loop.remove_reader(near)
    assert seen == [b"one", b"two"]


async def test_hundreds_of_descriptors(loop):
    pairs = [socket.socketpair() for _ in range(300)]
    seen = []

    def read(sock):
        seen.append(sock.recv(10))

    for near, _ in pairs:
        loop.add_reader(near, read, near)
    for number, (_, far) in enumerate(pairs):
        far.send(b"%d" % number)
    await eventually(lambda: len(seen) == 300)
    for near, far in pairs:
        loop.remove_reader(near)
        near.close()
        far.close()
    assert sorted(map(int, seen)) == list(range(300))
