"""The table in DIFFERENCES.md: written from differences.py, after the tests have shown that it is true.

`python -m loop.table` (in the folder tests) runs tests/loop on all three loops. What is expected to fail must fail,
which the suite asserts of itself; what is skipped there, because it would hang or end the process, is tried here in a
process of its own. An entry may stand for a test with all its parameters, and for a race that is not lost every time;
it counts as proved when one of its tests has failed. Only then the table is written. tests/unit/test_differences.py
compares it with differences.py, so that neither changes without the other.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .differences import DIFFERENCES, Difference

__all__ = ["BEGIN", "DOCUMENT", "END", "LOOPS", "VERSION", "render", "rows", "table_of"]

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = Path(__file__).with_name("DIFFERENCES.md")
BEGIN, END = "<!-- differences: begin -->", "<!-- differences: end -->"
LOOPS = ("asyncio", "uvloop", "netloop")
# Differences depend on the version of Python; the table tells of this one.
VERSION = (3, 13)
AS_ASYNCIO, NOT_COMPARED = "✓", "not compared"
BAD_INPUT, REPORTS = "bad input", "log and reports"
# What one test may take on its own, in seconds, before it counts as hung, and how many are tried at a time.
LIMIT = 10
AT_ONCE = 2
# How often the tests of an entry are tried before it counts as wrong because they have passed each time.
TRIES = 5

SUBJECTS = {
    "test_bad_connections": BAD_INPUT,
    "test_bad_input": BAD_INPUT,
    "test_bad_transport_calls": BAD_INPUT,
    "test_client": "create_connection",
    "test_closed_watchers": "add_reader, add_writer",
    "test_datagram": "datagrams",
    "test_end_of_run": "closing",
    "test_log_lines": REPORTS,
    "test_foreign_datagrams": "datagrams",
    "test_names": "getaddrinfo",
    "test_server": "create_server",
    "test_server_calls": "create_server",
    "test_signatures": "signatures",
    "test_subprocess": "subprocesses",
    "test_tls": "TLS",
    "test_tls_options": "TLS",
    "test_unix": "UNIX sockets",
    "test_watchers": "add_reader, add_writer",
    "test_write": "writing",
}


@dataclass(frozen=True)
class Row:
    """What several tests of one subject find that some loop does otherwise, for the same reason."""

    subject: str
    tests: tuple[str, ...]
    cells: tuple[str, ...]


def rows(differences: Mapping[str, Mapping[str, Difference]]) -> list[Row]:
    """The table's rows in the order of their subjects; tests with the same differences share one."""
    tests = sorted({test for table in differences.values() for test in table})
    groups: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for test in tests:
        cells = tuple(cell_of(test, loop, differences.get(loop, {}).get(test)) for loop in LOOPS)
        groups.setdefault((subject_of(test), cells), []).append(test)
    made = [Row(subject, tuple(found), cells) for (subject, cells), found in groups.items()]
    return sorted(made, key=lambda row: (row.subject.lower(), row.tests))


def subject_of(test: str) -> str:
    module = test.partition("::")[0]
    return SUBJECTS.get(module, module.removeprefix("test_").replace("_", " "))


def cell_of(test: str, loop: str, difference: Difference | None) -> str:
    if loop == "uvloop" and subject_of(test) in (BAD_INPUT, REPORTS):
        return NOT_COMPARED
    if difference is None:
        return AS_ASYNCIO
    return ("at times: " if difference.at_times else "") + difference.reason


def label_of(test: str) -> str:
    """A test's name in words, or the expression that it evaluates."""
    function, _, parameters = test.partition("::")[2].partition("[")
    parameters = parameters.removesuffix("]").replace("|", "\\|")
    if "(" in parameters:
        return f"`{parameters}`"
    words = function.removeprefix("test_").replace("_", " ")
    return f"{words} (`{parameters}`)" if parameters else words


def render(made: list[Row]) -> str:
    """The table in Markdown."""
    lines = [f"| behaviour, by what is tested | {' | '.join(LOOPS)} |", "|---|" + "---|" * len(LOOPS)]
    for row in made:
        more = f", and {len(row.tests) - 1} more" if len(row.tests) > 1 else ""
        lines.append(f"| {row.subject}: {label_of(row.tests[0])}{more} | {' | '.join(row.cells)} |")
    return "\n".join(lines) + "\n"


def table_of(text: str) -> str:
    """What stands between the two marks of a document."""
    _, begin, rest = text.partition(BEGIN + "\n")
    table, end, _ = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"no table between {BEGIN} and {END}")
    return table


def with_table(text: str, table: str) -> str:
    """The document with another table between its marks."""
    table_of(text)  # raises where there is none
    before, _, rest = text.partition(BEGIN + "\n")
    return f"{before}{BEGIN}\n{table}{END}{rest.partition(END)[2]}"


# Proving it ------------------------------------------------------------------------------------------------------


def pytest_run(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def suite(*options: str) -> subprocess.CompletedProcess[str]:
    """Run tests/loop on the loops that each file is for. Named on the command line, they would hold for every file."""
    return pytest_run(*options, "tests/loop")


def suite_holds() -> bool:
    """Run tests/loop on all loops; what is expected to fail and passes is a failure."""
    done = suite()
    if done.returncode:
        print(done.stdout[-8000:], done.stderr[-2000:], file=sys.stderr)
    return not done.returncode


def skipped_tests() -> list[str]:
    """The identifiers of all tests that are skipped because of an entry in differences.py."""
    done = suite("--try-skipped", "--collect-only")
    return [line for line in done.stdout.splitlines() if re.match(r"tests/loop/\w+\.py::", line)]


def passes(test: str) -> bool:
    """Try one test in a process of its own, which may hang or be killed."""
    return pytest_run("--try-skipped", f"--limit={LIMIT}", test).returncode == 0


def entry_of(test: str) -> tuple[str, str]:
    """The loop and the name of the entry in differences.py because of which a test is skipped."""
    found = re.fullmatch(r"tests/loop/(\w+)\.py::(?:\w+::)*(\w+)\[(.*)\]", test, re.DOTALL)
    if found is None:
        raise ValueError(f"this is no test that is run on several loops: {test}")
    module, function, parameters = found.groups()
    loop = next(part for part in parameters.split("-") if part in LOOPS)
    others = "-".join(part for part in parameters.split("-") if part != loop)
    exact, general = f"{module}::{function}[{others}]", f"{module}::{function}"
    return loop, exact if exact in DIFFERENCES[loop] else general


def unproved(outcomes: Mapping[str, bool]) -> set[tuple[str, str]]:
    """The entries of which every test has passed, given for each test whether it has."""
    return {entry_of(test) for test in outcomes} - {entry_of(test) for test, passed in outcomes.items() if not passed}


def tried(tests: Sequence[str]) -> set[tuple[str, str]]:
    """Try tests that are skipped in the suite; return the entries that are not proved by one that fails."""
    left: set[tuple[str, str]] = set()
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        for _ in range(TRIES):
            left = unproved(dict(zip(tests, pool.map(passes, tests), strict=True)))
            tests = [test for test in tests if entry_of(test) in left]
    return left


def main() -> int:
    """Prove the differences and write the table; 1 if they do not hold."""
    parser = argparse.ArgumentParser(prog="python -m loop.table", description="Write DIFFERENCES.md's table.")
    parser.add_argument("--unproved", action="store_true", help="write the table without running anything")
    options = parser.parse_args()
    if sys.version_info[:2] != VERSION:
        parser.error(f"the table is of Python {VERSION[0]}.{VERSION[1]}")
    if not options.unproved:
        if not suite_holds():
            return 1
        tests = skipped_tests()
        print(f"trying {len(tests)} tests that are skipped in the suite, each in a process of its own")
        if stale := tried(tests):
            print("all tests of these pass, against what differences.py says:", file=sys.stderr)
            print(*(f"{loop}: {name}" for loop, name in sorted(stale)), sep="\n", file=sys.stderr)
            return 1
    DOCUMENT.write_text(with_table(DOCUMENT.read_text(), render(rows(DIFFERENCES))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
