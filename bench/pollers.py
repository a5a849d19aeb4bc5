"""One Python thread whose I/O is on further CPUs: ``python bench/pollers.py``.

Echo by a loop with ``io_cpus``, in turn with the same loop without, uvloop, and the server in C on io_uring, each with
one thread that runs its own code. One load generator is not enough to keep such a server busy, so several drive it and
measure the same window. The server has a CPU, each poller another, and the generators what is left: on a machine that
has none left they share those of the pollers, and then only what the loop's thread uses says anything.
"""

import argparse
import os
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.c_build import build
from harness.contenders import IO_CPUS, SERVERS, buffer_pool
from harness.errors import BenchError
from harness.gated import GatedLoads, Report
from harness.processes import Server
from harness.rows import Row

_REFERENCES = ("c-uring", "uvloop")


@dataclass(frozen=True)
class Cpus:
    """Which CPU does what: the server's, those for pollers in the order of their use, and the load generators'."""

    server: int
    pollers: Sequence[int]
    loads: Sequence[int]
    shared: bool

    @classmethod
    def choose(cls, pollers: int) -> "Cpus":
        """Share out the CPUs that this process may use.

        Raises:
            BenchError: there are not enough of them.
        """
        server, *others = sorted(os.sched_getaffinity(0), reverse=True)
        if len(others) < max(pollers, 1):
            raise BenchError(f"{pollers} pollers need as many CPUs beside the server's, and there are {len(others)}")
        left = others[pollers:]
        return cls(server, others[:pollers], left or others, not left)


@dataclass(frozen=True)
class Sample:
    """What one start gave: messages in a second, microseconds of CPU for each, and the median latency."""

    rate: float
    loop_cpu: float
    all_cpu: float
    p50: float


def _command(name: str, programs: Path, options: argparse.Namespace) -> list[str]:
    if name == "c-uring":
        pool = buffer_pool(Row("protocol", options.connections, options.size))
        return [str(programs / "echo_uring"), *map(str, pool)]
    program = [sys.executable, str(SERVERS / "echo_work.py"), "--work", str(options.work)]
    return [*program, "--loop", name]


def _shares(connections: int, loads: int) -> list[int]:
    return [connections // loads + (index < connections % loads) for index in range(loads)]


def _sample(reports: Sequence[Report]) -> Sample:
    """Put the generators' reports together; each of them has seen all of the server's CPU time."""
    rate: float = sum(report["messages"] / report["seconds"] for report in reports)

    def each(figure: str) -> float:
        per_second: float = statistics.mean(report[figure] / report["seconds"] for report in reports)
        return per_second / rate / 1e3

    # Of latencies only the middle one of the generators' is told: they have the same number of connections each.
    p50 = statistics.median(report["p50_us"] for report in reports)
    return Sample(rate, each("loop_cpu_ns"), each("server_cpu_ns"), p50)


def measure(name: str, pollers: int, cpus: Cpus, programs: Path, options: argparse.Namespace) -> Sample:
    """Start a server and its load, and measure one window.

    Raises:
        BenchError: the server or a generator failed.
    """
    environment = {IO_CPUS: ",".join(map(str, cpus.pollers[:pollers]))} if pollers else {}
    with Server(_command(name, programs, options), environment, cpus.server) as server:
        load = [str(programs / "load"), "--port", str(server.port), "--server-pid", str(server.pid)]
        load += ["--size", str(options.size), "--seconds", str(options.seconds), "--warmup", "0.5"]
        shares = [share for share in _shares(options.connections, options.loads) if share]
        commands = [[*load, "--connections", str(share)] for share in shares]
        with GatedLoads(commands, [cpus.loads[index % len(cpus.loads)] for index in range(len(shares))]) as loads:
            loads.wait_until_ready()
            return _sample(loads.measure(options.seconds))


def _name(contender: tuple[str, int]) -> str:
    name, pollers = contender
    return name if not pollers else f"{name}, {pollers} poller{'s' * (pollers > 1)}"


def _median(samples: Sequence[Sample], figure: str) -> float:
    middle: float = statistics.median(getattr(sample, figure) for sample in samples)
    return middle


def _print(found: dict[tuple[str, int], list[Sample]], columns: Sequence[str]) -> None:
    """Print the medians, and of messages/s the ratio to each reference in the same repeat."""
    titles = ["messages/s", *(f"÷ {name}" for name in columns), "loop's thread, µs", "all threads, µs", "p50, µs"]
    print(f"{'':22}" + "".join(f"{title:>19}" for title in titles))
    for contender, samples in found.items():
        cells = [f"{_median(samples, 'rate'):,.0f}"]
        for name in columns:
            pairs = zip(samples, found[name, 0], strict=True)
            cells.append(f"{statistics.median(mine.rate / theirs.rate for mine, theirs in pairs):.2f}")
        cells += [f"{_median(samples, figure):.2f}" for figure in ("loop_cpu", "all_cpu")]
        cells.append(f"{_median(samples, 'p50'):,.0f}")
        print(f"{_name(contender):22}" + "".join(f"{cell:>19}" for cell in cells))


def main() -> int:
    """Measure what the command line says, all of it in turn in each repeat, and print the medians."""
    parser = argparse.ArgumentParser(description="Compares a loop whose I/O is on further CPUs with loops without.")
    add = parser.add_argument
    add("--pollers", type=int, nargs="+", default=None, help="how many CPUs (default: 0 up to 3, as there are CPUs)")
    add("--references", nargs="*", choices=_REFERENCES, default=list(_REFERENCES), help="what else is measured")
    add("--connections", type=int, default=400, help="of all load generators together")
    add("--loads", type=int, default=3, help="how many load generators")
    add("--size", type=int, default=64, help="of a message, bytes")
    add("--work", type=int, default=0, help="rounds of an empty loop in Python for each message; none in C")
    add("--seconds", type=float, default=1.0)
    add("--repeats", type=int, default=5)
    options = parser.parse_args()
    if options.pollers is None:
        options.pollers = range(min(4, len(os.sched_getaffinity(0))))
    try:
        cpus = Cpus.choose(max(options.pollers))
        programs = build()
        contenders = [*((name, 0) for name in options.references), *(("netloop", number) for number in options.pollers)]
        found: dict[tuple[str, int], list[Sample]] = {contender: [] for contender in contenders}
        for repeat in range(options.repeats):
            for contender, samples in found.items():
                print(f"repeat {repeat + 1}: {_name(contender)}", file=sys.stderr, flush=True)
                samples.append(measure(*contender, cpus, programs, options))
    except BenchError as error:
        print(f"bench/pollers.py: {error}", file=sys.stderr)
        return 1
    print(f"echo, {options.connections} x {options.size} B, {options.work} rounds of Python for each message")
    sharing = ", which they share" * cpus.shared
    print(f"server on CPU {cpus.server}, pollers on {list(cpus.pollers)}, load on {list(cpus.loads)}{sharing}")
    _print(found, options.references)
    return 0


if __name__ == "__main__":
    sys.exit(main())
