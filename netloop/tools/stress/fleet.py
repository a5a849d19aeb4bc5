"""All processes of a stress test: the servers, if they are our own, the clients, and what the parent asks of them."""

from __future__ import annotations

import math
import time
from types import TracebackType
from typing import Any, Final, Self

from netloop.tools.stress.histogram import Histogram
from netloop.tools.stress.machine import Snapshot, snapshot
from netloop.tools.stress.options import Options
from netloop.tools.stress.processes import Process, wait_for
from netloop.tools.stress.progress import Show

__all__ = ["Fleet"]

_START_SECONDS: Final = 30.0
_SETTLE_SECONDS: Final = 20.0
#: What must be as it was when all connections are gone. Buffers stay, for the next ones.
_COUNTERS: Final = ("connections", "in_flight", "fixed_files_in_use", "buffers_in_use", "watchers", "descriptors")


class Fleet:
    """Starts everything, and ends it with the ``with`` block.

    Args:
        options: what to do.
        show: told about the progress.
    """

    def __init__(self, options: Options, show: Show) -> None:
        self.options = options
        self._show = show
        self.servers: list[Process] = []
        self.clients: list[Process] = []
        self.history: list[tuple[float, int, int]] = []
        self._began = time.monotonic()

    def __enter__(self) -> Self:
        try:
            address = self.options.address or self._start_servers()
            self._start_clients(address)
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._close()

    def _close(self) -> None:
        for process in (*self.clients, *self.servers):
            process.close()

    def _start_servers(self) -> tuple[str, int]:
        port = 0
        small = ["--small-buffers"] if self.options.scenario == "slow" else []
        for _ in range(self.options.workers):
            arguments = ["--server", self.options.server, "--port", str(port), *small]
            server = Process("netloop.tools.stress.server", arguments)
            self.servers.append(server)
            if not port:
                # The first one chooses the port that all share.
                port = int(self._events([server], "ready", "starting a server")[0]["port"])
        self._events(self.servers[1:], "ready", "starting the servers")
        return "127.0.0.1", port

    def _start_clients(self, address: tuple[str, int]) -> None:
        for number in range(self._clients_needed()):
            arguments = ["--host", address[0], "--port", str(address[1]), "--server", self.options.server]
            arguments += ["--number", str(number), "--concurrency", str(self.options.concurrency)]
            self.clients.append(Process("netloop.tools.stress.client", arguments))
        self._events(self.clients, "ready", "starting the clients")

    @property
    def _has_driver(self) -> bool:
        # Where some connections do something at once, the others are driven by a client that has no part in it, so
        # that what is measured is the server and not a busy client.
        return self.options.scenario in ("close", "slow")

    def _clients_needed(self) -> int:
        slow = self.options.burst if self.options.scenario == "slow" else 0
        if not self._has_driver:
            return max(1, math.ceil(self.options.connections / self.options.per_client))
        rest = self.options.connections - self.options.active + slow
        return 1 + max(1, math.ceil(rest / self.options.per_client))

    def _events(self, processes: list[Process], event: str, what: str) -> list[dict[str, Any]]:
        """Wait until each of these has sent an event of that kind."""
        found: dict[int, dict[str, Any]] = {}

        def done() -> bool:
            for process in processes:
                if process.pid not in found and (answer := process.take(event)) is not None:
                    found[process.pid] = answer
            return len(found) == len(processes)

        wait_for(processes, done, _START_SECONDS, lambda: self._show(what, 0.0), what)
        return [found[process.pid] for process in processes]

    # Asking -------------------------------------------------------------------------------------------------------

    def shares(self, total: int, driven: int = 0) -> list[int]:
        """Split a number over the clients: evenly, or, where one of them drives the others' connections, so many of
        them to that one and the rest evenly to the others.
        """
        if self._has_driver:
            return [driven, *_split(total - driven, len(self.clients) - 1)]
        return _split(total, len(self.clients))

    def begin(self, do: str, counts: list[int] | None = None, **arguments: Any) -> list[int]:
        """Have all clients do something, each with its own ``count`` if there are several; return their numbers."""
        numbers = []
        for index, client in enumerate(self.clients):
            own = {} if counts is None else {"count": counts[index]}
            numbers.append(client.ask(do, **own, **arguments))
        return numbers

    def finish(
        self, numbers: list[int], what: str, seconds: float | None = None, target: int = 0
    ) -> list[dict[str, Any]]:
        """Wait until all clients have done what they were asked, and return their answers.

        Raises:
            StressFailed: they have not within ``seconds`` (the limit of the options unless given).
        """
        found: dict[int, dict[str, Any]] = {}

        def done() -> bool:
            for index, (client, number) in enumerate(zip(self.clients, numbers, strict=True)):
                if index not in found and (answer := client.take("done", number)) is not None:
                    found[index] = answer
            return len(found) == len(self.clients)

        wait_for(
            (*self.clients, *self.servers), done, seconds or self.options.limit, lambda: self._tick(what, target), what
        )
        return [found[index] for index in range(len(self.clients))]

    def ask(
        self, do: str, what: str, counts: list[int] | None = None, target: int = 0, **arguments: Any
    ) -> list[dict[str, Any]]:
        """Have all clients do something and wait until they have."""
        return self.finish(self.begin(do, counts, **arguments), what, target=target)

    def watch(self, seconds: float, what: str) -> None:
        """Let the clients go on for a time."""
        end = time.monotonic() + seconds

        def tick() -> None:
            self._tick(what, 0, 1 - max(0.0, end - time.monotonic()) / seconds)

        wait_for((*self.clients, *self.servers), lambda: time.monotonic() >= end, seconds + _START_SECONDS, tick, what)

    def window(self) -> Histogram:
        """The latencies since the last time, of all clients."""
        merged = Histogram()
        for answer in self.ask("window", "collecting the latencies"):
            merged.merge(answer["histogram"], answer["greatest"])
        return merged

    def snapshot(self) -> Snapshot:
        """The state of the machine and the servers now."""
        return snapshot(server.pid for server in self.servers)

    @property
    def failures(self) -> dict[str, int]:
        """What went wrong so far, and how often."""
        found: dict[str, int] = {}
        for client in self.clients:
            for reason, count in client.failures.items():
                found[reason] = found.get(reason, 0) + count
        return found

    def counters(self) -> list[dict[str, int]]:
        """The servers' counters that must come back to where they began."""
        for server in self.servers:
            server.ask("statistics")
        answers = self._events(self.servers, "statistics", "asking the servers for their counters")
        return [{name: answer[name] for name in _COUNTERS} for answer in answers]

    def resting(self) -> list[dict[str, int]]:
        """The servers' counters when they have stopped changing: servers accept and close later than clients do."""
        deadline = time.monotonic() + _SETTLE_SECONDS
        found: list[dict[str, int]] = []
        while (now := self.counters()) != found and time.monotonic() < deadline:
            found = now
            self.watch(0.3, "waiting for the servers to come to rest")
        return now

    def settle(self, expected: list[dict[str, int]]) -> list[dict[str, int]]:
        """Wait until the servers' counters are as expected, but not for ever; return what they are."""
        deadline = time.monotonic() + _SETTLE_SECONDS
        found = self.counters()
        while found != expected and time.monotonic() < deadline:
            self.watch(0.2, "waiting for the servers to come to rest")
            found = self.counters()
        return found

    def _tick(self, what: str, target: int, share: float | None = None) -> None:
        now_open = sum(client.progress.get("open", 0) for client in self.clients)
        failed = sum(client.progress.get("failed", 0) for client in self.clients)
        self.history.append((time.monotonic() - self._began, now_open, failed))
        if share is None:
            share = now_open / target if target else 0.0
        self._show(f"{what}: {now_open:,} connections open, {failed:,} failures", share)


def _split(total: int, parts: int) -> list[int]:
    each, rest = divmod(total, parts)
    return [each + (index < rest) for index in range(parts)]
