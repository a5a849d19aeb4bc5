"""The stress test as users run it, with few connections and for a moment."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from apps.programs import Program

SCENARIOS = {
    "hold": (),
    "close": ("--burst", "100"),
    "slow": ("--burst", "20"),
    "churn": (),
}


def run(start: Callable[..., Program], output: Path, *arguments: str) -> dict[str, object]:
    words = ["-m", "netloop", "stress", "--connections", "200", "--seconds", "0.5", "--active", "20", "--no-plots"]
    program = start(*words, "--output", str(output), *arguments)
    status = program.wait()
    assert "failures" in program.output, program.output
    results: dict[str, object] = json.loads((output / "results.json").read_text())
    assert results["failures"] == {}
    assert status == 0, program.output
    assert results["good"] is True
    return results


@pytest.mark.limit(60)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_nothing_fails_and_nothing_is_left(start: Callable[..., Program], tmp_path: Path, scenario: str) -> None:
    results = run(start, tmp_path / "results", "--scenario", scenario, *SCENARIOS[scenario])
    lines = {line["what"]: line for line in results["lines"]}  # type: ignore[attr-defined]
    assert lines["connections held"]["value"] == "200 of 200"
    assert lines["left in the servers afterwards"]["value"] == "nothing"


@pytest.mark.limit(60)
def test_several_servers_share_aiohttps_connections(start: Callable[..., Program], tmp_path: Path) -> None:
    run(start, tmp_path / "results", "--server", "aiohttp", "--workers", "2", "--per-client", "120")


@pytest.mark.limit(60)
def test_a_server_that_is_not_there_is_a_failure(start: Callable[..., Program], tmp_path: Path) -> None:
    words = ["--connections", "3", "--seconds", "0.1", "--address", "127.0.0.1:1"]
    words += ["--output", str(tmp_path / "results")]
    program = start("-m", "netloop", "stress", "--no-plots", *words)
    assert program.wait() == 1
    results = json.loads((tmp_path / "results" / "results.json").read_text())
    assert results["failures"] == {"connect: Connection refused": 3}
