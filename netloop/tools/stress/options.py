"""The command line of the stress test."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

__all__ = ["SCENARIOS", "Options", "parse"]

SCENARIOS: Final = ("hold", "close", "slow", "churn")
_MOST: Final = 5_000_000


@dataclasses.dataclass(frozen=True)
class Options:
    """What to do. ``active`` is the number of connections that are driven, ``burst`` that of those that close at once
    or read slowly; ``address`` is None for servers of our own; ``limit`` bounds each step, in seconds.
    """

    scenario: str
    connections: int
    workers: int
    address: tuple[str, int] | None
    server: str
    active: int
    pause: float
    seconds: float
    burst: int
    concurrency: int
    per_client: int
    limit: float
    output: Path
    plots: bool


def _between(lowest: int, highest: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        value = int(text.replace(",", "").replace("_", ""))
        if not lowest <= value <= highest:
            raise argparse.ArgumentTypeError(f"{text} is not between {lowest:,} and {highest:,}")
        return value

    return number


def _seconds(text: str) -> float:
    value = float(text)
    if not 0.01 <= value <= 86400:
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds between 0.01 and 86400")
    return value


def _address(text: str) -> tuple[str, int]:
    host, separator, port = text.rpartition(":")
    if not separator or not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise argparse.ArgumentTypeError(f"{text} is not HOST:PORT")
    return host.strip("[]"), int(port)


def _active(text: str, connections: int) -> int:
    """A number of connections, or a share of them in percent."""
    try:
        if text.endswith("%"):
            share = float(text[:-1])
            if not 0 <= share <= 100:
                raise ValueError
            return max(1, round(connections * share / 100)) if share else 0
        return min(int(text), connections)
    except ValueError:
        raise SystemExit(f"--active takes a number of connections or a share such as 1%, not {text!r}") from None


def parse(arguments: Sequence[str] | None) -> Options:
    """Read the command line after ``stress``."""
    parser = argparse.ArgumentParser(
        prog="python -m netloop stress",
        description="Hold many connections to an echo or aiohttp server, drive some, and report what they cost.",
        epilog="hold: only that. close: many close at once while others go on. slow: many send and do not read, while "
        "others go on. churn: connections come and go, and nothing may be left of them.",
    )
    add = parser.add_argument
    add("--scenario", choices=SCENARIOS, default="hold", help="what happens (default hold; explained below)")
    add("--connections", type=_between(1, _MOST), default=10_000, metavar="N", help="to hold (default 10,000)")
    add("--workers", type=_between(1, 256), default=1, metavar="W", help="own servers on one port (default 1)")
    add("--address", type=_address, metavar="HOST:PORT", help="a running server to connect to, instead of own ones")
    add("--server", choices=("echo", "aiohttp"), default="echo", help="what the server is (default echo)")
    add("--active", default="1%", metavar="SHARE", help="connections to drive: a share, or a number (1%%)")
    add("--pause", type=_seconds, default=0.1, metavar="S", help="an active one sends this often at most (default 0.1)")
    add("--seconds", type=_seconds, default=10.0, metavar="S", help="of traffic (default 10)")
    add("--burst", type=_between(1, _MOST), metavar="N", help="close, slow: how many connections (default 10,000)")
    add("--concurrency", type=_between(1, 10_000), default=64, metavar="N", help="connects under way per client (64)")
    add("--per-client", type=_between(1, 1_000_000), default=15_000, metavar="N", help="most per client (15,000)")
    add("--limit", type=_seconds, default=300.0, metavar="S", help="no step may take longer than this (default 300)")
    add("--output", type=Path, default=Path("netloop-stress"), metavar="DIR", help="for results.json and the plot")
    add("--no-plots", action="store_true", help="draw no plot")
    found = parser.parse_args(arguments)
    if found.server == "aiohttp" and found.scenario == "slow":
        parser.error("the slow readers need an echo server")
    active = _active(found.active, found.connections)
    burst = found.burst or max(1, min(10_000, found.connections - active))
    if found.scenario == "close" and burst > found.connections - active:
        parser.error(f"of {found.connections} connections, {active} of them active, {burst} cannot close: --burst")
    if found.scenario in ("close", "slow") and not active:
        parser.error(f"--scenario {found.scenario} is about those that go on: --active must not be 0")
    return Options(
        scenario=found.scenario,
        connections=found.connections,
        workers=found.workers,
        address=found.address,
        server=found.server,
        active=active,
        pause=found.pause,
        seconds=found.seconds,
        burst=burst,
        concurrency=found.concurrency,
        per_client=found.per_client,
        limit=found.limit,
        output=found.output,
        plots=not found.no_plots,
    )
