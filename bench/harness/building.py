"""Two states of netloop side by side: how long each takes to install, how large it is, and how fast it runs."""

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from harness import c_build, environment, installs, sources
from harness.contenders import Contender
from harness.errors import BenchError
from harness.figures import FIGURES
from harness.findings import HALF, NOT_MORE, Finding, paired, table
from harness.installs import Install
from harness.plan import Plan
from harness.progress import Progress
from harness.rows import Row
from harness.schedule import Outcome, Schedule
from harness.settings import Settings, choose_cpus
from harness.summary import Summary
from harness.terminal import show_table

BEFORE, AFTER = "before", "after"
#: What both are measured in: bytes through the kernel, and the loop alone.
ROWS = (Row("protocol", 100, 64), Row("call_soon"))
_FIGURE = "cpu_us"
_NO_BUDGET = 86400.0
#: With a higher load average than this a build shares the CPUs with somebody.
_QUIET = 0.7


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python bench/build.py",
        description="Compare how a git revision of netloop and the working tree build, and whether they are as fast.",
    )
    add = parser.add_argument
    add("--before", required=True, metavar="REV", help="the revision to compare the working tree with")
    add("--repeats", type=int, default=3, metavar="N", help="installs of each (3)")
    add("--visits", type=int, default=9, metavar="N", help="measurements of each in every row (9)")
    add("--seconds", type=float, default=0.4, metavar="S", help="length of a measured window (0.4)")
    add("--seed", type=int, default=1, help="of the random order in which they are measured (1)")
    return parser


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = _parser()
    options = parser.parse_args(arguments)
    if not (1 <= options.repeats <= 100 and 1 <= options.visits <= 1000 and 0.05 <= options.seconds <= 60):
        parser.error("--repeats is 1 to 100, --visits 1 to 1000, --seconds 0.05 to 60")
    return options


def _install_all(trees: dict[str, Path], repeats: int, scratch: Path, progress: Progress) -> dict[str, list[Install]]:
    """Install all trees in turn, again and again. Of the installations only the last of each tree is kept."""
    progress.step("what the builds need")
    installs.fetch_requirements(list(trees.values()), scratch)
    done: dict[str, list[Install]] = {name: [] for name in trees}
    for repeat in range(repeats):
        for name, tree in trees.items():
            progress.step(f"install {repeat + 1} of {repeats}: {name}")
            if repeat > 0:
                shutil.rmtree(scratch / f"{name}-{repeat - 1}")
            done[name].append(installs.install(tree, scratch / f"{name}-{repeat}"))
            last = done[name][-1]
            progress.say(f"{name}: installed in {last.seconds:.1f} s, with {last.cpu_seconds:.1f} s of CPU time")
    return done


def _measure(last: dict[str, Install], options: argparse.Namespace, scratch: Path, progress: Progress) -> Outcome:
    server_cpu, load_cpu = choose_cpus()
    settings = Settings(
        programs=c_build.build(),
        scratch=scratch,
        repeats=options.visits,
        seconds=options.seconds,
        warmup=0.1,
        trace_seconds=0.0,
        budget=_NO_BUDGET,
        server_cpu=server_cpu,
        load_cpu=load_cpu,
        seed=options.seed,
        tracing=False,
    )
    able = [Contender(name, environment=install.environment, loop="netloop") for name, install in last.items()]
    return Schedule(Plan(dict.fromkeys(ROWS, able)), settings, progress).run()


def judge_builds(before: list[Install], after: list[Install]) -> list[Finding]:
    """Compare times and sizes of installations made in turn. All of a tree have the same size."""
    return [
        paired("pip install ., s", [one.seconds for one in before], [one.seconds for one in after], HALF),
        paired("pip install ., CPU s", [one.cpu_seconds for one in before], [one.cpu_seconds for one in after], None),
        paired("compiled modules, KiB", [before[-1].module_bytes / 1024], [after[-1].module_bytes / 1024], HALF),
    ]


def judge_speed(outcome: Outcome) -> list[Finding]:
    """Compare the CPU time per message of the rows in which both were measured."""
    summary = Summary(outcome.samples, outcome.failures)
    found = []
    for row in ROWS:
        before, after = (summary.figure(row.name, name, _FIGURE) for name in (BEFORE, AFTER))
        ratio = summary.ratio(row.name, AFTER, BEFORE, _FIGURE)
        if before is not None and after is not None and ratio is not None:
            what = f"{row.label}, {FIGURES[_FIGURE].caption}"
            found.append(Finding(what, before, after, ratio, NOT_MORE, tolerant=True))
    return found


def _run(options: argparse.Namespace, scratch: Path) -> tuple[list[Finding], Outcome]:
    commit = sources.commit_of(options.before)
    trees = {BEFORE: scratch / BEFORE, AFTER: scratch / AFTER}
    sources.copy_revision(commit, trees[BEFORE])
    sources.copy_working_tree(trees[AFTER])
    place = environment.describe()
    print(f"before: revision {commit}; after: the working tree, {sources.commit_of('HEAD')} and what has changed since")
    print(f"{place['kernel']}, {place['cpu']}, {place['cpus']} CPUs, {place['python']}, {place['compiler']}")
    print(f"load average {place['load_average_before']}", flush=True)
    if place["load_average_before"] > _QUIET:
        print("others are using this machine: of the times only the CPU times mean something", flush=True)
    with Progress(1 + options.repeats * len(trees) + options.visits * len(trees) * len(ROWS)) as progress:
        done = _install_all(trees, options.repeats, scratch, progress)
        outcome = _measure({name: several[-1] for name, several in done.items()}, options, scratch, progress)
    return [*judge_builds(done[BEFORE], done[AFTER]), *judge_speed(outcome)], outcome


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, and print what was found.

    Args:
        arguments: the command line after the program's name; that of this process unless given.

    Returns:
        0; 1 when a target is missed, a measurement failed or the run was interrupted; 2 when there is nothing to judge.
    """
    options = _options(arguments)
    try:
        with tempfile.TemporaryDirectory(prefix="netloop-build-") as scratch:
            found, outcome = _run(options, Path(scratch))
    except (BenchError, OSError) as error:
        print(f"bench/build.py: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("bench/build.py: interrupted", file=sys.stderr)
        return 1
    show_table(
        table("Median [quartiles]; the ratio's are those of the pairs; less is better", found), sys.stdout.isatty()
    )
    print(f"load average at the end {os.getloadavg()[0]:.2f}")
    for (row, name), failure in outcome.failures.items():
        print(f"ERROR {row} on {name}: {failure}")
    if outcome.cut_short is not None:
        print(f"the run is incomplete: {outcome.cut_short}")
    complete = not outcome.failures and outcome.cut_short is None
    return 0 if complete and all(one.met for one in found) else 1
