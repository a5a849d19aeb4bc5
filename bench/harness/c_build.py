"""Compiles the C programs into a cache directory outside the source tree, once per state of the sources."""

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from harness.errors import BenchError

SOURCES = Path(__file__).resolve().parent.parent / "c"
FLAGS = ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror"]
PROGRAMS = {
    "load": "load client connecting descriptors tls load_report load_errors load_options http_reply cpu_time "
    "stream_source file_bytes histogram fail",
    "herd": "herd descriptors load_report load_errors load_options cpu_time stream_source histogram fail",
    "packet_load": "packet_load packets load_report load_errors load_options cpu_time histogram file_bytes fail",
    "packet_server": "packet_server packets listener file_bytes fail",
    "echo_epoll": "echo_epoll listener fail",
    "echo_uring": "echo_uring forward uring listener fail",
    "relay_uring": "relay_uring forward uring listener fail",
}
COMPILE_TIMEOUT = 120.0


def compiler() -> str:
    """Return the C compiler: ``$CC``, else gcc.

    Raises:
        BenchError: there is none.
    """
    name = os.environ.get("CC", "gcc")
    if shutil.which(name) is None:
        raise BenchError(f"the C compiler “{name}” is not found; install gcc (Debian: gcc, libc6-dev) or set CC")
    return name


def _fingerprint(command: str) -> str:
    digest = hashlib.sha256(" ".join([command, *FLAGS]).encode())
    for path in sorted(SOURCES.glob("*.[ch]")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _cache_directory() -> Path:
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "netloop-bench"
    try:
        base.mkdir(parents=True, exist_ok=True)
    except OSError:
        # A read-only or missing home: build again each time, which takes a second or two.
        return Path(tempfile.mkdtemp(prefix="netloop-bench-"))
    return base


def _compile(command: str, program: str, output: Path) -> None:
    sources = [str(SOURCES / f"{name}.c") for name in PROGRAMS[program].split()]
    arguments = [command, *FLAGS, "-o", str(output / program), *sources, "-ldl"]
    try:
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=COMPILE_TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        raise BenchError(f"compiling {program} took longer than {COMPILE_TIMEOUT:.0f} s") from None
    if done.returncode != 0:
        raise BenchError(f"{program} does not compile:\n{done.stderr.strip()}")


def build() -> Path:
    """Return the directory that holds the programs, compiling them when their sources changed.

    Raises:
        BenchError: no compiler, or a program does not compile.
    """
    command = compiler()
    base = _cache_directory()
    finished = base / _fingerprint(command)
    if finished.is_dir():
        return finished
    with tempfile.TemporaryDirectory(dir=base) as scratch:
        output = Path(scratch) / "programs"
        output.mkdir()
        for program in PROGRAMS:
            _compile(command, program, output)
        try:
            # Renamed as a whole, so that two benchmarks started at once never see half a build.
            output.rename(finished)
        except OSError:
            if not finished.is_dir():
                raise
    return finished
