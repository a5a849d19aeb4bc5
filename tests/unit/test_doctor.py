"""What the doctor tells: found, missing, why, what to do; and its exit status."""

from __future__ import annotations

import asyncio
import errno
import io
import json
import socket
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import pytest
from loop.patience import stretched

import netloop.core.probe
import netloop.tools.doctor
from netloop.core.ring import OlderKernel
from netloop.setup.surroundings import Surroundings
from netloop.tools.doctor import Report, examine, main, show
from netloop.tools.doctor.catalogue import CATALOGUE
from netloop.tools.doctor.limits import Limit
from netloop.tools.doctor.trial import TrialError, try_loop

NO_SQARRAY = 1 << 16
SHORT = stretched(0.5)


def full_probe() -> dict[str, dict[str, bool]]:
    """A kernel that has everything the catalogue knows."""
    return {group: dict.fromkeys(features, True) for group, features in CATALOGUE.items()}


def refuse(number: int) -> NoReturn:
    raise OSError(number, "refused")


def kernel(root: Path, release: str) -> Surroundings:
    """A pretended machine with this kernel."""
    (root / "proc/sys/kernel").mkdir(parents=True)
    (root / "proc/sys/kernel/osrelease").write_text(release)
    return Surroundings(root)


def examined(
    probe: Mapping[str, Mapping[str, bool]] | None = None,
    *,
    surroundings: Surroundings | None = None,
    operations: Mapping[str, bool] | None = None,
) -> Report:
    """The report on a machine where everything works but what is given."""
    return examine(
        probe=lambda: full_probe() if probe is None else probe,
        attempt=lambda: None,
        oracle=lambda: ("an oracle", operations or {}),
        surroundings=surroundings,
        poller=lambda: Limit("I/O on CPUs of its own", "possible"),
    )


def shown(report: Report, *, plain: bool) -> str:
    stream = io.StringIO()
    show(report, stream=stream, plain=plain)
    return stream.getvalue()


def test_a_kernel_with_everything() -> None:
    report = examined()
    assert report.runs
    assert all(finding.found and not finding.why for finding in report.findings)
    assert {finding.group for finding in report.findings} == set(CATALOGUE)


def test_an_optional_feature_of_a_later_kernel(tmp_path: Path) -> None:
    probe = full_probe()
    probe["setup_flags"]["NO_SQARRAY"] = False
    report = examined(probe, surroundings=kernel(tmp_path, "6.1.0-18-amd64"))
    (missing,) = (finding for finding in report.findings if not finding.found)
    assert report.runs
    assert (missing.name, missing.required, missing.since) == ("NO_SQARRAY", False, "6.6")
    assert missing.why == "Linux 6.6 and later; this is 6.1.0-18-amd64"
    assert "upgrade" in missing.todo


def test_what_is_missing_is_told_with_its_cost(tmp_path: Path) -> None:
    probe = full_probe()
    probe["operations"] |= {"FIXED_FD_INSTALL": False, "WAITID": False}
    probe["trials"]["SOCKET_URING_OP_GETSOCKNAME"] = False
    text = shown(examined(probe, surroundings=kernel(tmp_path, "6.1.0-18-amd64")), plain=True)
    told = text.partition("what that costs:")[2]
    assert "IORING_OP_FIXED_FD_INSTALL (Linux 6.8): each connection takes a descriptor and about 0.5 KiB more" in told
    assert "SOCKET_URING_OP_GETSOCKNAME (Linux 6.19): on a server on all addresses" in told
    assert "nothing: IORING_OP_WAITID (Linux 6.7)" in told
    assert "what that costs" not in shown(examined(), plain=True)


def test_what_a_ring_may_do_is_shown_where_the_kernel_sees_to_it() -> None:
    report = examined()
    assert {"operations", "flags", "registrations"} == set(report.allowed)
    told = shown(report, plain=True).partition("What a loop's ring may do")[2]
    for name in (name for names in report.allowed.values() for name in names):
        assert name in told
    assert json.loads(json.dumps(report.as_json()))["allowed"] == report.allowed
    probe = full_probe()
    probe["registrations"]["RESTRICTIONS"] = False
    report = examined(probe)
    assert report.runs
    assert not report.allowed
    told = shown(report, plain=True)
    assert "What a loop's ring may do" not in told
    assert "IORING_REGISTER_RESTRICTIONS (Linux 5.10): nothing holds a loop's ring to that" in told


def test_the_probe_and_the_loop_on_a_kernel_with_less() -> None:
    """Each feature is tried on its own, and the loop does without all of them."""
    lacking = [
        "IORING_ACCEPT_DONTWAIT",
        "SOCKET_URING_OP_SETSOCKOPT",
        "SOCKET_URING_OP_GETSOCKNAME",
        "files closed at once",
    ]
    here = netloop.core.probe.probe()
    for name in lacking:
        assert netloop.core.probe.probe(OlderKernel([name]))["trials"] == {**here["trials"], name: False}
    assert netloop.core.probe.probe(OlderKernel(["RESTRICTIONS"])) == {
        **here, "registrations": {**here["registrations"], "RESTRICTIONS": False}
    }  # fmt: skip
    older = netloop.core.probe.probe(OlderKernel([], unknown_flags=NO_SQARRAY))
    assert older["setup_flags"] == {**here["setup_flags"], "NO_SQARRAY": False}
    try_loop(lambda: netloop.EventLoop(_faults=OlderKernel([*lacking, "FIXED_FD_INSTALL"], unknown_flags=NO_SQARRAY)))


class Failing(netloop.EventLoop):
    """A loop whose servers cannot be made, for a reason of the system's."""

    async def create_server(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise OSError(errno.EADDRNOTAVAIL, "no such address")


class Deaf(netloop.EventLoop):
    """A loop that never accepts, and complains of it again and again."""

    async def create_server(self, *args: Any, **kwargs: Any) -> asyncio.Server:
        for _ in range(2):
            self.call_exception_handler({"message": "accept failed", "exception": OSError(errno.EINVAL, "no")})
        sock = socket.create_server(("127.0.0.1", 0))
        return await super().create_server(args[0], sock=sock, start_serving=False)


class Complaining(netloop.EventLoop):
    """A loop that does what it should, and complains all the same."""

    async def create_server(self, *args: Any, **kwargs: Any) -> asyncio.Server:
        self.call_exception_handler({"message": "something is odd"})
        return await super().create_server(*args, **kwargs)


@pytest.mark.parametrize(
    ("factory", "told"),
    [
        (Failing, r"listening on 127.0.0.1: \[Errno 99\] no such address"),
        (Deaf, rf"a connection: no end after {SHORT:g} s; accept failed: OSError\(22, 'no'\)$"),
        (Complaining, "a server: the loop has complained; something is odd"),
    ],
)
def test_a_loop_that_runs_and_does_not_serve(factory: type[netloop.EventLoop], told: str) -> None:
    with pytest.raises(TrialError, match=told):
        try_loop(factory, seconds=SHORT)


def test_a_loop_that_never_returns() -> None:
    released = threading.Event()

    class Stuck(netloop.EventLoop):
        def run_until_complete(self, future: Any) -> Any:
            released.wait()
            return super().run_until_complete(future)

    with pytest.raises(TrialError, match="the loop does not return"):
        try_loop(Stuck, seconds=0.1)
    released.set()
    for thread in threading.enumerate():
        if thread.name == "netloop-doctor":
            thread.join()


def test_what_the_trial_has_found_is_the_reports_error() -> None:
    def attempt() -> None:
        raise TrialError("accepting a connection: no end after 5 s")

    report = examine(probe=full_probe, attempt=attempt, oracle=lambda: ("an oracle", {}))
    assert report.error == "accepting a connection: no end after 5 s"
    assert "The loop cannot run here. accepting" in shown(report, plain=True)


def test_an_optional_feature_that_this_kernel_should_have(tmp_path: Path) -> None:
    probe = full_probe()
    probe["operations"]["FIXED_FD_INSTALL"] = False
    report = examined(probe, surroundings=kernel(tmp_path, "6.18.0"))
    (missing,) = (finding for finding in report.findings if not finding.found)
    assert "built without it or a policy blocks it" in missing.why
    assert "each connection takes a descriptor" in missing.todo


@pytest.mark.parametrize(
    ("group", "name"), [("operations", "RECV"), ("registrations", "PBUF_RING"), ("features", "NODROP")]
)
def test_a_required_feature_missing(group: str, name: str) -> None:
    probe = full_probe()
    probe[group][name] = False
    report = examined(probe)
    assert not report.runs
    assert report.error is not None
    assert name in report.error
    assert "MISSING" in shown(report, plain=True)


def test_a_feature_the_catalogue_does_not_know_is_shown_all_the_same() -> None:
    probe = full_probe()
    probe["operations"]["TELEPORT"] = False
    probe["new_group"] = {"SOMETHING": True}
    report = examined(probe)
    assert report.runs
    names = {finding.name: finding for finding in report.findings}
    assert "unknown" in names["TELEPORT"].why
    assert names["SOMETHING"].found


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSYS, errno.ENOMEM])
def test_set_up_refused(number: int) -> None:
    report = examine(probe=lambda: refuse(number), attempt=lambda: None, oracle=lambda: ("an oracle", {}))
    assert not report.runs
    assert not report.findings
    assert report.error is not None
    assert errno.errorcode[number] in report.error
    assert "Remedy" in report.error


def test_a_good_probe_but_a_loop_that_does_not_run() -> None:
    report = examine(probe=full_probe, attempt=lambda: refuse(errno.EMFILE), oracle=lambda: ("an oracle", {}))
    assert not report.runs
    assert report.findings
    assert "EMFILE" in (report.error or "")


def test_missing_compiled_modules_are_a_finding_not_a_crash() -> None:
    def probe() -> NoReturn:
        raise ImportError("netloop was not built here")

    report = examine(probe=probe, oracle=lambda: ("an oracle", {}))
    assert report.error == "netloop was not built here"


def test_a_second_opinion_that_differs_is_pointed_out() -> None:
    report = examined(operations={"RECV": False, "SEND": True})
    disputed = [finding.name for finding in report.findings if finding.disputed]
    assert disputed == ["RECV"]
    assert "disagree on RECV" in shown(report, plain=True)


def test_limits_come_with_a_remark_where_they_bind(tmp_path: Path) -> None:
    around = kernel(tmp_path, "5.15.0")
    (tmp_path / "proc/sys/kernel/io_uring_disabled").write_text("2")
    (tmp_path / "proc/self").mkdir()
    (tmp_path / "proc/self/limits").write_text("Max open files 64 64 files\nMax locked memory 65536 65536 bytes\n")
    (tmp_path / "proc/self/status").write_text("Seccomp:\t2\n")
    limits = {limit.name: limit for limit in examined(surroundings=around).limits}
    assert "older" in limits["kernel"].remark
    assert "sysctl" in limits["kernel.io_uring_disabled"].remark
    assert "io_uring_setup" in limits["seccomp"].remark
    assert "ulimit -n" in limits["RLIMIT_NOFILE"].remark
    assert "ulimit -l" in limits["RLIMIT_MEMLOCK"].remark


@pytest.mark.parametrize("plain", [True, False])
def test_the_tables_name_every_feature(plain: bool) -> None:
    if not plain:
        pytest.importorskip("rich", reason="tables with colours need rich: pip install rich")
    report = examined()
    text = shown(report, plain=plain)
    for finding in report.findings:
        assert finding.name in text
    assert "The loop runs here." in text


@pytest.mark.parametrize(("error", "status"), [(None, 0), ("there is no ring", 1)])
@pytest.mark.parametrize("arguments", [[], ["--json"]])
def test_exit_status(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: str | None,
    status: int,
    arguments: list[str],
) -> None:
    report = Report("6.18.0", "3.11.7", (), (), examined().findings, error, "nobody was asked")
    monkeypatch.setattr(netloop.tools.doctor, "examine", lambda: report)
    assert main(arguments) == status
    printed = capsys.readouterr().out
    if arguments:
        told = json.loads(printed)
        assert told["runs"] is (error is None)
        assert told["error"] == error
        assert len(told["findings"]) == len(report.findings)
    else:
        assert (error or "The loop runs here.") in printed


def test_this_machine() -> None:
    """The real probe, the real loop, and the liburing bindings where they are installed: all agree."""
    report = examine()
    assert report.runs, report.error
    assert [finding.name for finding in report.findings if finding.disputed] == []
