"""signal.set_wakeup_fd(): others have that descriptor, and a loop leaves it to them or passes on what it gets."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
import time

import pytest

from .helpers import eventually, turns

# uvloop has the descriptor whenever it runs, and tells nobody.
pytestmark = pytest.mark.loops("asyncio", "netloop")

USR1, USR2 = signal.SIGUSR1, signal.SIGUSR2


class Owner:
    """Has the wake-up descriptor and reads the signals' numbers in the loop, as Twisted and trio do."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.numbers: list[int] = []
        self.waiter: asyncio.Future[None] | None = None
        self.near, self.far = socket.socketpair()
        self.near.setblocking(False)
        self.far.setblocking(False)

    def take(self) -> int:
        """Take the descriptor; whose it was."""
        return signal.set_wakeup_fd(self.far.fileno(), warn_on_full_buffer=False)

    def read(self) -> None:
        while True:
            try:
                self.numbers += self.near.recv(100)
            except BlockingIOError:
                break
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)

    async def until_heard(self, count: int) -> None:
        """Wait for so many numbers; nothing but they ends the loop's waits meanwhile."""
        self.loop.add_reader(self.near, self.read)
        while len(self.numbers) < count:
            self.waiter = self.loop.create_future()
            await self.waiter
        self.loop.remove_reader(self.near)

    def close(self) -> None:
        self.near.close()
        self.far.close()


@pytest.fixture
def owner(loop):
    """Somebody who has taken the descriptor before the loop ran."""
    owner = Owner(loop)
    assert owner.take() == -1
    yield owner
    signal.set_wakeup_fd(-1)
    owner.close()


@pytest.fixture(autouse=True)
def python_handlers():
    """The signals have handlers that do nothing: only then does Python write their numbers."""
    before = {signum: signal.signal(signum, lambda *args: None) for signum in (USR1, USR2)}
    yield
    for signum, handler in before.items():
        signal.signal(signum, handler)


def send_when_idle(loop, signum):
    """Send this process a signal when the loop has gone to sleep."""
    running = threading.Event()

    def send():
        running.wait(10)
        time.sleep(0.1)
        os.kill(os.getpid(), signum)

    loop.call_soon(running.set)
    thread = threading.Thread(target=send)
    thread.start()
    return thread


async def test_the_owner_hears_of_a_signal_that_comes_while_the_loop_sleeps(loop, owner):
    thread = send_when_idle(loop, USR1)
    await owner.until_heard(1)
    thread.join()
    assert owner.numbers == [USR1]


async def test_the_owner_hears_of_a_signal_that_comes_while_a_callback_runs(loop, owner):
    os.kill(os.getpid(), USR1)
    await owner.until_heard(1)
    assert owner.numbers == [USR1]


def test_the_owner_hears_of_the_signal_that_ends_the_run(loop, owner):
    thread = send_when_idle(loop, signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    thread.join()
    owner.read()
    assert owner.numbers == [signal.SIGINT]


async def test_the_owner_hears_of_signals_that_the_loop_has_handlers_for(loop, owner):
    seen = []
    loop.add_signal_handler(USR1, seen.append, USR1)
    for count in range(1, 4):
        os.kill(os.getpid(), USR1)
        await eventually(lambda: len(seen) == count)  # noqa: B023
    thread = send_when_idle(loop, USR2)
    await owner.until_heard(4)
    thread.join()
    loop.remove_signal_handler(USR1)
    assert seen == [USR1] * 3
    assert owner.numbers == [USR1] * 3 + [USR2]


async def test_the_owner_has_it_again_when_the_loop_has_no_handlers_any_more(loop, owner):
    loop.add_signal_handler(USR1, print)
    loop.add_signal_handler(USR2, print)
    loop.remove_signal_handler(USR1)
    assert owner.take() != owner.far.fileno()
    loop.add_signal_handler(USR1, print)
    loop.remove_signal_handler(USR1)
    loop.remove_signal_handler(USR2)
    assert owner.take() == owner.far.fileno()


def test_an_owner_that_is_gone_gets_nothing(loop):
    near, far = os.pipe()
    owner = Owner(loop)
    owner.take()
    loop.add_signal_handler(USR1, print)
    descriptor = owner.far.fileno()
    owner.close()
    # Another file has the owner's number, and must be left alone.
    os.dup2(far, descriptor)
    seen = []
    loop.add_signal_handler(USR1, seen.append, 1)
    os.kill(os.getpid(), USR1)
    loop.run_until_complete(eventually(lambda: seen))
    loop.remove_signal_handler(USR1)
    assert signal.set_wakeup_fd(-1) == -1
    os.close(far)
    os.close(descriptor)
    assert os.read(near, 10) == b""
    os.close(near)


async def test_nobody_sees_that_a_loop_without_handlers_runs(loop):
    await asyncio.sleep(0.1)
    assert signal.set_wakeup_fd(-1) == -1


async def test_it_can_be_taken_and_given_back_while_the_loop_runs(loop):
    owner = Owner(loop)
    assert owner.take() == -1
    thread = send_when_idle(loop, USR1)
    await owner.until_heard(1)
    thread.join()
    assert signal.set_wakeup_fd(-1) == owner.far.fileno()
    owner.close()
    os.kill(os.getpid(), USR2)
    await turns()
    assert owner.numbers == [USR1]


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("owned", [False, True], ids=["nobody's", "somebody's"])
async def test_a_child_forked_while_the_loop_sleeps_has_what_the_parent_had(loop, owned):
    """Its signals must not be written into the loop's pipe, which is the parent's too."""
    owner = Owner(loop)
    expected = owner.far.fileno() if owned else -1
    signal.set_wakeup_fd(expected)

    def fork():
        time.sleep(0.1)
        pid = os.fork()
        if pid == 0:
            # From Python 3.12 on asyncio takes it from every child.
            os._exit(0 if signal.set_wakeup_fd(-1) in (expected, -1) else 1)
        return os.waitpid(pid, 0)[1]

    status = await asyncio.to_thread(fork)
    assert signal.set_wakeup_fd(-1) == expected
    owner.close()
    assert status == 0


def test_two_loops_with_handlers_do_not_tell_each_other(new_loop):
    """As with asyncio, the last one to be given a handler hears of signals; what is passed on must not go round."""
    seen = []
    first, second = new_loop(), new_loop()
    first.add_signal_handler(USR1, seen.append, "first")
    second.add_signal_handler(USR2, seen.append, "second")
    thread = send_when_idle(first, USR2)
    first.run_until_complete(asyncio.sleep(0.2))
    thread.join()
    second.run_until_complete(eventually(lambda: seen))
    first.run_until_complete(asyncio.sleep(0.01))
    second.run_until_complete(asyncio.sleep(0.01))
    assert seen == ["second"]
    for loop, signum in ((first, USR1), (second, USR2)):
        loop.remove_signal_handler(signum)
        loop.close()
    signal.set_wakeup_fd(-1)
