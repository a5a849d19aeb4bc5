"""Pools, leases, views, splits, sends, aborts, dry pools and ends at random, against a model in plain Python.

A page is made unreadable while the application only holds it, so that a use out of turn, the kernel's or netloop's, is
a fault or an error of the connection, not a matter of luck. More than by default: --lease-examples.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import threading
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)
from loop.helpers import POLLED

import netloop

from .helpers import FREE, KERNELS, LEASED, PAGE, SENDING, Pages, pattern

COUNT = 6
#: How many leases a rule chooses from, the last ones that there were, and which of them. When data comes differs each
#: time where a thread of the kernel's receives it, so what is drawn must not depend on how many there are.
CHOICE = 12
WHICH = st.integers(0, CHOICE - 1)


@dataclass(eq=False)
class Held:
    """A lease of the application's, and what the model says it holds."""

    lease: Any
    page: int
    content: bytes
    views: list[memoryview] = field(default_factory=list)
    released: bool = False


class Receiving(netloop.LeaseProtocol):
    """One connection: its incoming bytes are a pattern by position, and its outgoing ones are what the model says."""

    def __init__(self, machine: PoolMachine) -> None:
        self.machine = machine
        self.received = 0
        self.lost = False
        self.error: BaseException | None = None

    def receive_pool(self) -> netloop.BufferPool:
        return self.machine.pool

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def lease_received(self, lease: netloop.Lease) -> None:
        content = pattern(self.received, len(lease))
        assert bytes(lease) == content
        self.received += len(lease)
        self.machine.hold(lease, content)

    def connection_lost(self, exc: BaseException | None) -> None:
        self.lost = True
        self.error = exc


class Connection:
    """A connection of the model: its protocol, the other end, how much went which way."""

    def __init__(self, machine: PoolMachine) -> None:
        near, self.far = socket.socketpair()
        near.setblocking(False)
        self.far.setblocking(False)
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
        self.protocol = Receiving(machine)
        machine.run(machine.loop.create_connection(lambda: self.protocol, sock=near))
        self.sent = 0
        self.expected = bytearray()
        self.ended = False  # by this side or the other, so that bytes may be lost

    @property
    def writes(self) -> bool:
        return not self.ended and not self.protocol.transport.is_closing()


class PoolMachine(RuleBasedStateMachine):
    """The rules are what an application, its peers and its threads may do."""

    connections = Bundle("connections")

    steps = 0

    def __init__(self) -> None:
        super().__init__()
        self.loop = netloop.new_event_loop()
        self.problems: list[dict[str, Any]] = []
        self.loop.set_exception_handler(lambda _, context: self.problems.append(context))
        self.pages = Pages(COUNT)
        self.pool = netloop.BufferPool(COUNT, PAGE, memory=self.pages.memory, register=False)
        self.held: list[Held] = []
        self.known: list[Held] = []
        self.every: list[Connection] = []

    def run(self, awaitable: Any) -> Any:
        return self.loop.run_until_complete(awaitable)

    # Pages --------------------------------------------------------------------------------------------------------

    def hold(self, lease: netloop.Lease, content: bytes) -> None:
        held = Held(lease, lease.offset // PAGE, content)
        self.held.append(held)
        self.known.append(held)
        self.lock(held.page)

    def lock(self, page: int) -> None:
        """Nobody uses a page that is only held; but another part of it may still be on its way to a slow peer."""
        sending = self.pool._states()[page] == SENDING
        self.pages.protect(page, self.pages.READ if sending else self.pages.NONE)

    def open(self, page: int, protection: int = Pages.READ) -> None:
        self.pages.protect(page, protection)

    def let_go(self, held: Held) -> None:
        """The lease is about to go: the page is the kernel's from then on, if no other part of it is held."""
        self.held.remove(held)
        others = [each for each in self.held if each.page == held.page]
        self.pages.protect(held.page, Pages.READ if others else Pages.WRITE)

    def live(self, held: Held) -> bool:
        return held in self.held and not held.released

    def chosen(self, which: int) -> Held | None:
        """One of the last leases, gone or not; None if there was none."""
        last = self.known[-CHOICE:]
        return last[which % len(last)] if last else None

    # What the application does ------------------------------------------------------------------------------------

    @initialize(target=connections)
    def connect_first(self) -> Any:
        self.every += [Connection(self), Connection(self)]
        return multiple(*self.every)

    @precondition(lambda self: len(self.every) < 5)
    @rule(target=connections)
    def connect(self) -> Connection:
        self.every.append(Connection(self))
        return self.every[-1]

    @rule(length=st.integers(0, PAGE), seed=st.integers(0, 999))
    def take(self, length: int, seed: int) -> None:
        free = self.pool._states().count(FREE)
        try:
            lease = self.pool.take(length)
        except BlockingIOError:
            assert not free
            return
        assert free
        content = pattern(seed, length)
        with lease.writable() as view:
            view[:] = content
        self.hold(lease, content)

    @rule(which=WHICH)
    def read(self, which: int) -> None:
        held = self.chosen(which)
        if held is None:
            return
        if not self.live(held):
            with pytest.raises(ValueError):
                bytes(held.lease)
            return
        self.open(held.page)
        assert bytes(held.lease) == held.content
        assert len(held.lease) == len(held.content)
        assert all(bytes(view) == held.content for view in held.views)
        self.lock(held.page)

    @rule(which=WHICH, where=st.floats(0, 1))
    def split(self, which: int, where: float) -> None:
        held = self.chosen(which)
        if held is None or not self.live(held):
            return
        at = int(len(held.content) * where)
        for view in held.views:
            view.release()
        held.views.clear()
        head = Held(held.lease.split(at), held.page, held.content[:at])
        self.held.append(head)
        self.known.append(head)
        held.content = held.content[at:]

    @rule(which=WHICH)
    def view(self, which: int) -> None:
        held = self.chosen(which)
        if held is not None and self.live(held):
            held.views.append(memoryview(held.lease))

    @rule(which=WHICH, how=st.sampled_from(["release", "twice", "thread", "forget"]))
    def release(self, which: int, how: str) -> None:
        held = self.chosen(which)
        if held is None:
            return
        if not self.live(held):
            held.lease.release()
            return
        if held.views:
            # The views keep it: it is still held, but for its name.
            held.lease.release()
            held.released = True
            return
        self.let_go(held)
        if how == "forget":
            self.known.remove(held)
            held.lease = None
            gc.collect(0)
        elif how == "thread":
            thread = threading.Thread(target=held.lease.release)
            thread.start()
            thread.join()
        else:
            held.lease.release()
        if how == "twice":
            held.lease.release()

    @rule(which=WHICH)
    def release_views(self, which: int) -> None:
        having = [each for each in self.held if each.views]
        if not having:
            return
        held = having[which % len(having)]
        self.open(held.page)
        assert bytes(held.views[0]) == held.content
        self.lock(held.page)
        last = held.views.pop()
        if held.released and not held.views:
            self.let_go(held)
        last.release()

    @rule(which=WHICH, connection=connections, together=st.booleans())
    def send(self, which: int, connection: Connection, together: bool) -> None:
        held = self.chosen(which)
        if held is None or not self.live(held):
            return
        for view in held.views:
            view.release()
        self.let_go(held)
        if connection.writes:
            connection.expected += held.content + (b"-" if together else b"")
        transport = connection.protocol.transport
        if together:
            transport.writelines([held.lease, b"-"])
        else:
            transport.write_lease(held.lease)

    @rule(connection=connections, length=st.integers(1, 3 * PAGE))
    def write(self, connection: Connection, length: int) -> None:
        if connection.writes:
            connection.expected += b"w" * length
        connection.protocol.transport.write(b"w" * length)

    @rule(connection=connections, pause=st.booleans())
    def pause(self, connection: Connection, pause: bool) -> None:
        transport = connection.protocol.transport
        (transport.pause_reading if pause else transport.resume_reading)()

    @precondition(lambda self: len(self.every) > 3)
    @rule(connection=connections, how=st.sampled_from(["abort", "close"]))
    def end(self, connection: Connection, how: str) -> None:
        connection.ended = True
        getattr(connection.protocol.transport, how)()

    # What the peers do --------------------------------------------------------------------------------------------

    @rule(connection=connections, length=st.integers(1, 4 * PAGE), turns=st.integers(0, 3))
    def peer_sends(self, connection: Connection, length: int, turns: int) -> None:
        with contextlib.suppress(OSError):
            connection.sent += connection.far.send(pattern(connection.sent, length))
        self.go_round(turns)

    @rule(connection=connections, turns=st.integers(0, 2))
    def peer_reads(self, connection: Connection, turns: int) -> None:
        self.go_round(turns)
        try:
            got = connection.far.recv(1 << 20)
        except OSError:
            return
        assert connection.expected.startswith(got)
        del connection.expected[: len(got)]

    @precondition(lambda self: len(self.every) > 3)
    @rule(connection=connections)
    def peer_leaves(self, connection: Connection) -> None:
        connection.ended = True
        connection.far.close()

    @rule(turns=st.integers(1, 4))
    def time_passes(self, turns: int) -> None:
        self.go_round(turns)

    def go_round(self, turns: int) -> None:
        for _ in range(turns):
            self.run(asyncio.sleep(0.002 if POLLED else 0))

    # What must hold -----------------------------------------------------------------------------------------------

    @invariant()
    def every_buffer_is_where_the_model_has_it(self) -> None:
        type(self).steps += 1
        assert not self.problems
        states = self.pool._states()
        assert {each.page for each in self.held} <= {
            page for page, state in enumerate(states) if state in (LEASED, SENDING)
        }
        # Beyond those, transports have some: to send, or held back while reading is paused.
        for connection in self.every:
            assert not isinstance(connection.protocol.error, OSError) or connection.ended

    def teardown(self) -> None:
        for connection in self.every:
            connection.protocol.transport.abort()
            connection.far.close()
        self.run(asyncio.sleep(0.001))
        while not all(connection.protocol.lost for connection in self.every):
            self.run(asyncio.sleep(0.001))
        for held in list(self.held):
            for view in held.views:
                view.release()
            self.let_go(held)
            held.lease.release()
        states = self.pool._states()
        assert states.count(FREE) + states.count(KERNELS) == COUNT
        self.loop.close()
        assert self.pool._states() == bytes(COUNT)
        assert not self.problems


# Hypothesis asks the collector who refers to its own source of random numbers, and what is frozen (tests/conftest.py)
# is not told of.
@pytest.mark.filterwarnings("ignore:It looks like `register_random` was passed")
@pytest.mark.limit(120)
def test_at_random(request: pytest.FixtureRequest) -> None:
    examples = request.config.getoption("--lease-examples", 60)
    run_state_machine_as_test(
        PoolMachine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=60,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
            print_blob=True,
        ),
    )
    print(f"{PoolMachine.steps} steps of {examples} lives")
