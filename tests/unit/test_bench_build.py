"""Comparing two states of netloop: which sources are built, what is measured, and what is made of the figures."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from harness import building, installs, sources
from harness.building import AFTER, BEFORE, ROWS, judge_builds, judge_speed
from harness.contenders import ALL, Contender, check
from harness.errors import BenchError
from harness.findings import Finding, paired, table
from harness.installs import Install
from harness.measure import Sample
from harness.schedule import Outcome
from harness.settings import Settings
from harness.summary import Spread, spread

IDENTITY = ("-c", "user.name=nobody", "-c", "user.email=nobody@example.invalid", "-c", "commit.gpgsign=false")


def finding(bound: float | None, *ratios: float, tolerant: bool = False) -> Finding:
    one = Spread(1.0, 1.0, 1.0, 1)
    return Finding("something", one, one, spread(list(ratios)), bound, tolerant)


@pytest.mark.parametrize(
    ("found", "met", "verdict"),
    [
        (finding(0.5, 0.4), True, "met"),
        (finding(0.5, 0.5), True, "met"),
        (finding(0.5, 0.6), False, "missed by 20%"),
        (finding(0.5, 0.3, 0.6, 0.9), False, "missed by 20%"),
        (finding(1.0, 0.9, 1.1, 1.3, tolerant=True), True, "met within the spread"),
        (finding(1.0, 0.8, 0.9, 1.3, tolerant=True), True, "met"),
        (finding(1.0, 1.1, 1.2, 1.3, tolerant=True), False, "missed by 20%"),
        (finding(None, 7.0), True, "-"),
    ],
)
def test_a_verdict_goes_by_the_median_or_by_the_spread(found: Finding, met: bool, verdict: str) -> None:
    assert (found.met, found.verdict) == (met, verdict)


def test_a_ratio_is_that_of_the_pairs() -> None:
    # The machine is twice as slow in the second round.
    found = paired("time", [60.0, 120.0, 50.0], [30.0, 48.0, 30.0], 0.5)
    assert (found.ratio.median, found.before.median, found.after.median) == (0.5, 60.0, 30.0)
    with pytest.raises(ValueError):
        paired("time", [60.0, 120.0], [30.0], 0.5)


def test_the_table_says_what_was_wanted_and_what_came() -> None:
    lines = table("title", [paired("size, KiB", [2000.0], [500.0], 0.5), paired("time, s", [3.0], [6.0], None)]).lines
    assert lines == [
        ["size, KiB", "2 000", "500", "0.25", "≤ 0.50", "met"],
        ["time, s", "3.00", "6.00", "2.00", "-", "-"],
    ]


def installed(directory: Path, seconds: float, *module_sizes: int) -> Install:
    for number, size in enumerate(module_sizes):
        module = directory / "netloop" / f"floor{number}" / "module.so"
        module.parent.mkdir(parents=True, exist_ok=True)
        module.write_bytes(bytes(size))
        module.with_name("module.py").write_bytes(bytes(9999))
    return Install(seconds, 2 * seconds, directory)


def test_builds_are_judged_by_time_and_size(tmp_path: Path) -> None:
    before, after = installed(tmp_path / BEFORE, 60.0, 4096, 6144), installed(tmp_path / AFTER, 20.0, 6144)
    seconds, cpu, size = judge_builds([before], [after])
    assert seconds.ratio.median == pytest.approx(1 / 3)
    assert seconds.met
    assert (cpu.before.median, cpu.bound) == (120.0, None)
    assert (size.before.median, size.after.median, size.met) == (10.0, 6.0, False)


def test_speed_is_judged_in_the_rows_that_both_have_run() -> None:
    samples = [
        Sample(name, row.name, repeat, {"cpu_us": value})
        for row in ROWS
        for repeat in range(3)
        for name, value in ((BEFORE, 10.0), (AFTER, 11.0 + repeat))
    ]
    echo, callbacks = judge_speed(Outcome(samples))
    assert (echo.ratio.low, echo.ratio.median, echo.ratio.high) == pytest.approx((1.15, 1.2, 1.25))
    assert (echo.met, callbacks.met) == (False, False)
    (left,) = judge_speed(Outcome(samples, failures={(ROWS[0].name, AFTER): "it lost a byte"}))
    assert left.what.startswith("call_soon")


def git(directory: Path, *arguments: str) -> None:
    subprocess.run(["git", "-C", str(directory), *IDENTITY, *arguments], check=True, capture_output=True, timeout=30)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with a commit and with changes since."""
    directory = tmp_path / "checkout"
    (directory / "folder").mkdir(parents=True)
    for name in ("kept", "changed", "deleted", "folder/inner"):
        (directory / name).write_text("old")
    (directory / ".gitignore").write_text("*.so\n")
    git(directory, "init", "--quiet")
    git(directory, "add", ".")
    git(directory, "commit", "--quiet", "--message", "all")
    (directory / "changed").write_text("new")
    (directory / "deleted").unlink()
    (directory / "folder" / "added").write_text("new")
    (directory / "left.so").write_text("by a build")
    return directory


def contents(directory: Path) -> dict[str, str]:
    return {
        str(path.relative_to(directory)): path.read_text()
        for path in directory.rglob("*")
        if path.is_file() and path.name != ".gitignore"
    }


def test_the_working_tree_is_built_as_it_is_and_without_leftovers(checkout: Path, tmp_path: Path) -> None:
    sources.copy_working_tree(tmp_path / "copy", checkout)
    assert contents(tmp_path / "copy") == {
        "kept": "old", "changed": "new", "folder/inner": "old", "folder/added": "new"
    }  # fmt: skip


def test_a_revision_is_built_as_it_was(checkout: Path, tmp_path: Path) -> None:
    sources.copy_revision("HEAD", tmp_path / "copy", checkout)
    assert contents(tmp_path / "copy") == dict.fromkeys(("kept", "changed", "deleted", "folder/inner"), "old")
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".tar"] == []


def test_what_is_no_revision_is_refused(checkout: Path, tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="rev-parse"):
        sources.commit_of("no-such-revision", checkout)
    with pytest.raises(BenchError, match="rev-parse"):
        sources.commit_of("--help", checkout)
    with pytest.raises(BenchError, match="no git checkout"):
        sources.commit_of("HEAD", tmp_path)


def test_a_failed_install_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = ["/bin/sh", "-c", "for line in $(seq 99); do echo line $line; done; exit 3"]
    with pytest.raises(BenchError, match=r"trying ended with status 3:\n(.*\n)*line 99$"):
        installs._run(command, tmp_path, {}, 10.0, "trying")
    with pytest.raises(BenchError, match="trying took longer than 0 s"):
        installs._run(["/bin/sh", "-c", "sleep 60 & sleep 60"], tmp_path, {}, 0.2, "trying")


def settings(tmp_path: Path) -> Settings:
    return Settings(tmp_path, tmp_path, 1, 0.1, 0.1, 0.0, 60.0, None, None, 1)


def test_the_same_loop_from_another_place_is_a_contender_of_its_own(tmp_path: Path) -> None:
    for name, text in (
        ("netloop/__init__.py", "from asyncio import new_event_loop\n"),
        ("netloop-9.9.dist-info/METADATA", "Metadata-Version: 2.1\nName: netloop\nVersion: 9.9\n"),
    ):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text)
    other = Contender(BEFORE, environment={"PYTHONPATH": str(tmp_path)}, loop="netloop")
    assert other.command(ROWS[0], settings(tmp_path))[-2:] == ["--loop", "netloop"]
    assert check(other, settings(tmp_path)).version == "9.9"


def test_a_contender_is_asked_for_by_its_own_name_otherwise(tmp_path: Path) -> None:
    for name in ("netloop", "asyncio-mmap"):
        assert ALL[name].command(ROWS[0], settings(tmp_path))[-2:] == ["--loop", name]


@pytest.mark.parametrize("words", [[], ["--before", "HEAD", "--repeats", "0"], ["--before", "HEAD", "--seconds", "0"]])
def test_what_cannot_be_measured_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        building.main(words)
    assert "--" in capsys.readouterr().err


def test_an_unknown_revision_ends_before_anything_is_built(capsys: pytest.CaptureFixture[str]) -> None:
    assert building.main(["--before", "no-such-revision"]) == 2
    assert "bench/build.py: " in capsys.readouterr().err
