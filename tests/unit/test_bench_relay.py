"""The benchmark's relay in C: what it carries, and how it ends."""

from __future__ import annotations

import contextlib
import random
import socket
import sys
import threading
from collections.abc import Iterator

from harness.c_build import build
from harness.contenders import SERVERS
from harness.processes import Server

_SECONDS = 20.0


@contextlib.contextmanager
def relay(*command: str) -> Iterator[socket.socket]:
    """A connection to a relay that this command starts."""
    with Server(list(command), {}, None) as server, socket.create_connection(("127.0.0.1", server.port)) as client:
        client.settimeout(_SECONDS)
        yield client
        assert server.complaint() is None


def received(client: socket.socket) -> bytes:
    """All until the peer's end."""
    with client.makefile("rb") as stream:
        return stream.read()


def test_the_end_of_one_direction_is_passed_on_behind_the_last_byte() -> None:
    data = random.Random(1).randbytes(3_000_000)

    def send(client: socket.socket) -> None:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)

    with relay(sys.executable, str(SERVERS / "relay_in_c.py"), str(build() / "relay_uring"), "64", "4096") as client:
        sending = threading.Thread(target=send, args=(client,))
        sending.start()
        assert received(client) == data
        sending.join()


def test_a_connection_ends_when_there_is_nobody_to_relay_to() -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    with relay(str(build() / "relay_uring"), str(port)) as client:
        assert received(client) == b""
