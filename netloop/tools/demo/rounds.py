"""The demo's measurement: the same traffic at a server on each loop, in short rounds that take turns.

Machines have faster and slower moments. Rounds that take turns meet the same moments, so the loops can be compared
with each other in one run; figures of different runs cannot.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from netloop.tools.demo.child import Child
from netloop.tools.demo.system_calls import SystemCalls, TracingFailed, strace_missing

__all__ = ["Plan", "Result", "Step", "measure"]

_ROUNDS: Final = 4
_TRACED_REQUESTS: Final = 2000
_SPARE_SECONDS: Final = 60.0

# With futex the threads of the pool that aiohttp opens static files in hand over Python's lock, the same on every loop.
# How often depends most of all on how much strace slows each of them down, so it would drown what is to be shown.
_NOT_COUNTED: Final = "futex"

Step = Callable[[str, float], None]
"""Called with a description and the fraction (0 to 1) of the whole work that is done."""


@dataclass(frozen=True)
class Plan:
    """What to measure.

    Attributes:
        loops: names of loops.
        seconds: measured traffic for each loop, over all rounds.
        connections: how many the client holds open; every fifth is a websocket.
        files: the directory with the static file.
        rounds: how many rounds each loop gets.
        traced_requests: how many exchanges strace watches; 0 leaves it out.
    """

    loops: Sequence[str]
    seconds: float
    connections: int
    files: Path
    rounds: int = _ROUNDS
    traced_requests: int = _TRACED_REQUESTS

    @property
    def round_seconds(self) -> float:
        """Measured traffic in one round."""
        return self.seconds / self.rounds


@dataclass
class Result:
    """What came of one loop; the figures are medians over the rounds.

    Attributes:
        loop: the loop's name.
        requests: exchanges checked, over all rounds: HTTP responses and websocket messages.
        requests_per_second: how many of them in a second.
        cpu_seconds_per_request: the server's CPU time; None where the kernel does not tell.
        system_calls_per_request: without futex; None when they were not counted.
        uncounted: why not.
        p50: half of the exchanges took less than this, in seconds.
        p99: 99 of 100 took less than this, in seconds.
        error_count: what came out wrong.
        errors: the first of them.
        system_calls: how often the server made each system call in the traced round.
    """

    loop: str
    requests: int = 0
    requests_per_second: float | None = None
    cpu_seconds_per_request: float | None = None
    system_calls_per_request: float | None = None
    uncounted: str = ""
    p50: float | None = None
    p99: float | None = None
    error_count: int = 0
    errors: list[str] = field(default_factory=list)
    system_calls: dict[str, int] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The result as JSON takes it."""
        return asdict(self)

    def fail(self, errors: Sequence[str], count: int | None = None) -> None:
        """Add errors, of which only some may have a message."""
        self.errors += errors
        self.error_count += len(errors) if count is None else count


def measure(plan: Plan, step: Step) -> list[Result]:
    """Serve, drive traffic and check it, as planned.

    Args:
        plan: what to measure.
        step: told about the progress.

    Returns:
        One result for each loop, in the plan's order.

    Raises:
        ChildFailed: a server or the client did not start.
    """
    results = {name: Result(name) for name in plan.loops}
    server_cpu, client_cpu = _two_cpus()
    with ExitStack() as stack:
        servers = {}
        for name in plan.loops:
            step(f"starting {name}", 0.0)
            servers[name] = stack.enter_context(_Server(name, plan.files, server_cpu))
        driver = _Driver(plan, servers, client_cpu, step)
        samples = driver.interleaved(results)
        driver.traced(results)
        for name, server in servers.items():
            step(f"stopping {name}", 1.0)
            results[name].fail(server.stop())
    for name, result in results.items():
        _summarise(result, samples[name])
    return list(results.values())


class _Server:
    """One server process, and how to reach it."""

    def __init__(self, loop: str, files: Path, cpu: int | None) -> None:
        self._child = Child("netloop.tools.demo.server", ["--loop", loop, "--files", str(files), *_cpu_option(cpu)])
        self._stopped = False
        try:
            ready = self._child.read_line()
        except BaseException:
            self._child.close()
            raise
        self.pid = self._child.pid
        self.port: int = ready["port"]

    def __enter__(self) -> _Server:
        return self

    def __exit__(self, *_: object) -> None:
        self._child.close()

    def stop(self) -> list[str]:
        """Ask the server to end, and return what it complained of: a healthy one says nothing and exits with 0."""
        status = self._child.stop()
        said = self._child.complaints()
        problems = [f"the server wrote to standard error: {said}"] if said else []
        if status:
            problems.append(f"the server ended with status {status}")
        return problems


class _Driver:
    """Runs the client process round after round."""

    def __init__(self, plan: Plan, servers: dict[str, _Server], cpu: int | None, step: Step) -> None:
        self._plan = plan
        self._servers = servers
        self._cpu = cpu
        self._step = step
        self._done = 0.0
        self._total = plan.rounds * len(servers) + (len(servers) if plan.traced_requests else 0)

    def interleaved(self, results: dict[str, Result]) -> dict[str, list[dict[str, Any]]]:
        """The measured rounds: every other one in reverse order, so that no loop always follows the same one."""
        samples: dict[str, list[dict[str, Any]]] = {name: [] for name in self._servers}
        for number in range(self._plan.rounds):
            names = list(self._servers) if number % 2 == 0 else list(reversed(self._servers))
            for name in names:
                what = f"round {number + 1} of {self._plan.rounds}: {name}"
                sample = self._round(name, what, "--seconds", self._plan.round_seconds)
                samples[name].append(sample)
                results[name].requests += sample["requests"]
                results[name].fail(sample["errors"], sample["error_count"])
        return samples

    def traced(self, results: dict[str, Result]) -> None:
        """A round of its own under strace, which slows a server down too much to time it."""
        if not self._plan.traced_requests:
            return
        for name, server in self._servers.items():
            result = results[name]
            result.uncounted = strace_missing() or ""
            if result.uncounted:
                continue
            try:
                with closing(SystemCalls(server.pid)) as calls:
                    what = f"counting system calls: {name}"
                    sample = self._round(name, what, "--requests", self._plan.traced_requests)
                    result.system_calls = calls.finish()
            except TracingFailed as failed:
                result.uncounted = str(failed)
                continue
            result.fail(sample["errors"], sample["error_count"])
            if sample["requests"]:
                counted = sum(count for name, count in result.system_calls.items() if name != _NOT_COUNTED)
                result.system_calls_per_request = counted / sample["requests"]

    def _round(self, name: str, what: str, option: str, amount: float) -> dict[str, Any]:
        server = self._servers[name]
        began = self._done
        arguments = ["--port", str(server.port), "--server-pid", str(server.pid), option, str(amount)]
        arguments += ["--connections", str(self._plan.connections), *_cpu_option(self._cpu)]
        self._step(what, began / self._total)

        def tick() -> None:
            # A round takes a little longer than its traffic; the bar must not run ahead of it.
            self._done = min(self._done + 0.1 / (self._plan.round_seconds + 0.8), began + 0.95)
            self._step(what, self._done / self._total)

        with closing(Child("netloop.tools.demo.traffic", arguments)) as child:
            sample = child.read_line(self._plan.round_seconds + _SPARE_SECONDS, tick)
        self._done = began + 1
        self._step(what, self._done / self._total)
        return sample


def _summarise(result: Result, samples: Sequence[dict[str, Any]]) -> None:
    useful = [sample for sample in samples if sample["requests"]]
    if len(useful) < len(samples):
        result.fail([f"{len(samples) - len(useful)} rounds without a single right answer"])
    if not useful:
        return
    result.requests_per_second = statistics.median(sample["requests"] / sample["seconds"] for sample in useful)
    result.p50 = statistics.median(sample["p50"] for sample in useful)
    result.p99 = statistics.median(sample["p99"] for sample in useful)
    costs = [sample["cpu_seconds"] / sample["requests"] for sample in useful if sample["cpu_seconds"] is not None]
    result.cpu_seconds_per_request = statistics.median(costs) if costs else None


def _two_cpus() -> tuple[int | None, int | None]:
    cpus = sorted(os.sched_getaffinity(0))
    return (cpus[0], cpus[-1]) if len(cpus) > 1 else (None, None)


def _cpu_option(cpu: int | None) -> list[str]:
    return [] if cpu is None else ["--cpu", str(cpu)]
