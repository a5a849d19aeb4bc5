"""The C core: compiles the programs in tests/c with sanitizers and runs each of their cases as a test of its own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CORE = ROOT / "cext"
SOURCES = sorted((ROOT / "tests" / "c").glob("test_*.c"))
CASE = re.compile(r"^CASE\((\w+)\)", re.MULTILINE)
CASES = {source.stem: CASE.findall(source.read_text()) for source in SOURCES}

CFLAGS = [
    *("-std=c11", "-D_GNU_SOURCE", "-pthread", "-Wall", "-Wextra", "-Werror", "-O1", "-g"),
    *("-fsanitize=address,undefined", "-fno-sanitize-recover=all"),
]
LINK_FLAGS = {
    # This program makes the core's own allocations fail, and that one what it asks the kernel.
    "test_memory": ["-Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=mmap"],
    "test_wake": ["-Wl,--wrap=syscall"],
}
CASE_SECONDS = 20


def compile_all(commands: Iterable[list[str]]) -> None:
    """Run compilers side by side; the first that fails is reported with what it said."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for done in pool.map(lambda command: subprocess.run(command, capture_output=True, text=True), commands):
            if done.returncode:
                pytest.fail(f"{' '.join(done.args)}\n{done.stderr}", pytrace=False)


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the compiled test programs."""
    gcc = shutil.which("gcc")
    if gcc is None:
        pytest.skip("the tests of the C core need gcc")
    directory = tmp_path_factory.mktemp("cext")
    core = [CORE / name for name in sorted(os.listdir(CORE)) if name.endswith(".c")]
    objects = {source: str(directory / f"{source.stem}.o") for source in core}
    compile_all([gcc, *CFLAGS, "-c", str(source), "-o", objects[source]] for source in core)
    compile_all(
        [gcc, *CFLAGS, f"-I{CORE}", str(source), *objects.values(), *LINK_FLAGS.get(source.stem, ()),
         "-o", str(directory / source.stem)]
        for source in SOURCES
    )  # fmt: skip
    return directory


def run(program: Path, argument: str) -> subprocess.CompletedProcess[str]:
    # A sanitizer build of the Python modules preloads its run-time library and sets its own options; these programs
    # bring theirs.
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    environment["ASAN_OPTIONS"] = "detect_leaks=1"
    environment["UBSAN_OPTIONS"] = "print_stacktrace=1"
    return subprocess.run(
        [program, argument], capture_output=True, text=True, timeout=CASE_SECONDS, env=environment, errors="replace"
    )


@pytest.mark.parametrize(("program", "case"), [(program, case) for program in CASES for case in CASES[program]])
def test_case(programs: Path, program: str, case: str) -> None:
    done = run(programs / program, case)
    if done.returncode:
        pytest.fail(f"{program} {case} ended with {done.returncode}\n{done.stdout}{done.stderr}", pytrace=False)


@pytest.mark.parametrize("program", CASES)
def test_every_case_of_a_program_is_run(programs: Path, program: str) -> None:
    done = run(programs / program, "--list")
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.split()) == sorted(CASES[program])


def test_an_unknown_case_is_an_error(programs: Path) -> None:
    program = next(iter(CASES))
    done = run(programs / program, "no_such_case")
    assert done.returncode == 2
    assert "no_such_case" in done.stderr
