"""What the stress test counts and what its command line means."""

from __future__ import annotations

import pytest

from netloop.tools.stress.connection import Connection, EchoConnection, HttpConnection
from netloop.tools.stress.histogram import Histogram
from netloop.tools.stress.options import parse


def test_a_quantile_is_within_two_percent() -> None:
    latencies = Histogram()
    for microseconds in range(1, 100_001):
        latencies.add(microseconds / 1e6)
    assert latencies.count == 100_000
    for share in (0.001, 0.5, 0.99, 0.9999):
        assert latencies.quantile(share) == pytest.approx(share * 0.1, rel=0.02)
    assert latencies.greatest == 0.1


def test_histograms_add_up() -> None:
    one, two = Histogram(), Histogram()
    one.add(0.001)
    two.add(0.003)
    two.add(0.005)
    one.merge(two.pack(), two.greatest)
    assert one.count == 3
    assert one.quantile(0.5) == pytest.approx(0.003, rel=0.02)
    assert one.greatest == 0.005
    one.clear()
    assert one.quantile(0.5) is None


@pytest.mark.parametrize(("share", "active"), [("1%", 10), ("0", 0), ("25", 25), ("100%", 1000), ("0.01%", 1)])
def test_active_connections_are_a_number_or_a_share(share: str, active: int) -> None:
    assert parse(["--connections", "1000", "--active", share]).active == active


@pytest.mark.parametrize(
    "arguments",
    [
        ["--connections", "0"],
        ["--active", "200%"],
        ["--active", "some"],
        ["--address", "nowhere"],
        ["--seconds", "0"],
        ["--scenario", "slow", "--server", "aiohttp"],
        ["--scenario", "close", "--connections", "10", "--burst", "10"],
        ["--scenario", "slow", "--active", "0"],
    ],
)
def test_what_cannot_be_done_is_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit):
        parse(arguments)


class Nobody:
    """Whom connections without a network tell."""

    def answered(self, connection: Connection, seconds: float) -> None: ...

    def failed(self, connection: Connection, reason: str) -> None: ...

    def ended(self, connection: Connection) -> None: ...


def test_an_echo_is_checked_to_the_last_byte() -> None:
    connection = EchoConnection(Nobody(), 7)
    message = connection.message()
    assert message != EchoConnection(Nobody(), 8).message()
    assert connection.verdict(message[:10]) is False
    assert connection.verdict(message) is True
    assert isinstance(connection.verdict(message[:-1] + b"x"), str)
    assert isinstance(connection.verdict(message + b"0"), str)


def test_a_reply_is_checked_for_status_length_and_body() -> None:
    connection = HttpConnection(Nobody(), 1)
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n"
    assert connection.verdict(head[:-1]) is False
    assert connection.verdict(head + b"Hello, ") is False
    assert connection.verdict(head + b"Hello, world") is True
    assert isinstance(connection.verdict(head + b"Hello, wurst"), str)
    assert isinstance(connection.verdict(head + b"Hello, world!"), str)
    assert isinstance(connection.verdict(head.replace(b"200", b"500")), str)
