"""The seccomp profile for containers: what is in it, what it is derived from, and its two formats."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from netloop.setup.surroundings import Surroundings
from netloop.tools.doctor import main
from netloop.tools.doctor.profile import IO_URING, default_profile, make_profile, resolved, with_io_uring

ACTIONS = {"SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO"}
CONDITIONS = {"caps", "arches", "minKernel"}


def allowed(profile: dict[str, Any]) -> set[str]:
    """The calls that a profile allows, in whatever circumstances."""
    return {name for rule in profile["syscalls"] if rule["action"] == "SCMP_ACT_ALLOW" for name in rule["names"]}


def configured(root: Path, daemon: str, profile: str | None = None) -> Surroundings:
    """A pretended machine whose Docker was configured so."""
    (root / "etc/docker").mkdir(parents=True)
    (root / "etc/docker/daemon.json").write_text(daemon)
    if profile is not None:
        (root / "etc/docker/own.json").write_text(profile)
    return Surroundings(root)


def test_it_is_dockers_default_and_three_calls_more() -> None:
    assert not allowed(default_profile()) & set(IO_URING)
    profile, _ = make_profile("docker", Surroundings(Path("/nonexistent")))
    assert allowed(profile) == allowed(default_profile()) | set(IO_URING)
    assert {"epoll_wait", "read", "clone", "socket"} <= allowed(profile)
    # What lets a container out of its confinement takes a capability.
    unconditional = {name for rule in profile["syscalls"] if "includes" not in rule for name in rule["names"]}
    assert not unconditional & {"mount", "bpf", "unshare", "setns", "init_module", "kexec_load", "keyctl", "reboot"}


def test_every_rule_has_the_form_that_docker_reads() -> None:
    profile = default_profile()
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
    assert {each["architecture"] for each in profile["archMap"]} >= {"SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"}
    for rule in profile["syscalls"]:
        assert rule["names"] == sorted(set(rule["names"]))
        assert rule["action"] in ACTIONS
        assert ("errnoRet" in rule) == (rule["action"] == "SCMP_ACT_ERRNO")
        for condition in (rule.get("includes", {}), rule.get("excludes", {})):
            assert set(condition) <= CONDITIONS
        for argument in rule.get("args", []):
            assert set(argument) == {"index", "value", "op"}


@pytest.mark.parametrize(("machine", "own"), [("x86_64", "arch_prctl"), ("aarch64", "cacheflush")])
def test_without_conditions_it_is_that_of_an_ordinary_container(machine: str, own: str) -> None:
    profile = resolved(with_io_uring(default_profile()), machine)
    assert not any({"includes", "excludes"} & set(rule) for rule in profile["syscalls"])
    assert {own, *IO_URING, "chroot", "ptrace"} <= allowed(profile)
    assert not allowed(profile) & ({"mount", "bpf", "unshare", "clone3", "arch_prctl", "cacheflush"} - {own})
    # libseccomp takes no two answers for one call, whatever its arguments.
    answers = {(name, rule["action"]) for rule in profile["syscalls"] for name in rule["names"]}
    assert len(answers) == len({name for name, _ in answers})


def test_a_processor_that_netloop_does_not_run_on() -> None:
    with pytest.raises(ValueError, match="riscv64"):
        resolved(default_profile(), "riscv64")


def test_the_profile_that_docker_was_configured_with_is_the_base(tmp_path: Path) -> None:
    denied = {"names": ["io_uring_setup", "keyctl"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}
    own = {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"name": "read", "action": "SCMP_ACT_ALLOW"}, denied]}
    around = configured(tmp_path, '{"seccomp-profile": "/etc/docker/own.json"}', json.dumps(own))
    profile, origin = make_profile("docker", around)
    assert origin == "/etc/docker/own.json"
    assert allowed(profile) == {"read", *IO_URING}
    assert [rule["names"] for rule in profile["syscalls"] if rule["action"] == "SCMP_ACT_ERRNO"] == [["keyctl"]]


@pytest.mark.parametrize("daemon", ["{}", '{"seccomp-profile": "builtin"}', '{"seccomp-profile": "unconfined"}'])
def test_a_docker_that_has_its_own_default(tmp_path: Path, daemon: str) -> None:
    profile, origin = make_profile("docker", configured(tmp_path, daemon))
    assert "as netloop knows it" in origin
    assert profile == with_io_uring(default_profile())


@pytest.mark.parametrize(
    ("daemon", "own"),
    [
        ("[]", None),
        ("not JSON", None),
        ('{"seccomp-profile": "/etc/docker/own.json"}', None),
        ('{"seccomp-profile": "/etc/docker/own.json"}', "{}"),
        ('{"seccomp-profile": "/etc/docker/own.json"}', '{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": 7}'),
    ],
)
def test_a_configured_profile_that_cannot_be_used(tmp_path: Path, daemon: str, own: str | None) -> None:
    with pytest.raises(ValueError, match=r"daemon\.json"):
        make_profile("docker", configured(tmp_path, daemon, own))


def test_the_command_prints_json_and_says_what_it_is_derived_from(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seccomp"]) == 0
    printed = capsys.readouterr()
    assert set(IO_URING) <= allowed(json.loads(printed.out))
    assert "derived from" in printed.err
