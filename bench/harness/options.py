"""The command line of the benchmark and its two profiles."""

import argparse
import shlex
from dataclasses import dataclass
from pathlib import Path

from harness import contenders, rows


@dataclass(frozen=True)
class Profile:
    """Defaults for everything that decides how long a run takes (seconds)."""

    rows: tuple[rows.Row, ...]
    loops: tuple[str, ...]
    repeats: int
    seconds: float
    warmup: float
    trace_seconds: float
    budget: float


PROFILES = {
    "quick": Profile(rows.QUICK, contenders.QUICK, 5, 0.4, 0.1, 0.2, 165.0),
    "full": Profile(rows.FULL, contenders.FULL, 7, 1.0, 0.3, 0.5, 3600.0),
}

#: Where results go is nobody's business but the caller's: left out of the recorded command line.
_OUTPUT_OPTIONS = ("json", "markdown", "plot", "update_readme")


def _positive(text: str) -> float:
    value = float(text)
    if not 0.05 <= value <= 7200.0:
        raise argparse.ArgumentTypeError("must be a number of seconds from 0.05 to 7200")
    return value


def _repeats(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 1000:
        raise argparse.ArgumentTypeError("must be a whole number from 1 to 1000")
    return value


def parser() -> argparse.ArgumentParser:
    """Return the parser of ``bench/run.py``."""
    result = argparse.ArgumentParser(prog="bench/run.py", description="Compares event loops as TCP and HTTP servers.")
    add = result.add_argument
    add("--profile", choices=PROFILES, default="quick", help="quick: under three minutes; full: most of an hour")
    add("--rows", nargs="+", metavar="ROW", help="rows or patterns: protocol:100x1k, 'protocol:*x64', aiohttp:100")
    add("--loops", nargs="+", choices=contenders.ALL, metavar="LOOP", help=f"out of {', '.join(contenders.ALL)}")
    add("--repeats", type=_repeats, metavar="N", help="visits of every row (quick 5, full 7)")
    add("--seconds", type=_positive, metavar="S", help="length of a measured window (quick 0.4, full 1)")
    add("--warmup", type=_positive, metavar="S", help="checked but uncounted traffic before it (quick 0.1, full 0.3)")
    add("--budget", type=_positive, metavar="S", help="begin no measurement after this time (quick 165, full 3600)")
    add("--no-trace", action="store_true", help="do not count system calls")
    add("--server-cpu", type=int, metavar="CPU", help="CPU for the server (default: the last one allowed)")
    add("--load-cpu", type=int, metavar="CPU", help="CPU for the load (default: the last but one)")
    add("--seed", type=int, default=1, help="of the random order (default 1)")
    add("--json", type=Path, metavar="FILE", help="write everything, single samples included")
    add("--markdown", type=Path, metavar="FILE", help="write the tables")
    add("--plot", type=Path, metavar="DIR", help="write plots (needs matplotlib)")
    add("--update-readme", action="store_true", help="paste the tables into bench/README.md")
    return result


def command_line(options: argparse.Namespace) -> str:
    """Return the command line that makes the same measurements."""
    words = ["bench/run.py"]
    for name, value in vars(options).items():
        if name in _OUTPUT_OPTIONS or value is None or value is False:
            continue
        words.append("--" + name.replace("_", "-"))
        if isinstance(value, list):
            words += value
        elif value is not True:
            words.append(str(value))
    return shlex.join(words)
