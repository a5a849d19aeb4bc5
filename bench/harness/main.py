"""From the command line to the report."""

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from harness import c_build, contenders, environment, plan, plot, readme, rows
from harness.errors import BenchError
from harness.markdown import markdown
from harness.options import PROFILES, command_line, default_output, parser
from harness.progress import Progress
from harness.report import Report
from harness.schedule import Schedule
from harness.settings import Settings, choose_cpus
from harness.terminal import show

_NO_BUDGET = 86400.0
PACKAGES = ("aiohttp", "fastapi", "uvicorn", "httptools")


def _cpus(options: argparse.Namespace) -> tuple[int | None, int | None]:
    server_cpu, load_cpu = choose_cpus()
    chosen = (
        server_cpu if options.server_cpu is None else options.server_cpu,
        load_cpu if options.load_cpu is None else options.load_cpu,
    )
    allowed = os.sched_getaffinity(0)
    for cpu in chosen:
        if cpu is not None and cpu not in allowed:
            raise BenchError(f"CPU {cpu} is not available to this process; available: {sorted(allowed)}")
    if chosen[0] is not None and chosen[0] == chosen[1]:
        raise BenchError(f"server and load must not share CPU {chosen[0]}")
    return chosen


def _named(options: argparse.Namespace) -> bool:
    """Whether somebody says what to measure. Then all loops run in all rows, and it takes as long as it takes; a
    profile measures its peers in some rows only, and within its budget.
    """
    return options.loops is not None or options.rows is not None


def _settings(options: argparse.Namespace, scratch: Path) -> Settings:
    profile = PROFILES[options.profile]
    server_cpu, load_cpu = _cpus(options)
    return Settings(
        programs=c_build.build(),
        scratch=scratch,
        repeats=options.repeats or profile.repeats,
        seconds=options.seconds or profile.seconds,
        warmup=options.warmup or profile.warmup,
        trace_seconds=profile.trace_seconds,
        budget=options.budget or (_NO_BUDGET if _named(options) else profile.budget),
        server_cpu=server_cpu,
        load_cpu=load_cpu,
        seed=options.seed,
        tracing=not options.no_trace,
    )


def _plan(options: argparse.Namespace, settings: Settings) -> tuple[plan.Plan, dict[str, contenders.Availability]]:
    profile = PROFILES[options.profile]
    names = options.loops or (*profile.loops, *profile.peers)
    wanted = [contenders.ALL[name] for name in dict.fromkeys(names)]
    available = {contender.name: contenders.check(contender, settings) for contender in wanted}
    only_in = {} if _named(options) else dict.fromkeys(profile.peers, rows.PEERS)
    made = plan.make(rows.select(options.rows, profile.rows), wanted, available, only_in)
    if not made.cells:
        reasons = [f"{name}: {found.reason}" for name, found in available.items() if found.version is None]
        reasons += [f"{row}: {reason}" for row, reason in made.omitted.items()]
        raise BenchError(f"there is nothing to measure ({'; '.join(reasons)})")
    return made, available


def _list(made: plan.Plan, settings: Settings) -> None:
    for row, able in made.cells.items():
        print(f"{row.name:24} {row.label:42} {' '.join(contender.name for contender in able)}")
    for name, reason in made.omitted.items():
        print(f"{name:24} left out: {reason}")
    window, traces = settings.seconds + settings.warmup, settings.warmup + settings.trace_seconds
    seconds = made.seconds(settings.repeats, window, traces if settings.tracing else None)
    print(f"{Schedule.steps(made, settings)} measurements, about {max(1, round(seconds / 60))} min")


def _run(options: argparse.Namespace, scratch: Path) -> Report | None:
    place = environment.describe()
    settings = _settings(options, scratch)
    made, available = _plan(options, settings)
    if options.list:
        _list(made, settings)
        return None
    with Progress(Schedule.steps(made, settings)) as progress:
        outcome = Schedule(made, settings, progress).run()
    return Report(
        command_line=command_line(options),
        environment=place,
        settings=settings.public(),
        rows=list(made.cells),
        contenders=available,
        packages=contenders.package_versions(PACKAGES),
        omitted=made.omitted,
        outcome=outcome,
    )


def _write(report: Report, options: argparse.Namespace) -> None:
    directory = options.output or default_output()
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "results.json").write_text(report.to_json(), encoding="utf-8")
    (directory / "report.md").write_text(markdown(report), encoding="utf-8")
    print(f"\nwrote results.json and report.md to {directory}", file=sys.stderr)
    if not options.no_plots:
        try:
            print(f"wrote {len(plot.plot(report, directory))} plots", file=sys.stderr)
        except BenchError as error:
            print(f"no plots: {error}", file=sys.stderr)
    if options.update_readme:
        readme.update_all(report)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark.

    Args:
        arguments: the command line after the program's name; that of this process unless given.

    Returns:
        0; 1 when a measurement failed or the run was cut short; 2 when it could not begin.
    """
    options = parser().parse_args(arguments)
    try:
        with tempfile.TemporaryDirectory(prefix="netloop-bench-") as scratch:
            report = _run(options, Path(scratch))
        if report is None:
            return 0
        show(report, wide=sys.stdout.isatty(), everything=options.details)
        _write(report, options)
    except (BenchError, OSError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("bench: interrupted", file=sys.stderr)
        return 1
    return 1 if report.outcome.failures or report.outcome.cut_short else 0
