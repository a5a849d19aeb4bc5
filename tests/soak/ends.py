"""One end of a connection that does what chance says inside its callbacks, and notes what must not be."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from collections.abc import Callable
from typing import Any

SIZES = (0, 1, 10, 100, 3000, 20_000)
LARGE_SIZES = (100_000, 400_000)
BUFFER_SIZES = (1, 7, 100, 5000, 70_000)


class PlannedError(Exception):
    """What a callback raises when chance says so."""


class End:
    """Writes, pauses, closes, changes its protocol and so on, and keeps what it sent and what it got."""

    def __init__(self, loop: asyncio.AbstractEventLoop, seed: float, risks: tuple[str, ...], control: bool) -> None:
        self.loop = loop
        self.chance = random.Random(seed)
        self.eof_may_repeat = control or "interrupt" in risks
        self.may_write_when_lost = not control  # asyncio sends what connection_lost writes, if it may still be sent
        self.transport: Any = None
        self.sent, self.got = bytearray(), bytearray()
        self.lost = self.eofs = 0
        self.closed = self.ended = self.paused_by_transport = False
        self.buffer = bytearray(self.chance.choice(BUFFER_SIZES))
        self.problems: list[str] = []
        self.actions = [getattr(self, name) for name in (*ACTIONS, *risks)]
        self.weights = [*ACTIONS.values(), *[RISKS[name] for name in risks]]

    def expect(self, condition: object, otherwise: str) -> None:
        if not condition:
            self.problems.append(f"{otherwise}: {self.transport!r}")

    # What a transport calls.

    def connection_made(self, transport: Any) -> None:
        self.expect(self.transport is None, "connection_made twice")
        self.transport = transport
        if self.chance.random() < 0.3:
            transport.set_write_buffer_limits(self.chance.choice((0, 1, 1000, 300_000)))
        self.act()

    def receive(self, data: bytes) -> None:
        self.expect(not self.lost, "data after connection_lost")
        self.expect(not self.closed, "data after close")
        self.expect(self.transport.is_reading(), "data while paused")
        self.got += data
        self.act()

    def eof_received(self) -> bool:
        self.eofs += 1
        self.expect(self.eofs == 1 or self.eof_may_repeat, "eof_received twice")
        self.expect(not self.lost, "eof_received after connection_lost")
        stays_open = self.chance.random() < 0.5
        self.act()
        self.closed = self.closed or not stays_open
        return stays_open

    def pause_writing(self) -> None:
        self.expect(not self.paused_by_transport, "pause_writing twice")
        self.paused_by_transport = True
        if self.chance.random() < 0.3:
            self.act()

    def resume_writing(self) -> None:
        self.expect(self.paused_by_transport, "resume_writing without pause_writing")
        self.paused_by_transport = False
        if self.chance.random() < 0.5:
            self.act()

    def connection_lost(self, exc: BaseException | None) -> None:
        self.lost += 1
        self.expect(self.lost == 1, "connection_lost twice")
        if self.chance.random() < 0.3:
            self.act()

    # What chance picks from.

    def act(self) -> None:
        for _ in range(self.chance.choice((0, 1, 1, 2, 3))):
            self.chance.choices(self.actions, self.weights)[0]()

    def act_if_alive(self) -> None:
        if self.transport is not None and not self.lost:
            self.act()

    def may_write(self) -> bool:
        # Loops differ in whether they send what is written while a closed transport drains: it is not asked.
        return not self.ended and (self.may_write_when_lost if self.lost else not self.transport.is_closing())

    def write(self, data: bytes | bytearray) -> None:
        if self.may_write():
            if not self.lost:
                self.sent += data
            self.transport.write(data)

    def do_nothing(self) -> None:
        pass

    def write_some(self) -> None:
        self.write(self.chance.randbytes(self.chance.choice(SIZES)))

    def write_much(self) -> None:
        self.write(bytearray(self.chance.randbytes(self.chance.choice(LARGE_SIZES))))

    def write_pieces(self) -> None:
        count = self.chance.choice((1, 3, 40))
        pieces = [self.chance.randbytes(self.chance.choice((0, 1, 500, 9000))) for _ in range(count)]
        if not self.ended and not self.transport.is_closing():
            self.sent += b"".join(pieces)
            self.transport.writelines(pieces)

    def pause_for_a_while(self) -> None:
        self.transport.pause_reading()
        self.loop.call_later(self.chance.choice((0, 0, 0.001, 0.01)), self.transport.resume_reading)

    def resume(self) -> None:
        self.transport.resume_reading()

    def pause_and_resume(self) -> None:
        self.transport.pause_reading()
        self.transport.resume_reading()

    def maybe_end_writing(self) -> None:
        if self.ended or self.chance.random() < 0.5:
            self.end_writing()

    def end_writing(self) -> None:
        self.ended = self.ended or not self.transport.is_closing()
        if self.ended:
            with contextlib.suppress(OSError):  # asyncio lets through that the peer is gone
                self.transport.write_eof()

    def close(self) -> None:
        self.closed = True
        self.transport.close()

    def abort(self) -> None:
        self.closed = True
        if not self.lost:
            self.transport.abort()

    def change_protocol(self) -> None:
        self.transport.set_protocol(self.front())

    def change_limits(self) -> None:
        self.transport.set_write_buffer_limits(self.chance.choice((0, 10, 100_000)), 0)

    def ask_the_socket(self) -> None:
        if not self.transport.is_closing():
            self.transport.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)

    def ask_for_the_descriptor(self) -> None:
        self.transport.get_extra_info("socket").fileno()

    def ask_the_transport(self) -> None:
        repr(self.transport)
        self.transport.get_write_buffer_size()
        self.transport.get_extra_info("peername")
        self.transport.get_extra_info("sockname")

    def act_soon(self) -> None:
        self.loop.call_soon(self.act_if_alive)

    def act_later(self) -> None:
        self.loop.call_later(self.chance.choice((0, 0.001, 0.003)), self.act_if_alive)

    def fail(self) -> None:
        raise PlannedError

    def interrupt(self) -> None:
        raise KeyboardInterrupt

    def front(self) -> asyncio.BaseProtocol:
        """A protocol that passes everything on to this end."""
        return (PlainFront if self.chance.random() < 0.5 else BufferedFront)(self)


# How often each action is picked, per thousand.
ACTIONS = {
    "write_some": 400, "write_much": 40, "write_pieces": 60,
    "pause_for_a_while": 120, "resume": 60, "pause_and_resume": 40,
    "maybe_end_writing": 20, "close": 15, "abort": 5,
    "change_protocol": 40, "change_limits": 30,
    "ask_the_socket": 30, "ask_for_the_descriptor": 10, "ask_the_transport": 10,
    "act_soon": 50, "act_later": 20, "do_nothing": 43,
}  # fmt: skip
RISKS = {"fail": 5, "interrupt": 2}


class Front:
    """What a transport and an end have between them; the end stays when it changes."""

    def __init__(self, end: End) -> None:
        self.end = end
        self.connection_made: Callable[[Any], None] = end.connection_made
        self.connection_lost: Callable[[BaseException | None], None] = end.connection_lost
        self.eof_received: Callable[[], bool] = end.eof_received
        self.pause_writing: Callable[[], None] = end.pause_writing
        self.resume_writing: Callable[[], None] = end.resume_writing


class PlainFront(Front, asyncio.Protocol):
    def data_received(self, data: bytes) -> None:
        self.end.receive(data)


class BufferedFront(Front, asyncio.BufferedProtocol):
    def get_buffer(self, sizehint: int) -> bytearray:
        return self.end.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.end.receive(bytes(self.end.buffer[:nbytes]))
