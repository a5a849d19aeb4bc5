"""A server for ``latency.py``: one kind of exchange, with one of the knobs turned."""

import argparse
import asyncio
import functools
import socket
import sys
import time
from typing import Any, cast

from serving import HOST, die_with_parent

import netloop

#: asm-generic/socket.h; the socket module does not have it.
_SO_BUSY_POLL = 46

#: Arguments of the loop, and options of each connection: level, name, value.
LOOPS: dict[str, dict[str, Any]] = {
    "spin=100e-6": {"spin": 100e-6},
    "busy_poll=50e-6": {"busy_poll": 50e-6},
}
OPTIONS = {
    "SO_BUSY_POLL=50": (socket.SOL_SOCKET, _SO_BUSY_POLL, 50),
    "TCP_NOTSENT_LOWAT=128k": (socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, 128 << 10),
}
#: It lasts until the kernel thinks otherwise, so it is set anew whenever something has come.
QUICK_ACK = "TCP_QUICKACK"

#: What a stream is made of: each block begins with the time at which it was written, in nanoseconds.
BLOCK = 16 << 10
STAMP = 8


class Exchange(asyncio.Protocol):
    """What all exchanges have in common: the knob."""

    def __init__(self, knob: str) -> None:
        self._knob = knob

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Turn it."""
        self._transport = cast(asyncio.Transport, transport)
        self._socket: Any = transport.get_extra_info("socket")
        if self._knob in OPTIONS:
            self._socket.setsockopt(*OPTIONS[self._knob])

    def data_received(self, data: bytes) -> None:
        """Turn it again, where that must be."""
        if self._knob == QUICK_ACK:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


class Echo(Exchange):
    """Sends back what comes."""

    def data_received(self, data: bytes) -> None:
        """Do it."""
        super().data_received(data)
        self._transport.write(data)


class Pieces(Exchange):
    """Answers every second byte, so that a question of two writes has to arrive whole."""

    _count = 0

    def data_received(self, data: bytes) -> None:
        """Count, and answer."""
        super().data_received(data)
        self._count += len(data)
        if self._count % 2 == 0:
            self._transport.write(b"!")


class Stream(Exchange):
    """Writes stamped blocks as fast as the transport takes them."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        super().connection_made(transport)
        self._transport.set_write_buffer_limits(high=BLOCK)
        self._paused = False
        self._write()

    def pause_writing(self) -> None:
        """Stop."""
        self._paused = True

    def resume_writing(self) -> None:
        """Go on."""
        self._paused = False
        self._write()

    def _write(self) -> None:
        while not self._paused and not self._transport.is_closing():
            self._transport.write(time.monotonic_ns().to_bytes(STAMP, sys.byteorder) + bytes(BLOCK - STAMP))


EXCHANGES = {"echo": Echo, "pieces": Pieces, "stream": Stream}


async def _listen(exchange: str, knob: str) -> None:
    factory = functools.partial(EXCHANGES[exchange], knob)
    server = await asyncio.get_running_loop().create_server(factory, HOST, 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    """Serve until the parent ends."""
    parser = argparse.ArgumentParser(description="A server for latency.py: prints its port, serves until SIGTERM.")
    parser.add_argument("--exchange", choices=sorted(EXCHANGES), default="echo")
    parser.add_argument("--knob", default="")
    options = parser.parse_args()
    die_with_parent()
    with asyncio.Runner(loop_factory=functools.partial(netloop.EventLoop, **LOOPS.get(options.knob, {}))) as runner:
        runner.run(_listen(options.exchange, options.knob))


if __name__ == "__main__":
    main()
