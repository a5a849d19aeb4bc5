"""connect_read_pipe and connect_write_pipe: pipes, FIFOs, sockets and terminals."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
import stat
import threading
import tty

import pytest

from .helpers import Recorder, pattern, turns

MEGABYTES = 4_000_000


class Reader(Recorder):
    """A protocol for the reading side."""


@pytest.fixture
def pipe():
    """Both ends of a pipe as unbuffered file objects, the reading one first; closed at the end if still open."""
    read, write = os.pipe()
    with contextlib.ExitStack() as stack:
        ends = [stack.enter_context(open(read, "rb", 0)), stack.enter_context(open(write, "wb", 0))]
        yield ends


@pytest.fixture
def terminal():
    """Both sides of a pseudo-terminal in raw mode, as unbuffered file objects: master and slave."""
    master, slave = os.openpty()
    tty.setraw(slave)
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(open(fd, "rb+", 0)) for fd in (master, slave)]


async def reading(file, factory=Reader):
    _, protocol = await asyncio.get_running_loop().connect_read_pipe(factory, file)
    return protocol


async def writing(file, factory=Recorder):
    _, protocol = await asyncio.get_running_loop().connect_write_pipe(factory, file)
    return protocol


async def close(*protocols):
    for protocol in protocols:
        protocol.transport.close()
        await protocol.until_called("connection_lost")


async def read_all(fd, count):
    """Read from a descriptor until there are so many bytes."""
    data = b""
    while len(data) < count:
        await eventually_readable(fd)
        data += os.read(fd, 1 << 20)
    return data


async def eventually_readable(fd):
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    loop.add_reader(fd, lambda: ready.done() or ready.set_result(None))
    try:
        await ready
    finally:
        loop.remove_reader(fd)


# Reading ------------------------------------------------------------------------------------------------------------


async def test_reading_a_pipe_to_its_end(loop, pipe):
    read, write = pipe
    protocol = await reading(read)
    write.write(b"one")
    assert await protocol.until_received(3) == b"one"
    write.write(b" two")
    assert await protocol.until_received(7) == b"one two"
    write.close()
    assert await protocol.lost is None
    assert protocol.calls[0] == "connection_made"
    assert protocol.calls[-2:] == ["eof_received", "connection_lost"]


async def test_the_answer_to_eof_received_does_not_keep_a_pipe_open(loop, pipe):
    read, write = pipe
    protocol = await reading(read)
    protocol.answer_to_eof = True
    write.close()
    assert await protocol.lost is None
    await turns()
    assert read.closed


async def test_data_that_was_there_before(loop, pipe):
    read, write = pipe
    write.write(b"early")
    write.close()
    protocol = await reading(read)
    await protocol.lost
    assert bytes(protocol.data) == b"early"


async def test_reading_a_lot(loop, pipe):
    read, write = pipe
    data = pattern(MEGABYTES)
    thread = threading.Thread(target=lambda: (feed(write.fileno(), data), write.close()))
    thread.start()
    protocol = await reading(read)
    await protocol.lost
    thread.join()
    assert bytes(protocol.data) == data


def feed(fd, data):
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


async def test_pausing_holds_everything_back(loop, pipe):
    read, write = pipe
    protocol = await reading(read)
    assert protocol.transport.is_reading()
    protocol.transport.pause_reading()
    assert not protocol.transport.is_reading()
    write.write(b"wait for me")
    write.close()
    await asyncio.sleep(0.02)
    assert not protocol.data and "eof_received" not in protocol.calls
    protocol.transport.resume_reading()
    assert protocol.transport.is_reading()
    await protocol.lost
    assert bytes(protocol.data) == b"wait for me"


async def test_a_paused_pipe_holds_its_writer_up(loop, pipe):
    read, write = pipe
    reader, writer = await reading(read), await writing(write)
    reader.transport.pause_reading()
    data = pattern(MEGABYTES)
    writer.transport.write(data)
    await asyncio.sleep(0.05)
    assert not reader.data
    assert writer.transport.get_write_buffer_size() > MEGABYTES // 2
    reader.transport.resume_reading()
    assert await reader.until_received(MEGABYTES) == data
    await close(writer)
    await reader.lost


async def test_pausing_again_and_again(loop, pipe):
    class Hesitant(Reader):
        def data_received(self, data):
            super().data_received(data)
            self.transport.pause_reading()
            self.loop.call_soon(self.transport.resume_reading)

    read, write = pipe
    reader, writer = await reading(read, Hesitant), await writing(write)
    data = pattern(1_000_000)
    for start in range(0, len(data), 10_000):
        writer.transport.write(data[start : start + 10_000])
    writer.transport.close()
    await reader.lost
    assert bytes(reader.data) == data
    await writer.lost


async def test_closing_while_reading(loop, pipe):
    read, write = pipe
    protocol = await reading(read)
    protocol.transport.close()
    assert protocol.transport.is_closing() and not protocol.transport.is_reading()
    write.write(b"too late")
    assert await protocol.lost is None
    await turns()
    assert read.closed and not protocol.data and "eof_received" not in protocol.calls
    protocol.transport.close()
    protocol.transport.pause_reading()
    protocol.transport.resume_reading()


async def test_closing_in_data_received(loop, pipe):
    class Satisfied(Reader):
        def data_received(self, data):
            super().data_received(data)
            self.transport.close()

    read, write = pipe
    protocol = await reading(read, Satisfied)
    write.write(b"enough")
    assert await protocol.lost is None
    assert bytes(protocol.data) == b"enough"


async def test_an_error_in_data_received_is_reported_and_reading_goes_on(loop, pipe, exceptions):
    class Clumsy(Reader):
        def data_received(self, data):
            super().data_received(data)
            raise ZeroDivisionError

    read, write = pipe
    protocol = await reading(read, Clumsy)
    write.write(b"one")
    await protocol.until_received(3)
    write.write(b"two")
    assert await protocol.until_received(6) == b"onetwo"
    await close(protocol)
    assert exceptions.take_types() == [ZeroDivisionError] * 2


async def test_changing_the_protocol(loop, pipe):
    read, write = pipe
    protocol, other = await reading(read), Reader()
    protocol.hand_over_to(other)
    assert protocol.transport.get_protocol() is other
    write.write(b"for the other")
    assert await other.until_received(13) == b"for the other"
    await close(other)
    assert not protocol.data


async def test_many_pipes_at_once(loop):
    pairs = [os.pipe() for _ in range(100)]
    readers = [await reading(os.fdopen(read, "rb", 0)) for read, _ in pairs]
    writers = [await writing(os.fdopen(write, "wb", 0)) for _, write in pairs]
    for number, writer in enumerate(writers):
        writer.transport.write(b"%d" % number)
        writer.transport.close()
    for number, reader in enumerate(readers):
        await reader.lost
        assert bytes(reader.data) == b"%d" % number
    await asyncio.gather(*[writer.lost for writer in writers])


# Writing ------------------------------------------------------------------------------------------------------------


async def test_writing(loop, pipe):
    read, write = pipe
    protocol = await writing(write)
    protocol.transport.write(b"one ")
    protocol.transport.write(bytearray(b"two "))
    protocol.transport.write(memoryview(b"three "))
    protocol.transport.write(b"")
    protocol.transport.writelines([b"four ", bytearray(b"five")])
    assert await read_all(read.fileno(), 23) == b"one two three four five"
    await close(protocol)
    assert read.read() == b"" and write.closed


async def test_a_buffer_may_be_reused_after_write(loop, pipe):
    read, write = pipe
    protocol = await writing(write)
    buffer = bytearray(b"before")
    protocol.transport.write(buffer)
    buffer[:] = b"after!"
    assert await read_all(read.fileno(), 6) == b"before"
    await close(protocol)


async def test_closing_writes_what_is_left(loop, pipe):
    read, write = pipe
    writer, reader = await writing(write), await reading(read)
    data = pattern(MEGABYTES)
    writer.transport.write(data)
    assert writer.transport.can_write_eof()
    writer.transport.write_eof()
    assert writer.transport.is_closing()
    writer.transport.write(b"ignored")
    assert await writer.lost is None
    await reader.lost
    assert bytes(reader.data) == data


async def test_aborting_writes_nothing_more(loop, pipe):
    read, write = pipe
    protocol = await writing(write)
    protocol.transport.write(pattern(MEGABYTES))
    await turns()
    protocol.transport.abort()
    assert await protocol.lost is None
    assert protocol.transport.get_write_buffer_size() == 0
    assert len(read.read()) < MEGABYTES


async def test_flow_control(loop, pipe):
    read, write = pipe
    protocol = await writing(write)
    protocol.transport.set_write_buffer_limits(high=100_000, low=50_000)
    assert protocol.transport.get_write_buffer_limits() == (50_000, 100_000)
    protocol.transport.write(bytes(MEGABYTES))
    assert protocol.calls[-1] == "pause_writing"
    assert await read_all(read.fileno(), MEGABYTES) == bytes(MEGABYTES)
    await protocol.until_called("resume_writing")
    assert protocol.transport.get_write_buffer_size() == 0
    await close(protocol)


async def test_the_reader_goes_away(loop, pipe):
    read, write = pipe
    protocol = await writing(write)
    await turns()
    read.close()
    assert await protocol.lost is None
    await turns()
    assert write.closed


async def test_the_reader_goes_away_with_data_unread(loop, pipe):
    read, write = pipe
    protocol = await writing(write)
    protocol.transport.write(bytes(MEGABYTES))
    await asyncio.sleep(0.02)
    read.close()
    assert isinstance(await protocol.lost, BrokenPipeError)


async def test_the_reader_goes_away_while_closing(loop, pipe):
    read, write = pipe
    protocol = await writing(write)
    protocol.transport.write(bytes(MEGABYTES))
    protocol.transport.close()
    await asyncio.sleep(0.02)
    read.close()
    assert isinstance(await protocol.lost, BrokenPipeError)


async def test_writing_without_a_reader(loop, pipe):
    read, write = pipe
    read.close()
    protocol = await writing(write)
    protocol.transport.write(b"to nobody")
    assert await protocol.lost is None or isinstance(protocol.lost.result(), BrokenPipeError)
    protocol.transport.write(b"ignored")
    protocol.transport.close()


@pytest.mark.parametrize("data", ["text", 5, [b"list"]], ids=repr)
async def test_what_cannot_be_written(loop, pipe, data):
    protocol = await writing(pipe[1])
    with pytest.raises((TypeError, AssertionError)):
        protocol.transport.write(data)
    await close(protocol)


# Other files --------------------------------------------------------------------------------------------------------


async def test_fifo(loop, tmp_path):
    path = tmp_path / "fifo"
    os.mkfifo(path)
    read = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    writer = await writing(os.fdopen(os.open(path, os.O_WRONLY), "wb", 0))
    reader = await reading(os.fdopen(read, "rb", 0))
    writer.transport.write(b"through the file system")
    assert await reader.until_received(23) == b"through the file system"
    await close(writer)
    await reader.lost


async def test_a_fifo_opened_for_both(loop, tmp_path):
    """Data that waits to be read is no sign of a reader that has gone."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    writer = await writing(os.fdopen(os.open(path, os.O_RDWR), "wb", 0))
    writer.transport.write(b"wait here")
    await asyncio.sleep(0.02)
    assert not writer.transport.is_closing()
    writer.transport.write(b" a while")
    with open(path, "rb", 0) as reader:
        await close(writer)
        assert reader.read() == b"wait here a while"


async def test_sockets(loop):
    near, far = socket.socketpair()
    writer, reader = await writing(near), await reading(far)
    data = pattern(MEGABYTES)
    writer.transport.write(data)
    assert await reader.until_received(MEGABYTES) == data
    await close(writer)
    assert await reader.lost is None


async def test_a_socket_whose_peer_goes_away(loop):
    near, far = socket.socketpair()
    writer = await writing(near)
    await turns()
    far.close()
    assert await writer.lost is None


async def test_a_terminal(loop, terminal):
    master, slave = terminal
    reader = await reading(slave)
    master.write(b"typed")
    assert await reader.until_received(5) == b"typed"
    master.write(b" again")
    assert await reader.until_received(11) == b"typed again"
    await close(reader)


async def test_the_master_of_a_terminal_that_hangs_up(loop, terminal):
    master, slave = terminal
    reader = await reading(master)
    slave.write(b"shown")
    assert await reader.until_received(5) == b"shown"
    slave.close()
    assert isinstance(await reader.lost, OSError)
    assert "eof_received" not in reader.calls


async def test_writing_to_a_terminal(loop, terminal):
    master, slave = terminal
    writer, reader = await writing(slave), await reading(master)
    data = pattern(300_000)
    writer.transport.write(data)
    assert await reader.until_received(len(data)) == data
    await close(writer)
    await reader.until_called("connection_lost")


async def test_reading_and_writing_one_terminal(loop, terminal):
    master, slave = terminal
    reader = await reading(slave)
    writer = await writing(os.fdopen(os.dup(slave.fileno()), "wb", 0))
    far = await reading(os.fdopen(os.dup(master.fileno()), "rb", 0))
    master.write(b"question")
    assert await reader.until_received(8) == b"question"
    writer.transport.write(b"answer")
    assert await far.until_received(6) == b"answer"
    await close(writer, reader, far)


async def test_writing_to_a_device(loop):
    writer = await writing(os.fdopen(os.open(os.devnull, os.O_WRONLY), "wb", 0))
    writer.transport.write(bytes(100_000))
    await close(writer)
    assert await writer.lost is None


async def test_regular_files_are_refused(loop, tmp_path):
    path = tmp_path / "regular"
    path.write_bytes(b"content")
    with open(path, "rb", 0) as file, pytest.raises(ValueError, match="Pipe transport is for pipes/sockets only"):
        await loop.connect_read_pipe(Reader, file)
    with open(path, "ab", 0) as file:
        with pytest.raises(ValueError, match="Pipe transport is only for pipes, sockets and character devices"):
            await loop.connect_write_pipe(Recorder, file)
        file.write(b"still open")


# Around it ----------------------------------------------------------------------------------------------------------


async def test_what_the_transports_are(loop, pipe):
    read, write = pipe
    reader, writer = await reading(read), await writing(write)
    assert isinstance(reader.transport, asyncio.ReadTransport)
    assert isinstance(writer.transport, asyncio.WriteTransport)
    assert reader.transport.get_extra_info("pipe") is read
    assert writer.transport.get_extra_info("pipe") is write
    assert writer.transport.get_extra_info("unknown", "default") == "default"
    assert not os.get_blocking(read.fileno()) and not os.get_blocking(write.fileno())
    assert stat.S_ISFIFO(os.fstat(read.fileno()).st_mode)
    await close(writer, reader)


async def test_the_pipe_is_still_open_in_connection_lost(loop, pipe):
    class Curious(Reader):
        open_at_the_end = None

        def connection_lost(self, exc):
            self.open_at_the_end = not self.transport.get_extra_info("pipe").closed
            super().connection_lost(exc)

    reader, writer = await reading(pipe[0], Curious), await writing(pipe[1], Curious)
    await close(writer, reader)
    assert reader.open_at_the_end and writer.open_at_the_end


async def test_streams_over_a_pipe(loop, pipe):
    read, write = pipe
    reader = asyncio.StreamReader()
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), read)
    flow, protocol = await loop.connect_write_pipe(lambda: asyncio.streams.FlowControlMixin(loop), write)
    writer = asyncio.StreamWriter(flow, protocol, None, loop)

    async def produce():
        for number in range(5000):
            writer.write(b"line %d\n" % number)
            await writer.drain()
        writer.close()

    producing = asyncio.ensure_future(produce())
    lines = [line async for line in reader]
    assert lines == [b"line %d\n" % number for number in range(5000)]
    await producing
    transport.close()
    await turns()


async def test_an_error_in_connection_made(loop, pipe, exceptions):
    class Clumsy(Reader):
        def connection_made(self, transport):
            super().connection_made(transport)
            raise ZeroDivisionError

    protocol = await reading(pipe[0], Clumsy)
    assert exceptions.take_types() == [ZeroDivisionError]
    await close(protocol)


def test_closing_the_loop_before_the_transports(raw_loop, pipe):
    loop = raw_loop()
    transports = [
        loop.run_until_complete(loop.connect_read_pipe(asyncio.Protocol, pipe[0]))[0],
        loop.run_until_complete(loop.connect_write_pipe(asyncio.BaseProtocol, pipe[1]))[0],
    ]
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    with pytest.warns(ResourceWarning) as caught:
        del transports
        gc.collect()
    assert len([warning for warning in caught if "unclosed transport" in str(warning.message)]) == 2
    assert pipe[0].closed and pipe[1].closed
