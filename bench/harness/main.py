"""From the command line to the report."""

import argparse
import os
import sys

from harness import c_build, contenders, environment, plot, readme, rows, tables
from harness.errors import BenchError
from harness.options import PROFILES, command_line, parser
from harness.progress import Progress
from harness.report import Report
from harness.schedule import Schedule
from harness.settings import Settings, choose_cpus
from harness.summary import summarise


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


def _settings(options: argparse.Namespace) -> Settings:
    profile = PROFILES[options.profile]
    server_cpu, load_cpu = _cpus(options)
    return Settings(
        programs=c_build.build(),
        repeats=options.repeats or profile.repeats,
        seconds=options.seconds or profile.seconds,
        warmup=options.warmup or profile.warmup,
        trace_seconds=profile.trace_seconds,
        budget=options.budget or profile.budget,
        server_cpu=server_cpu,
        load_cpu=load_cpu,
        seed=options.seed,
        tracing=not options.no_trace,
    )


def _run(options: argparse.Namespace) -> Report:
    profile = PROFILES[options.profile]
    place = environment.describe()
    settings = _settings(options)
    wanted = [contenders.ALL[name] for name in dict.fromkeys(options.loops or profile.loops)]
    available = {contender.name: contenders.check(contender, settings.programs) for contender in wanted}
    running = [contender for contender in wanted if available[contender.name].version is not None]
    aiohttp = contenders.check_aiohttp()
    chosen = [row for row in rows.select(options.rows, profile.rows) if aiohttp is not None or not row.http]
    if not chosen or not running:
        reasons = "; ".join(f"{name}: {found.reason}" for name, found in available.items() if found.version is None)
        raise BenchError(f"there is nothing to measure ({reasons or 'aiohttp is not installed'})")
    with Progress(Schedule.steps(chosen, running, settings)) as progress:
        outcome = Schedule(chosen, running, settings, progress).run()
    cells = summarise(outcome.samples)
    return Report(command_line(options), place, settings, chosen, available, aiohttp, outcome, cells)


def _write(report: Report, options: argparse.Namespace) -> None:
    if options.json is not None:
        options.json.write_text(report.to_json(), encoding="utf-8")
    if options.markdown is not None:
        options.markdown.write_text(tables.markdown(report), encoding="utf-8")
    if options.plot is not None:
        for path in plot.plot(report, options.plot):
            print(f"wrote {path}", file=sys.stderr)
    if options.update_readme:
        readme.update(tables.markdown(report))


def main() -> int:
    """Run the benchmark; return 0, 1 when a measurement failed or the run was cut short, 2 when it could not begin."""
    options = parser().parse_args()
    try:
        if options.plot is not None:
            plot.check()
        report = _run(options)
        tables.show(report, wide=sys.stdout.isatty())
        _write(report, options)
    except (BenchError, OSError) as error:
        print(f"bench/run.py: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("bench/run.py: interrupted", file=sys.stderr)
        return 1
    return 1 if report.outcome.failures or report.outcome.cut_short else 0
