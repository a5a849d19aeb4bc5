"""What a stress test found: a table, JSON, and a plot."""

from __future__ import annotations

import dataclasses
import importlib
import json
import platform
import sys
from pathlib import Path
from typing import Any

import netloop
from netloop.tools.stress.options import Options
from netloop.tools.stress.scenarios import QUANTILES, Outcome
from netloop.tools.table import show_table

__all__ = ["plot", "show", "write"]

#: Time since the start in seconds, connections open, failures.
History = list[tuple[float, int, int]]


def show(outcome: Outcome, options: Options) -> None:
    """Print the table, and what failed."""
    verdict = {True: "good", False: "bad", None: ""}
    rows = [(line.what, line.value, verdict[line.good]) for line in outcome.lines]
    rows += [(f"failed: {reason}", f"{count:,}", "bad") for reason, count in sorted(outcome.failures.items())]
    if not outcome.failures:
        rows.append(("failures", "0", "good"))
    servers = "a server of our own" if options.workers == 1 else f"{options.workers} servers of our own"
    where = "{}:{}".format(*options.address) if options.address else servers
    title = f"Scenario {options.scenario}: {options.connections:,} connections to {where} ({options.server})"
    styles = {"good": "green", "bad": "red"}
    show_table(title, ("what", "measured", ""), rows, stream=sys.stdout, styles=styles)


def write(outcome: Outcome, options: Options, history: History) -> Path:
    """Write results.json into the output directory and return its path."""
    options.output.mkdir(parents=True, exist_ok=True)
    settings: dict[str, Any] = dataclasses.asdict(options)
    del settings["output"], settings["plots"]
    latencies = {
        phase: {
            "count": found.count,
            "max": found.greatest,
            **{
                f"p{share * 100:g}": point
                for share, point in zip(QUANTILES, found.quantiles(list(QUANTILES)), strict=False)
            },
        }
        for phase, found in outcome.latencies.items()
    }
    document = {
        "netloop": netloop.__version__,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "options": settings,
        "good": outcome.good,
        "lines": [dataclasses.asdict(line) for line in outcome.lines],
        "latencies_seconds": latencies,
        "failures": outcome.failures,
        "history": [[round(moment, 2), now_open, failed] for moment, now_open, failed in history],
    }
    path = options.output / "results.json"
    path.write_text(json.dumps(document, indent=1) + "\n")
    return path


def plot(outcome: Outcome, options: Options, history: History) -> list[Path]:
    """Draw connections over time and the latencies; nothing where matplotlib is not installed. Returns the files."""
    try:
        # By name, so that the sources can be type-checked where matplotlib is not installed.
        importlib.import_module("matplotlib").use("Agg")
        pyplot = importlib.import_module("matplotlib.pyplot")
    except ImportError:
        return []

    picture, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4))
    left.plot([moment for moment, _, _ in history], [now_open for _, now_open, _ in history])
    left.set(xlabel="seconds", ylabel="connections open", ylim=(0, None))
    shares = [1 - 10 ** (-step / 10) for step in range(1, 41)]
    for phase, found in outcome.latencies.items():
        points = found.quantiles(shares)
        if points:
            right.plot([1 / (1 - share) for share in shares], [point * 1e3 for point in points], label=phase)
    right.set(xscale="log", yscale="log", ylabel="round trip, ms")
    right.set_xticks([2, 10, 100, 1000, 10_000], ["50 %", "90 %", "99 %", "99.9 %", "99.99 %"])
    right.minorticks_off()
    right.grid(linewidth=0.3)
    if outcome.latencies:
        right.legend(fontsize="small")
    picture.suptitle(f"Scenario {options.scenario}, {options.connections:,} connections")
    picture.tight_layout()
    paths = [options.output / f"stress.{kind}" for kind in ("svg", "png")]
    for path in paths:
        picture.savefig(path)
    pyplot.close(picture)
    return paths
