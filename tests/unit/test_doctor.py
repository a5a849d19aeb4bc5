"""What the doctor tells: found, missing, why, what to do; and its exit status."""

from __future__ import annotations

import errno
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

import pytest

import netloop.tools.doctor
from netloop.setup.surroundings import Surroundings
from netloop.tools.doctor import Report, examine, main, show
from netloop.tools.doctor.catalogue import CATALOGUE


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


def test_an_optional_feature_that_this_kernel_should_have(tmp_path: Path) -> None:
    probe = full_probe()
    probe["operations"]["FIXED_FD_INSTALL"] = False
    report = examined(probe, surroundings=kernel(tmp_path, "6.18.0"))
    (missing,) = (finding for finding in report.findings if not finding.found)
    assert "built without it or a policy blocks it" in missing.why
    assert "connections are descriptors" in missing.todo


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
    report = Report("6.18.0", "3.11.7", (), examined().findings, error, "nobody was asked")
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


def test_this_machine(capsys: pytest.CaptureFixture[str]) -> None:
    """The real probe, the real loop, and the liburing bindings where they are installed: all agree."""
    report = examine()
    assert report.runs, report.error
    assert [finding.name for finding in report.findings if finding.disputed] == []
