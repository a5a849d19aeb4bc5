"""The tests on another kernel than this machine's.

    cd tests && python -m kernels.run [--work FOLDER] [--seconds N] [--stretch N] KERNEL [PYTEST ARGUMENT ...]

KERNEL is a version of Linux of which Debian has a cloud kernel: 6.1 (Debian 12), 6.12 (Debian 13), or a later one that
Debian 13 has as a backport. It is booted in a virtual machine without any acceleration, with this machine's files as
they are now. pytest runs there with the interpreter that runs this and, unless told otherwise, all of `tests/loop` and
`tests/faults` on netloop. What it prints is printed here, and its exit status is the exit status.

The processor is emulated in software and about twenty times slower than the real one, so the limits of the tests are
stretched; nothing there says anything about speed.

It needs root, and the packages qemu-system-x86, busybox-static and virtiofsd (Debian 12 has that in
qemu-system-common). Where one of them, or the kernel, cannot be had, that is said, and the exit status is 69.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from loop import patience

from kernels.machine import TIMED_OUT, boot, script_of
from kernels.packages import fetch_kernel
from kernels.unavailable import UnavailableError

__all__ = ["main"]

CHECKOUT = Path(__file__).resolve().parents[2]
# Of this process's environment, what the tests have on this machine too.
VARIABLES = ("CI", "HOME", "LANG", "LC_ALL", "PATH", "PYTHONPATH")
# -P: the checkout must not shadow an installed netloop.
PYTEST = [sys.executable, "-P", "-m", "pytest"]
# Where a kernel's name is told from within: that it is the one that was asked for should be seen.
_TOLD = "import os, sys; print('Linux', os.uname().release, flush=True); os.execv(sys.argv[1], sys.argv[1:])"


def main(arguments: list[str] | None = None) -> int:
    """Run tests on the kernel that the command line names; the exit status."""
    options = _options(arguments)
    try:
        with _work_folder(options.work) as work:
            return _run(options, work)
    except UnavailableError as reason:
        print(f"kernel {options.kernel}: not booted, because {reason}", flush=True)
        return os.EX_UNAVAILABLE


def _options(arguments: list[str] | None) -> argparse.Namespace:
    summary = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(prog="python -m kernels.run", description=summary)
    parser.add_argument("--work", type=Path, metavar="FOLDER", help="keep the kernels there, for the next time")
    parser.add_argument("--seconds", type=float, default=3600.0, metavar="N", help="end the machine after that long")
    parser.add_argument("--stretch", type=float, default=10.0, metavar="N", help="multiply the limits of the tests")
    parser.add_argument("kernel", metavar="KERNEL", help="a version, such as 6.1")
    parser.add_argument("pytest", nargs=argparse.REMAINDER, metavar="PYTEST ARGUMENT", help="as pytest takes them")
    return parser.parse_args(arguments)


@contextlib.contextmanager
def _work_folder(given: Path | None) -> Iterator[Path]:
    if given is not None:
        yield given.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="netloop-kernels-") as name:
        yield Path(name)


def _run(options: argparse.Namespace, work: Path) -> int:
    chosen = ["--loops=netloop", *(options.pytest or ["tests/loop", "tests/faults"])]
    kernel = fetch_kernel(options.kernel, work)
    # Collecting here tells wrong arguments at once, and leaves the tests compiled.
    collected = subprocess.run(
        [*PYTEST, "--collect-only", "--quiet", *chosen], cwd=CHECKOUT, capture_output=True, text=True
    )
    if collected.returncode:
        print(collected.stdout + collected.stderr)
        return collected.returncode
    command = [sys.executable, "-c", _TOLD, *PYTEST, "--quiet", "-rfE", *chosen]
    variables = {name: os.environ[name] for name in VARIABLES if name in os.environ}
    variables[patience.VARIABLE] = f"{options.stretch:g}"
    print(f"kernel {options.kernel}: booting {kernel.name}", flush=True)
    begun = time.monotonic()
    status = boot(kernel, script_of(command, CHECKOUT, variables), seconds=options.seconds, output=sys.stdout)
    what = "the tests did not come to their end" if status == TIMED_OUT else f"exit status {status}"
    print(f"kernel {options.kernel} ({kernel.name}): {what}, after {time.monotonic() - begun:.0f} s", flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
