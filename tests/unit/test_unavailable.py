"""What a person is told when io_uring cannot be set up: who refused it, how we can tell, and what to do."""

from __future__ import annotations

import errno
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from netloop.setup.surroundings import Surroundings
from netloop.setup.unavailable import Unavailable, explain

ROOT_CAPABILITIES = "000001ffffffffff"
NO_CAPABILITIES = "0000000000000000"
WHOLE_SYSTEM = "0 0 4294967295"
LIMITS = "Limit Soft Limit Hard Limit Units\nMax open files 64 128 files\nMax locked memory {memlock} {memlock} bytes\n"


class Machine:
    """A pretended machine: what its /proc says, in a directory of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.write("/proc/sys/kernel/osrelease", "6.8.0-45-generic\n")
        self.write("/proc/version", "Linux version 6.8.0-45-generic (buildd@lcy02) #45-Ubuntu SMP\n")
        self.write("/proc/self/limits", LIMITS.format(memlock=8_388_608))
        self.status()

    def write(self, path: str, text: str) -> None:
        target = self.root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    def status(self, *, seccomp: int = 0, capabilities: str = NO_CAPABILITIES) -> None:
        self.write(
            "/proc/self/status", f"Name:\tpython\nGroups:\t4 24 \nCapEff:\t{capabilities}\nSeccomp:\t{seccomp}\n"
        )

    def explain(self, number: int) -> Unavailable:
        return explain(number, surroundings=Surroundings(self.root))


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_it_is_an_os_error_that_tells_all_it_knows(machine: Machine) -> None:
    refused = machine.explain(errno.EPERM)
    assert isinstance(refused, OSError)
    assert refused.errno == errno.EPERM
    message = str(refused)
    assert "EPERM" in message
    for part in (refused.cause, refused.remedy, *refused.evidence):
        assert part in message
    assert "\n" not in message


def test_it_survives_pickling(machine: Machine) -> None:
    refused = machine.explain(errno.ENOMEM)
    copy = pickle.loads(pickle.dumps(refused))
    assert (type(copy), copy.errno, copy.cause, copy.remedy) == (
        Unavailable,
        errno.ENOMEM,
        refused.cause,
        refused.remedy,
    )
    assert (copy.evidence, str(copy)) == (refused.evidence, str(refused))


def test_switched_off_for_everybody(machine: Machine) -> None:
    machine.write("/proc/sys/kernel/io_uring_disabled", "2\n")
    machine.status(seccomp=2, capabilities=ROOT_CAPABILITIES)
    refused = machine.explain(errno.EPERM)
    assert "switched io_uring off" in refused.cause
    assert "sysctl kernel.io_uring_disabled=0" in refused.remedy
    assert refused.evidence == ("/proc/sys/kernel/io_uring_disabled is 2",)


@pytest.mark.parametrize(("group", "advice"), [("990", "the group 990"), ("-1", "kernel.io_uring_group")])
def test_allowed_for_one_group_only(machine: Machine, group: str, advice: str) -> None:
    machine.write("/proc/sys/kernel/io_uring_disabled", "1\n")
    machine.write("/proc/sys/kernel/io_uring_group", f"{group}\n")
    refused = machine.explain(errno.EPERM)
    assert "members of one group" in refused.cause
    assert advice in refused.remedy
    assert f"/proc/sys/kernel/io_uring_group is {group}" in refused.evidence
    assert "this process's groups are 4 24" in refused.evidence


def test_root_is_not_refused_by_the_group_setting_but_by_seccomp(machine: Machine) -> None:
    machine.write("/proc/sys/kernel/io_uring_disabled", "1\n")
    machine.write("/proc/self/uid_map", WHOLE_SYSTEM)
    machine.status(seccomp=2, capabilities=ROOT_CAPABILITIES)
    assert "seccomp" in machine.explain(errno.EPERM).cause


def test_root_of_a_container_counts_as_nobody(machine: Machine) -> None:
    machine.write("/proc/sys/kernel/io_uring_disabled", "1\n")
    machine.write("/proc/self/uid_map", "0 100000 65536")
    machine.status(seccomp=2, capabilities=ROOT_CAPABILITIES)
    assert "members of one group" in machine.explain(errno.EPERM).cause


def test_docker_s_seccomp_profile(machine: Machine) -> None:
    machine.write("/proc/sys/kernel/io_uring_disabled", "0\n")
    machine.write("/.dockerenv", "")
    machine.status(seccomp=2)
    refused = machine.explain(errno.EPERM)
    assert "Docker's default profile" in refused.cause
    assert "--security-opt seccomp=" in refused.remedy
    for name in ("io_uring_setup", "io_uring_enter", "io_uring_register"):
        assert name in refused.remedy
    assert refused.evidence == ("/proc/self/status says Seccomp: 2", "the process runs in Docker")


def test_permission_refused_by_neither_sysctl_nor_seccomp(machine: Machine) -> None:
    refused = machine.explain(errno.EPERM)
    assert "security module" in refused.cause
    assert "kernel.io_uring_disabled is absent" in refused.evidence


@pytest.mark.parametrize("version", ["Linux version 4.4.0 #1 SMP Sun Jan 10 15:06:54 PST 2016", "4.19.0-gvisor #1 SMP"])
def test_gvisor(machine: Machine, version: str) -> None:
    machine.write("/proc/version", version)
    machine.write("/proc/sys/kernel/osrelease", "4.4.0")
    refused = machine.explain(errno.ENOSYS)
    assert "gVisor" in refused.cause
    assert version in refused.evidence[0]


def test_seccomp_that_pretends_the_system_call_does_not_exist(machine: Machine) -> None:
    machine.status(seccomp=2)
    refused = machine.explain(errno.ENOSYS)
    assert "seccomp" in refused.cause
    assert "io_uring_setup" in refused.remedy


def test_kernel_without_io_uring(machine: Machine) -> None:
    refused = machine.explain(errno.ENOSYS)
    assert "built without io_uring" in refused.cause
    assert "CONFIG_IO_URING" in refused.remedy
    assert "the kernel's release is 6.8.0-45-generic" in refused.evidence


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP])
def test_old_kernel(machine: Machine, number: int) -> None:
    machine.write("/proc/sys/kernel/osrelease", "5.15.0-107-generic")
    refused = machine.explain(number)
    assert "older than Linux 6.1" in refused.cause
    assert refused.evidence == ("the kernel's release is 5.15.0-107-generic",)


def test_argument_refused_by_a_new_kernel(machine: Machine) -> None:
    refused = machine.explain(errno.EINVAL)
    assert "flag" in refused.cause
    assert "without arguments" in refused.remedy


def test_locked_memory_used_up(machine: Machine) -> None:
    refused = machine.explain(errno.ENOMEM)
    assert "locked memory" in refused.cause
    assert "ulimit -l" in refused.remedy
    assert "RLIMIT_MEMLOCK is 8388608 bytes (at most 8388608)" in refused.evidence


@pytest.mark.parametrize(("memlock", "capabilities"), [("unlimited", NO_CAPABILITIES), ("65536", ROOT_CAPABILITIES)])
def test_memory_used_up_where_locked_memory_is_not_limited(machine: Machine, memlock: str, capabilities: str) -> None:
    machine.write("/proc/self/limits", LIMITS.format(memlock=memlock))
    machine.write("/proc/self/uid_map", WHOLE_SYSTEM)
    machine.status(capabilities=capabilities)
    refused = machine.explain(errno.ENOMEM)
    assert "no memory left" in refused.cause
    assert "ulimit -l" not in refused.remedy


def test_descriptors_of_the_process_used_up(machine: Machine) -> None:
    refused = machine.explain(errno.EMFILE)
    assert "ulimit -n" in refused.remedy
    assert refused.evidence == ("RLIMIT_NOFILE is 64 (at most 128)",)


def test_descriptors_of_the_system_used_up(machine: Machine) -> None:
    machine.write("/proc/sys/fs/file-nr", "1000\t0\t1000\n")
    refused = machine.explain(errno.ENFILE)
    assert "fs.file-max" in refused.remedy
    assert "1000\t0\t1000" in refused.evidence[0]


def test_selinux(machine: Machine) -> None:
    machine.write("/sys/fs/selinux/enforce", "1")
    machine.write("/proc/self/attr/current", "system_u:system_r:container_t:s0")
    refused = machine.explain(errno.EACCES)
    assert "SELinux" in refused.cause
    assert "SELinux enforcing is 1" in refused.evidence


@pytest.mark.parametrize(
    "number", [errno.ENOSYS, errno.EPERM, errno.EACCES, errno.ENOMEM, errno.EMFILE, errno.EIO, 9999]
)
def test_nothing_readable_is_no_reason_to_fail(tmp_path: Path, number: int) -> None:
    refused = explain(number, surroundings=Surroundings(tmp_path))
    assert refused.errno == number
    assert refused.cause
    assert refused.remedy


def test_this_machine_can_be_read() -> None:
    around = Surroundings()
    assert around.release == os.uname().release
    assert around.seccomp_mode in (0, 1, 2)
    assert around.limit("Max open files") is not None


# The filter compares the number of the system call with that of io_uring_setup (425 on x86-64 and on arm64) and answers
# with the errno in question; everything else is allowed. This is what container runtimes do.
REFUSING_CHILD = """
import ctypes, json, struct, sys
ALLOW, ERRNO, IO_URING_SETUP = 0x7FFF0000, 0x00050000, 425
LOAD_WORD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
number = int(sys.argv[1])
instructions = b"".join(struct.pack("HBBI", *one) for one in (
    (LOAD_WORD, 0, 0, 0), (JUMP_IF_EQUAL, 0, 1, IO_URING_SETUP), (RETURN, 0, 0, ERRNO | number), (RETURN, 0, 0, ALLOW)))
code = ctypes.create_string_buffer(instructions)
program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", 4, ctypes.addressof(code)))
libc = ctypes.CDLL(None, use_errno=True)
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
zero = ctypes.c_ulong(0)
assert libc.prctl(PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1), zero, zero, zero) == 0
assert libc.prctl(PR_SET_SECCOMP, ctypes.c_ulong(SECCOMP_MODE_FILTER), program, zero, zero) == 0
import netloop
if len(sys.argv) > 2:
    loop = netloop.new_event_loop(fallback=sys.argv[2])
    print(json.dumps(type(loop).__module__))
    loop.close()
else:
    try:
        netloop.new_event_loop()
    except netloop.Unavailable as refused:
        print(json.dumps([refused.errno, refused.cause, refused.remedy]))
"""


def in_refusing_child(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", REFUSING_CHILD, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSYS])
def test_a_real_seccomp_filter_is_named(number: int) -> None:
    refused_with, cause, remedy = json.loads(in_refusing_child(str(number)).stdout)
    assert refused_with == number
    assert "seccomp" in cause
    assert "io_uring_setup" in remedy


@pytest.mark.parametrize("fallback", ["uvloop", "asyncio"])
def test_the_fallback_takes_over_under_a_real_seccomp_filter(fallback: str) -> None:
    if fallback == "uvloop":
        pytest.importorskip("uvloop", reason="the fallback is not installed: pip install uvloop")
    child = in_refusing_child(str(errno.EPERM), fallback)
    assert json.loads(child.stdout).startswith(fallback)
    assert child.stderr.count("\n") == 1
    assert "falling back to " + fallback in child.stderr
