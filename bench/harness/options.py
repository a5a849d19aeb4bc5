"""The command line of the benchmark and its two profiles."""

import argparse
import shlex
from dataclasses import dataclass
from pathlib import Path

from harness import contenders, rows

HERE = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Profile:
    """Defaults for everything that decides how long a run takes (seconds). ``peers`` are measured in a part of it."""

    rows: tuple[rows.Row, ...]
    loops: tuple[str, ...]
    peers: tuple[str, ...]
    repeats: int
    seconds: float
    warmup: float
    trace_seconds: float
    budget: float


PROFILES = {
    "quick": Profile(rows.QUICK, contenders.MAIN, (), 3, 0.3, 0.1, 0.15, 165.0),
    "full": Profile(rows.FULL, contenders.MAIN, contenders.PEERS, 5, 0.4, 0.1, 0.15, 3600.0),
}

#: What does not change the measurements is left out of the recorded command line.
_OUTPUT_OPTIONS = ("output", "no_plots", "details", "list", "update_readme")


def _positive(text: str) -> float:
    value = float(text)
    if not 0.05 <= value <= 86400.0:
        raise argparse.ArgumentTypeError("must be a number of seconds from 0.05 to 86400")
    return value


def _repeats(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 1000:
        raise argparse.ArgumentTypeError("must be a whole number from 1 to 1000")
    return value


def default_output() -> Path:
    """Return where results go: ``bench/results`` in a checkout, ``netloop-bench`` here for an installed package."""
    return HERE / "results" if (HERE.parent / "pyproject.toml").exists() else Path("netloop-bench")


def parser() -> argparse.ArgumentParser:
    """Return the benchmark's parser."""
    result = argparse.ArgumentParser(
        prog="python -m netloop bench",
        description="Compare event loops as servers, with each other and with servers in C.",
    )
    add = result.add_argument
    add("--profile", choices=PROFILES, default="quick", help="quick: under three minutes; full: under an hour")
    add("--rows", nargs="+", metavar="ROW", help="rows or patterns: protocol:100x1k, 'protocol:*x64', aiohttp:100")
    add("--loops", nargs="+", choices=contenders.ALL, metavar="LOOP", help=f"out of {', '.join(contenders.ALL)}")
    add("--repeats", type=_repeats, metavar="N", help="visits of every row (quick 3, full 5)")
    add("--seconds", type=_positive, metavar="S", help="length of a measured window (quick 0.3, full 0.4)")
    add("--warmup", type=_positive, metavar="S", help="checked but uncounted traffic before it (0.1)")
    add(
        "--budget",
        type=_positive,
        metavar="S",
        help="begin no measurement after this time (quick 165, full 3600; none for chosen rows or loops)",
    )
    add("--no-trace", action="store_true", help="do not count system calls")
    add("--server-cpu", type=int, metavar="CPU", help="CPU for the server (default: the last one allowed)")
    add("--load-cpu", type=int, metavar="CPU", help="CPU for the load (default: the last but one)")
    add("--seed", type=int, default=1, help="of the random order (default 1)")
    add("--output", type=Path, metavar="DIR", help=f"where results go (default: {default_output()})")
    add("--no-plots", action="store_true", help="draw no plots")
    add("--details", action="store_true", help="print the long table too; it is in the Markdown report in any case")
    add("--update-readme", action="store_true", help="in a checkout: write the figures into the READMEs")
    add("--list", action="store_true", help="say what would be measured and how long it would take, and end")
    return result


def command_line(options: argparse.Namespace) -> str:
    """Return the command line that makes the same measurements."""
    words = ["python", "-m", "netloop", "bench"]
    for name, value in vars(options).items():
        if name in _OUTPUT_OPTIONS or value is None or value is False:
            continue
        words.append("--" + name.replace("_", "-"))
        if isinstance(value, list):
            words += value
        elif value is not True:
            words.append(str(value))
    return shlex.join(words)
