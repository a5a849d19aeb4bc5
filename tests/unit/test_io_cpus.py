"""CPUs for the kernel's I/O threads: what a program may ask for, and what it is told when the kernel refuses."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from netloop.setup.io_cpus import IDLE_DEFAULT, asked_cpus, explain_poller, idle_milliseconds, parse_cpus
from netloop.setup.surroundings import Surroundings
from netloop.setup.unavailable import Unavailable

VARIABLE = "NETLOOP_IO_CPUS"


@pytest.mark.parametrize(
    ("text", "cpus"),
    [
        ("3", (3,)),
        ("2,3", (2, 3)),
        ("4-7", (4, 5, 6, 7)),
        ("0", (0,)),
        ("0-1,8,10-11", (0, 1, 8, 10, 11)),
        ("5-5", (5,)),
        ("3,2", (3, 2)),
        (" 1 , 2 ", (1, 2)),
    ],
)
def test_lists_of_cpus(text: str, cpus: tuple[int, ...]) -> None:
    assert parse_cpus(text) == cpus


@pytest.mark.parametrize(
    "text",
    ["", ",", "1,", ",1", "one", "-1", "1-", "-", "7-4", "1,7-4", "7-4,1", "1;2", "0x3", "1.5", "3-4-5", "0-999999999"],
)
def test_what_is_no_list_of_cpus(text: str) -> None:
    with pytest.raises(ValueError, match="CPUs are given as in '3', '2,3' or '4-7', not as") as refused:
        parse_cpus(text)
    assert repr(text) in str(refused.value)


class TestAskedCpus:
    """The argument, or else the variable."""

    @pytest.fixture(autouse=True)
    def no_variable(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv(VARIABLE, raising=False)

    def test_none_without_either(self) -> None:
        assert asked_cpus(None) == ()

    @pytest.mark.parametrize(("text", "cpus"), [("3", (3,)), ("2,3", (2, 3)), ("4-6", (4, 5, 6)), ("", ()), ("  ", ())])
    def test_the_variable(self, monkeypatch: pytest.MonkeyPatch, text: str, cpus: tuple[int, ...]) -> None:
        monkeypatch.setenv(VARIABLE, text)
        assert asked_cpus(None) == cpus

    @pytest.mark.parametrize("cpus", [(), (0,), (1, 0)])
    def test_the_argument_comes_first(self, monkeypatch: pytest.MonkeyPatch, cpus: tuple[int, ...]) -> None:
        monkeypatch.setenv(VARIABLE, "7")
        assert asked_cpus(cpus) == cpus

    @pytest.mark.parametrize("cpus", [[2, 3], range(2, 4), iter([2, 3]), (cpu for cpu in (2, 3))])
    def test_any_iterable(self, cpus: object) -> None:
        assert asked_cpus(cpus) == (2, 3)  # type: ignore[arg-type]

    @pytest.mark.parametrize("text", ["two", "-1", "3-1", "1,,2"])
    def test_an_error_of_the_variable_names_it(self, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
        monkeypatch.setenv(VARIABLE, text)
        with pytest.raises(ValueError, match=f"{VARIABLE}: CPUs are given as in '3'") as refused:
            asked_cpus(None)
        assert repr(text) in str(refused.value)

    @pytest.mark.parametrize("cpus", ["3", b"3", 3, True])
    def test_what_is_no_sequence(self, cpus: object) -> None:
        with pytest.raises(TypeError, match=r"io_cpus must be a sequence of numbers of CPUs, as \[3\], not"):
            asked_cpus(cpus)  # type: ignore[arg-type]

    @pytest.mark.parametrize("cpu", ["3", 1.0, None, True])
    def test_what_is_no_number(self, cpu: object) -> None:
        with pytest.raises(TypeError, match=f"io_cpus must hold numbers of CPUs, not {cpu!r}"):
            asked_cpus([0, cpu])  # type: ignore[list-item]

    def test_a_negative_number(self) -> None:
        with pytest.raises(ValueError, match="which are not negative as -1 is"):
            asked_cpus([0, -1])

    def test_a_number_twice(self) -> None:
        with pytest.raises(ValueError, match=r"io_cpus must name each CPU once, not \[2, 3, 2\]"):
            asked_cpus([2, 3, 2])

    def test_a_number_twice_in_the_variable(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(VARIABLE, "0-3,2")
        with pytest.raises(ValueError, match="name each CPU once"):
            asked_cpus(None)


class TestIdleTime:
    """Of seconds the kernel's whole milliseconds, never none."""

    @pytest.mark.parametrize(
        ("seconds", "milliseconds"), [(IDLE_DEFAULT, 2), (1e-9, 1), (0.0011, 2), (0.5, 500), (60, 60_000)]
    )
    def test_milliseconds(self, seconds: float, milliseconds: int) -> None:
        assert idle_milliseconds(seconds) == milliseconds

    @pytest.mark.parametrize("seconds", [0, -1, 60.1, float("inf"), float("nan")])
    def test_out_of_range(self, seconds: float) -> None:
        with pytest.raises(ValueError, match="io_idle must be more than 0 and at most 60 seconds, not"):
            idle_milliseconds(seconds)


class TestExplanations:
    """A pretended machine: why the kernel has refused, and what to do."""

    @pytest.fixture
    def write(self, tmp_path: Path) -> Callable[[str, str], None]:
        def write_one(path: str, text: str) -> None:
            target = tmp_path / path.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)

        write_one("/proc/sys/kernel/osrelease", "6.18.0\n")
        write_one("/sys/devices/system/cpu/online", "0-3,6\n")
        return write_one

    @pytest.fixture
    def explained(self, tmp_path: Path) -> Callable[..., Unavailable]:
        def explain(number: int, *cpus: int, rings: bool = True) -> Unavailable:
            refused = explain_poller(number, cpus, rings, surroundings=Surroundings(tmp_path))
            assert refused.errno == number
            for part in (errno.errorcode[number], refused.cause, refused.remedy, *refused.evidence):
                assert part in str(refused)
            return refused

        return explain

    @pytest.mark.parametrize(("cpus", "told"), [((9,), "9"), ((0, 4, 9), "4 or 9"), ((4095,), "4095")])
    @pytest.mark.usefixtures("write")
    def test_a_cpu_that_is_not_there(
        self, explained: Callable[..., Unavailable], cpus: tuple[int, ...], told: str
    ) -> None:
        refused = explained(errno.EINVAL, *cpus)
        assert refused.cause == f"io_cpus: there is no CPU {told} here, or it is offline"
        assert refused.remedy == "name CPUs among 0-3,6"
        assert refused.evidence == ("online are the CPUs 0-3,6 (/sys/devices/system/cpu/online)",)

    def test_a_cpuset_of_control_groups_version_2(
        self, explained: Callable[..., Unavailable], write: Callable[[str, str], None]
    ) -> None:
        write("/proc/self/cgroup", "0::/system.slice/shop.service\n")
        write("/sys/fs/cgroup/system.slice/shop.service/cpuset.cpus.effective", "0-1\n")
        refused = explained(errno.EINVAL, 1, 2)
        assert refused.cause == "io_cpus: the control group's cpuset does not let this process use CPU 2"
        assert "name CPUs among 0-1, or give" in refused.remedy
        assert "docker run --cpuset-cpus=" in refused.remedy
        assert "AllowedCPUs=" in refused.remedy
        assert "/sys/fs/cgroup/system.slice/shop.service/cpuset.cpus.effective" in refused.evidence[0]

    def test_the_cpuset_of_a_container(
        self, explained: Callable[..., Unavailable], write: Callable[[str, str], None]
    ) -> None:
        write("/proc/self/cgroup", "0::/\n")
        write("/sys/fs/cgroup/cpuset.cpus.effective", "2-3\n")
        assert "cpuset does not let this process use CPU 0 or 1" in explained(errno.EINVAL, 0, 1, 2).cause

    def test_a_cpuset_of_control_groups_version_1(
        self, explained: Callable[..., Unavailable], write: Callable[[str, str], None]
    ) -> None:
        write("/proc/self/cgroup", "4:cpuset:/\n1:name=systemd:/\n")
        write("/sys/fs/cgroup/cpuset/cpuset.cpus", "0,6\n")
        refused = explained(errno.EINVAL, 3)
        assert refused.cause == "io_cpus: the control group's cpuset does not let this process use CPU 3"
        assert "/sys/fs/cgroup/cpuset/cpuset.cpus" in refused.evidence[0]

    def test_a_cpuset_of_version_1_beside_version_2(
        self, explained: Callable[..., Unavailable], write: Callable[[str, str], None]
    ) -> None:
        write("/proc/self/cgroup", "4:cpu,cpuset:/shop\n0::/user.slice\n")
        write("/sys/fs/cgroup/cpuset/cpuset.cpus", "0-3,6\n")
        write("/sys/fs/cgroup/cpuset/shop/cpuset.cpus", "1\n")
        refused = explained(errno.EINVAL, 3)
        assert refused.cause == "io_cpus: the control group's cpuset does not let this process use CPU 3"
        assert "/sys/fs/cgroup/cpuset/shop/cpuset.cpus" in refused.evidence[0]

    def test_an_offline_cpu_is_told_before_the_cpuset(
        self, explained: Callable[..., Unavailable], write: Callable[[str, str], None]
    ) -> None:
        write("/proc/self/cgroup", "0::/\n")
        write("/sys/fs/cgroup/cpuset.cpus.effective", "0\n")
        assert "there is no CPU 5 here, or it is offline" in explained(errno.EINVAL, 3, 5).cause

    @pytest.mark.parametrize("online", [None, "", "0-3"])
    def test_a_cpu_that_should_do(
        self, explained: Callable[..., Unavailable], write: Callable[[str, str], None], online: str | None
    ) -> None:
        """Where nothing speaks against it, the reason is one that other rings have, too."""
        if online is not None:
            write("/sys/devices/system/cpu/online", online)
        assert "flag" in explained(errno.EINVAL, 1).cause

    @pytest.mark.parametrize("number", [errno.EPERM, errno.EACCES])
    def test_a_security_module_that_refuses_the_thread_only(
        self, explained: Callable[..., Unavailable], number: int
    ) -> None:
        refused = explained(number, 0)
        assert "a security module" in refused.cause
        assert "io_uring sqpoll" in refused.cause
        assert "do without io_cpus" in refused.remedy
        assert refused.evidence == ("a ring without such a thread can be made",)

    @pytest.mark.parametrize("number", [errno.EPERM, errno.EACCES])
    def test_who_may_have_no_ring_is_told_that(
        self, explained: Callable[..., Unavailable], write: Callable[[str, str], None], number: int
    ) -> None:
        write("/proc/sys/kernel/io_uring_disabled", "2\n")
        refused = explained(number, 0, rings=False)
        assert "io_cpus" not in str(refused)
        assert refused.remedy

    def test_no_thread_is_left(self, explained: Callable[..., Unavailable], write: Callable[[str, str], None]) -> None:
        write("/proc/self/limits", "Limit  Soft Limit  Hard Limit  Units\nMax processes  100  200  processes\n")
        write("/proc/self/status", "Name:\tpython\nThreads:\t96\n")
        refused = explained(errno.EAGAIN, 0)
        assert "a limit on processes and threads is used up" in refused.cause
        for word in ("ulimit -u", "--pids-limit=", "TasksMax=", "do without io_cpus"):
            assert word in refused.remedy
        assert refused.evidence == ("RLIMIT_NPROC is 100 (at most 200)", "threads of this process: 96")

    @pytest.mark.parametrize("number", [errno.ENOMEM, errno.EMFILE, errno.ENOSYS])
    def test_other_errors_are_those_of_every_ring(self, explained: Callable[..., Unavailable], number: int) -> None:
        assert "io_cpus" not in str(explained(number, 0))
