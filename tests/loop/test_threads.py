"""A loop and several threads: waking it, moving it, several at once."""

from __future__ import annotations

import asyncio
import concurrent.futures
import errno
import socket
import sys
import threading
import time

import pytest

from .helpers import Echo, Recorder, address_of, eventually, in_thread, serving, turns


class LoopThread:
    """Runs a loop forever in a thread of its own."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.started = threading.Event()
        self.thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        self.loop.call_soon(self.started.set)
        self.loop.run_forever()

    def __enter__(self) -> LoopThread:
        self.thread.start()
        assert self.started.wait(10)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        assert not self.thread.is_alive()


async def test_all_callbacks_of_all_threads_arrive_in_each_threads_order(loop):
    seen = []

    def feed(name):
        for number in range(1000):
            loop.call_soon_threadsafe(seen.append, (name, number))

    threads = [threading.Thread(target=feed, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    await eventually(lambda: len(seen) == 8000)
    for thread in threads:
        thread.join()
    for name in range(8):
        assert [number for who, number in seen if who == name] == list(range(1000))


async def test_an_idle_loop_is_woken(loop):
    for _ in range(20):
        woken = loop.create_future()
        thread = threading.Thread(target=lambda: loop.call_soon_threadsafe(woken.set_result, None))  # noqa: B023
        loop.call_later(0.002, thread.start)
        await woken
        thread.join()


async def test_a_threadsafe_callback_from_the_loops_own_thread(loop):
    seen = []
    loop.call_soon_threadsafe(seen.append, 1)
    loop.call_soon(seen.append, 2)
    loop.call_soon_threadsafe(seen.append, 3)
    await eventually(lambda: len(seen) == 3)
    assert [value for value in seen if value != 2] == [1, 3]


@pytest.mark.parametrize("when", ["while the loop runs", "before it runs"])
def test_what_threads_schedule_one_after_the_other_is_called_in_that_order(loop, when):
    seen = []

    def schedule():
        for number in range(0, 900, 3):
            loop.call_soon(seen.append, number)
            in_thread(lambda: loop.call_soon_threadsafe(seen.append, number + 1))  # noqa: B023
            loop.call_soon_threadsafe(seen.append, number + 2)

    if when == "before it runs":
        schedule()
    else:
        loop.call_soon(schedule)
    loop.run_until_complete(eventually(lambda: len(seen) == 900))
    assert seen == list(range(900))


async def test_a_threadsafe_callback_can_be_cancelled(loop):
    seen = []
    handle = loop.call_soon_threadsafe(seen.append, "cancelled")
    loop.call_soon_threadsafe(seen.append, "kept")
    handle.cancel()
    await eventually(lambda: seen)
    assert seen == ["kept"]


from_314 = pytest.mark.skipif(sys.version_info < (3, 14), reason="cancelling waits from Python 3.14 on")


@from_314
@pytest.mark.parametrize("ask", ["cancel", "cancelled"])
async def test_cancelling_waits_for_a_callback_that_another_thread_is_calling(loop, ask):
    begun, ended = threading.Event(), threading.Event()

    def slow():
        begun.set()
        time.sleep(0.1)
        ended.set()

    def elsewhere():
        handle = loop.call_soon_threadsafe(slow)
        begun.wait()
        return getattr(handle, ask)(), ended.is_set()

    assert await loop.run_in_executor(None, elsewhere) == (None if ask == "cancel" else False, True)


@from_314
async def test_a_callback_that_cancels_itself_does_not_wait(loop):
    done = asyncio.Event()
    handle = loop.call_soon_threadsafe(lambda: (handle.cancel(), done.set()))
    await done.wait()
    assert handle.cancelled()


def test_a_threadsafe_callback_waits_for_a_loop_that_does_not_run_yet(loop):
    seen = []
    in_thread(lambda: loop.call_soon_threadsafe(seen.append, 1))
    assert seen == []
    loop.run_until_complete(eventually(lambda: seen))


def test_many_wake_ups_before_the_first_run_do_not_block(loop):
    seen = []
    in_thread(lambda: [loop.call_soon_threadsafe(seen.append, number) for number in range(100_000)])
    loop.run_until_complete(eventually(lambda: len(seen) == 100_000))


def test_run_coroutine_threadsafe(loop):
    async def work(value):
        await asyncio.sleep(0.001)
        if value is None:
            raise ValueError("none")
        return threading.get_ident(), value

    with LoopThread(loop) as running:
        future = asyncio.run_coroutine_threadsafe(work(7), loop)
        assert future.result(10) == (running.thread.ident, 7)
        with pytest.raises(ValueError, match="none"):
            asyncio.run_coroutine_threadsafe(work(None), loop).result(10)


def test_a_coroutine_of_another_thread_can_be_cancelled(loop):
    with LoopThread(loop):
        future = asyncio.run_coroutine_threadsafe(asyncio.sleep(1000), loop)
        assert future.cancel()

        async def others():
            await asyncio.sleep(0)
            return asyncio.all_tasks() - {asyncio.current_task()}

        deadline = time.monotonic() + 10
        while asyncio.run_coroutine_threadsafe(others(), loop).result(10) and time.monotonic() < deadline:
            time.sleep(0.001)
        assert not asyncio.run_coroutine_threadsafe(others(), loop).result(10)


async def echo_once(payload: bytes) -> bytes:
    """Connect to a new echo server, send, and return the answer."""
    loop = asyncio.get_running_loop()
    async with serving(Echo) as (server, _):
        _, client = await loop.create_connection(Recorder, *address_of(server))
        client.transport.write(payload)
        answer = await client.until_received(len(payload))
        client.transport.close()
        await client.lost
        return answer


def test_a_loop_made_here_runs_in_another_thread(new_loop):
    loop = new_loop()

    def work():
        try:
            return loop.run_until_complete(echo_once(b"elsewhere"))
        finally:
            loop.close()

    assert in_thread(work) == b"elsewhere"


def test_a_loop_made_in_another_thread_runs_here(new_loop):
    loop = in_thread(new_loop)
    assert loop.run_until_complete(echo_once(b"here")) == b"here"


def test_a_loop_that_ran_in_one_thread_runs_in_the_next_or_says_why_not(new_loop):
    loop = new_loop()
    assert in_thread(lambda: loop.run_until_complete(echo_once(b"one"))) == b"one"
    try:
        assert in_thread(lambda: loop.run_until_complete(echo_once(b"two"))) == b"two"
    except RuntimeError as error:
        assert "thread" in str(error)
    loop.close()


def test_a_connection_lives_on_when_its_loop_moves_to_another_thread(new_loop):
    loop = new_loop()

    async def open_connection():
        server = await loop.create_server(Echo, "127.0.0.1", 0)
        _, client = await loop.create_connection(Recorder, *address_of(server))
        return server, client

    async def use_connection(server, client):
        client.transport.write(b"moved")
        answer = await client.until_received(5)
        client.transport.close()
        await client.lost
        server.close()
        await server.wait_closed()
        await turns()  # Python before 3.12 does not wait for connections
        return answer

    with concurrent.futures.ThreadPoolExecutor(1) as first:
        server, client = first.submit(loop.run_until_complete, open_connection()).result()
        using = loop.create_task(use_connection(server, client))
        try:
            answer = loop.run_until_complete(using)
        except RuntimeError as error:
            # A loop may refuse to move, if it says so; then it goes on where it was.
            assert "thread" in str(error)
            answer = first.submit(loop.run_until_complete, using).result()
        assert answer == b"moved"
        first.submit(loop.close).result()


@pytest.mark.parametrize("first_thread", ["has ended", "lives on"])
def test_a_server_that_was_started_in_one_thread_serves_in_another(new_loop, first_thread):
    loop = new_loop()

    async def exchange(server):
        _, client = await loop.create_connection(Recorder, *address_of(server))
        client.transport.write(b"hello")
        answer = await client.until_received(5)
        client.transport.close()
        await client.lost
        return answer

    async def end(server):
        server.close()
        await server.wait_closed()

    with concurrent.futures.ThreadPoolExecutor(1) as first:
        server = first.submit(loop.run_until_complete, loop.create_server(Echo, "127.0.0.1", 0)).result()
        if first_thread == "has ended":
            first.shutdown()
        # A connection that comes while no thread runs the loop waits for the next one.
        with socket.create_connection(address_of(server)) as early:
            early.settimeout(10)
            early.sendall(b"early")
            for _ in range(3):
                assert in_thread(lambda: loop.run_until_complete(exchange(server))) == b"hello"
            assert early.recv(10) == b"early"
        assert loop.run_until_complete(exchange(server)) == b"hello"
        loop.run_until_complete(end(server))
        loop.close()


def test_what_arrives_between_runs_in_two_threads_is_not_lost(new_loop):
    loop = new_loop()
    pieces = [b"piece %d " % number for number in range(20)]

    async def connect():
        end, peer = socket.socketpair()
        end.setblocking(False)
        _, protocol = await loop.create_connection(Recorder, sock=end)
        return protocol, peer

    async def wait_for(protocol, text):
        await protocol.until_received(len(text))

    protocol, peer = in_thread(lambda: loop.run_until_complete(connect()))
    with peer:
        for number, piece in enumerate(pieces):
            peer.sendall(piece)
            so_far = b"".join(pieces[: number + 1])
            if number % 3:
                # A run that stops at once may take data in and leave it to the next run.
                in_thread(lambda: loop.run_until_complete(asyncio.sleep(0)))
            in_thread(lambda: loop.run_until_complete(wait_for(protocol, so_far)))  # noqa: B023
            assert protocol.data == so_far
            protocol.transport.write(piece)
            in_thread(lambda: loop.run_until_complete(asyncio.sleep(0)))
            assert peer.recv(100) == piece
        protocol.transport.close()
        loop.run_until_complete(wait_for_loss(protocol))
    loop.close()


async def wait_for_loss(protocol):
    await protocol.lost


def test_loops_of_several_threads_work_at_once(new_loop):
    answers = {}

    def work(name):
        loop = new_loop()
        try:
            payload = f"thread {name}".encode() * 1000
            for _ in range(10):
                answers[name] = loop.run_until_complete(echo_once(payload)) == payload
        finally:
            loop.close()

    threads = [threading.Thread(target=work, args=(name,)) for name in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == dict.fromkeys(range(6), True)


def test_debug_mode_refuses_call_soon_from_another_thread(loop):
    async def main():
        for call in (lambda: loop.call_soon(print), lambda: loop.call_later(1, print), lambda: loop.call_at(1, print)):
            with pytest.raises(RuntimeError, match=r"[Nn]on-thread-safe"):
                await asyncio.to_thread(call)

    loop.set_debug(True)
    loop.run_until_complete(main())


def test_a_second_thread_cannot_run_a_running_loop(loop):
    with LoopThread(loop), pytest.raises(RuntimeError, match="already running"):
        loop.run_forever()


def test_threads_that_go_on_calling_while_the_loop_closes_get_an_error(new_loop):
    loop = new_loop()
    begun = threading.Event()
    outcome = []

    def feed():
        try:
            for _ in range(10_000_000):
                loop.call_soon_threadsafe(int)
                begun.set()
        except RuntimeError as error:
            outcome.append(str(error))

    thread = threading.Thread(target=feed)
    thread.start()
    assert begun.wait(10)
    loop.run_until_complete(asyncio.sleep(0.01))
    loop.close()
    thread.join()
    assert outcome and "closed" in outcome[0]


def test_a_loop_that_watches_runs_in_one_thread_after_another(loop):
    """The watcher stays over the runs, and notices what comes in each."""
    near, far = socket.socketpair()
    with near, far:
        seen = []
        loop.add_reader(near, lambda: (seen.append(near.recv(10)), loop.stop()))
        for number in range(6):
            run = loop.run_forever
            loop.call_later(0.005, far.send, b"%d" % number)
            run() if number % 2 else in_thread(run)
        loop.remove_reader(near)
        assert seen == [b"%d" % number for number in range(6)]


async def test_a_server_that_another_thread_closes_takes_no_more_connections(loop):
    """Threads have no business with a server, but what they do to one must not leave it half closed."""
    server = await loop.create_server(Echo, "127.0.0.1", 0)
    address = address_of(server)
    await loop.run_in_executor(None, server.close)

    def refused():
        with socket.socket() as sock:
            return sock.connect_ex(address) == errno.ECONNREFUSED

    await eventually(refused)
    assert not server.is_serving()
