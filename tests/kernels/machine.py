"""A virtual machine that boots one kernel, sees this machine's files, runs a script and is gone.

qemu emulates the processor in software, which needs no privilege of the hardware and is about twenty times slower than
the real one. The files come by virtiofs, because cloud kernels have no 9p. The script's output comes by the second
serial port, and as its last line the exit status.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from kernels.initramfs import build
from kernels.packages import Kernel
from kernels.unavailable import UnavailableError

__all__ = ["boot", "script_of"]

QEMU = "qemu-system-x86_64"
VIRTIOFSD = ("virtiofsd", "/usr/libexec/virtiofsd", "/usr/lib/qemu/virtiofsd")
# One test asks for 4 GiB that it never touches; only what is touched is taken from this machine.
MEMORY = "6G"
# The clock and the timer are taken as they are: measured or tried on a busy machine, they seem to be wrong.
OPTIONS = (
    "console=ttyS0 quiet panic=-1 net.ifnames=0 mitigations=off audit=0 apparmor=0 tsc=unstable clocksource=hpet "
    "random.trust_cpu=on no_timer_check"
)
START_SECONDS = 10.0
TIMED_OUT = 124
_STATUS = "exit status of the job: "
# What the job runs in, and what it ends with. A terminal would make carriage returns of it.
_SCRIPT = """\
stty -F /dev/ttyS1 raw -echo
ulimit -n 20000
cd {folder}
setsid env -i {variables} TMPDIR=/run/tmp {command} </dev/null 2>&1 | cat >/dev/ttyS1
echo "{status}${{PIPESTATUS[0]}}" >/dev/ttyS1
/run/busybox poweroff -f
"""


def script_of(command: list[str], folder: Path, variables: dict[str, str]) -> str:
    """The script that runs a command in a folder, with these variables and no others."""
    pairs = [f"{name}={value}" for name, value in variables.items()]
    return _SCRIPT.format(
        folder=shlex.quote(str(folder)),
        variables=shlex.join(pairs),
        command=shlex.join(command),
        status=_STATUS,
    )


def boot(kernel: Kernel, script: str, *, seconds: float, output: TextIO) -> int:
    """Boot a kernel, run a script on it with its output copied to ``output``, and return its exit status.

    Raises:
        UnavailableError: this machine cannot do that.
    """
    if shutil.which(QEMU) is None:
        raise UnavailableError(f"there is no {QEMU}: apt-get install qemu-system-x86")
    with tempfile.TemporaryDirectory(prefix="netloop-kernel-") as name, _shared_root(Path(name)) as socket:
        initramfs, console = Path(name, "initramfs"), Path(name, "console")
        initramfs.write_bytes(build(kernel.folder, script))
        with subprocess.Popen(
            _command(kernel.image, initramfs, console, socket),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        ) as machine:
            status = _follow(machine, seconds, output)
            assert machine.stderr is not None
            complaints = machine.stderr.read()
        if status is None:
            _tell_end(console, complaints, output)
            return TIMED_OUT
        _tell_kernel_warnings(console, output)
    return status


def _command(image: Path, initramfs: Path, console: Path, socket: Path) -> list[str]:
    # Two processors, because a loop may have its I/O done on several.
    return [
        *(QEMU, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        *("-machine", "q35,memory-backend=memory", "-m", MEMORY, "-smp", "2"),
        # Memory is shared with virtiofsd.
        *("-object", f"memory-backend-memfd,id=memory,size={MEMORY},share=on"),
        # Leaving out what is expensive to emulate: protection of user pages and page tables of five levels.
        *("-accel", "tcg,thread=single,tb-size=1024", "-cpu", "max,la57=off,smap=off,smep=off"),
        *("-kernel", str(image), "-initrd", str(initramfs), "-append", OPTIONS),
        *("-serial", f"file:{console}", "-serial", "stdio"),
        *("-chardev", f"socket,id=host,path={socket}"),
        *("-device", "vhost-user-fs-pci,chardev=host,tag=host,queue-size=1024"),
    ]


@contextlib.contextmanager
def _shared_root(folder: Path) -> Iterator[Path]:
    """Share this machine's files with virtual machines through the socket that is yielded."""
    program = next((found for each in VIRTIOFSD if (found := shutil.which(each))), None)
    if program is None:
        raise UnavailableError("there is no virtiofsd: apt-get install virtiofsd, or qemu-system-common on Debian 12")
    socket, log = folder / "host", folder / "virtiofsd"
    sandbox = "chroot" if os.geteuid() == 0 else "none"
    settings = [part for each in ("source=/", "cache=always", f"sandbox={sandbox}") for part in ("-o", each)]
    with log.open("w") as stream:
        command = [program, f"--socket-path={socket}", *settings, "--thread-pool-size=0"]
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream)
    try:
        end = time.monotonic() + START_SECONDS
        while not socket.exists():
            if server.poll() is not None or time.monotonic() > end:
                raise UnavailableError(f"{program} does not start: {log.read_text().strip() or 'it says nothing'}")
            time.sleep(0.05)
        yield socket
    finally:
        server.terminate()
        server.wait()


def _follow(machine: subprocess.Popen[str], seconds: float, output: TextIO) -> int | None:
    """Copy what the job says, and return its exit status; None if it did not come to its end in that time."""
    status = None
    watchdog = threading.Timer(seconds, machine.kill)
    watchdog.start()
    try:
        assert machine.stdout is not None
        line, shown = "", 0
        while character := machine.stdout.read(1):
            line += character
            if character == "\n" and line.startswith(_STATUS):
                status = int(line.removeprefix(_STATUS))
            elif character == "\n" or not (line.startswith(_STATUS) or _STATUS.startswith(line)):
                # Not line by line: whoever watches wants to see the dots.
                output.write(line[shown:])
                output.flush()
                shown = len(line)
            if character == "\n":
                line, shown = "", 0
    finally:
        watchdog.cancel()
        machine.kill()
    return status


def _tell_end(console: Path, complaints: str, output: TextIO) -> None:
    """Show what is known of a machine that has not told the job's exit status."""
    lines = console.read_text(errors="replace").splitlines() if console.exists() else []
    print("The machine has ended, or was ended, before the job did. Its console and qemu's errors:", file=output)
    print("\n".join([*lines[-40:], complaints.strip()]), file=output)


def _tell_kernel_warnings(console: Path, output: TextIO) -> None:
    """Show what the kernel has complained of: a warning of its own may be a test's doing."""
    for line in console.read_text(errors="replace").splitlines():
        if re.search(r"\b(WARNING|BUG|Oops|blocked for more than|Out of memory)\b", line):
            print(f"The kernel says: {line}", file=output)
