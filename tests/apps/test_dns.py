"""The DNS server among the examples: a hundred thousand queries, each answered from the address that was asked."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from apps.programs import Program

message: Any = pytest.importorskip("dns.message", reason="not installed: pip install dnspython")

SERVER = str(Path(__file__).resolve().parents[2] / "examples" / "dns_server.py")
NAME, ADDRESSES = "www.example.test", ("192.0.2.1", "192.0.2.2")
#: A name with one address: the order of several is dnspython's choice, another each time.
SINGLE, ADDRESS = "one.example.test", "192.0.2.3"
QUERIES = 100_000
#: Queries under way at once: their answers fit into a socket's receive buffer.
BURST = 64


@pytest.fixture
def port(start: Callable[..., Program]) -> Iterator[int]:
    """Where a server listens on all addresses."""
    records = [f"{NAME}={address}" for address in (*ADDRESSES, "2001:db8::1")] + [f"{SINGLE}={ADDRESS}"]
    server = start(SERVER, "--port", "0", *(word for record in records for word in ("--record", record)))
    yield int(server.wait_for(r"listening on \('0\.0\.0\.0', (\d+)\)")[1])
    assert "Traceback" not in server.output


def connected(host: str, port: int) -> socket.socket:
    """A client of one of the server's addresses, which takes no answer from another."""
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.settimeout(10)
    client.connect((host, port))
    return client


def ask(port: int, name: str, kind: str, host: str = "127.0.0.1") -> Any:
    query = message.make_query(name, kind)
    with connected(host, port) as client:
        client.send(query.to_wire())
        answer = message.from_wire(client.recv(2000))
    assert query.is_response(answer)
    return answer


def test_addresses_of_a_name(port: int) -> None:
    (found,) = ask(port, NAME, "A").answer
    assert {record.address for record in found} == set(ADDRESSES)
    (found,) = ask(port, NAME.upper(), "AAAA").answer
    assert [record.address for record in found] == ["2001:db8::1"]


def test_names_and_kinds_that_are_not_there(port: int) -> None:
    assert (ask(port, NAME, "MX").rcode(), ask(port, NAME, "MX").answer) == (0, [])
    assert ask(port, "nothing.example.test", "A").rcode() == 3  # NXDOMAIN


def test_what_is_not_dns_gets_no_answer_and_harms_nobody(port: int) -> None:
    with connected("127.0.0.1", port) as client:
        client.settimeout(0.3)
        for data in (b"", b"x", bytes(11), b"\xff" * 600):
            client.send(data)
        with pytest.raises(TimeoutError):
            client.recv(2000)
    assert ask(port, NAME, "A").rcode() == 0


@pytest.mark.limit(180)
def test_a_hundred_thousand_queries_are_answered_from_the_address_that_was_asked(port: int) -> None:
    query = message.make_query(SINGLE, "A").to_wire()[2:]
    expected = ask(port, SINGLE, "A").to_wire()[12:]
    assert socket.inet_aton(ADDRESS) in expected
    clients = [connected(f"127.0.0.{number}", port) for number in range(1, 5)]
    answered = 0
    try:
        for first in range(0, QUERIES, BURST * len(clients)):
            for client in clients:
                answered += exchange(client, query, expected, range(first, first + BURST))
    finally:
        for client in clients:
            client.close()
    assert answered >= QUERIES


def exchange(client: socket.socket, query: bytes, expected: bytes, numbers: range) -> int:
    """Send queries of these numbers, and return how many of them have had the right answer."""
    waiting = {number & 0xFFFF for number in numbers}
    for number in waiting:
        client.send(struct.pack("!H", number) + query)
    answered = 0
    while waiting:
        answer = client.recv(2000)
        waiting.remove(struct.unpack_from("!H", answer)[0])
        assert answer[12:] == expected
        answered += 1
    return answered
