"""Who is measured: what a contender's processes get, and how it is found out whether it can run here."""

from __future__ import annotations

import dataclasses
import os
import threading
from pathlib import Path

import loop_factories
import pytest
from harness import load
from harness.contenders import ALL, MAIN, ON_REQUEST, PEERS, Availability, Contender, check
from harness.errors import BenchError
from harness.processes import server_environment
from harness.settings import Settings
from harness.targets import NO_PEERS

SETTINGS = Settings(
    programs=Path("/nonexistent"),
    scratch=Path("/nonexistent"),
    repeats=1,
    seconds=0.1,
    warmup=0.1,
    trace_seconds=0.1,
    budget=1.0,
    server_cpu=3,
    load_cpu=2,
    seed=1,
)


@pytest.fixture
def four_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 3})


def test_extra_cpus_are_those_that_nobody_has_and_the_load_generators_last(four_cpus: None) -> None:
    assert [SETTINGS.extra_cpus(count) for count in (1, 2, 3)] == [[1], [1, 0], [1, 0, 2]]
    with pytest.raises(BenchError, match="4 CPUs beside the server's, and there are 3"):
        SETTINGS.extra_cpus(4)


def test_a_machine_with_one_cpu_has_none_to_give(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0})
    alone = dataclasses.replace(SETTINGS, server_cpu=None, load_cpu=None)
    with pytest.raises(BenchError, match="1 CPU beside"):
        alone.extra_cpus(1)


def test_kernel_threads_that_submit_are_told_their_cpus(four_cpus: None) -> None:
    assert ALL["netloop-io2"].surroundings(SETTINGS) == {"NETLOOP_IO_CPUS": "1,0"}
    both = Contender("x", environment={"A": "b"}, io_cpus=1)
    assert both.surroundings(SETTINGS) == {"A": "b", "NETLOOP_IO_CPUS": "1"}
    assert ALL["netloop"].surroundings(SETTINGS) == {}


def test_the_callers_settings_of_netloop_do_not_reach_the_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETLOOP_IO_CPUS", "0")
    monkeypatch.setenv("NETLOOP_STALL_THRESHOLD", "0.1")
    assert not {"NETLOOP_IO_CPUS", "NETLOOP_STALL_THRESHOLD"} & set(server_environment({}))
    assert server_environment({"NETLOOP_IO_CPUS": "1"})["NETLOOP_IO_CPUS"] == "1"


def test_a_loop_that_has_not_understood_its_settings_is_not_measured() -> None:
    found = check(Contender("asyncio", io_cpus=1), dataclasses.replace(SETTINGS, server_cpu=1, load_cpu=0))
    assert found.version is None
    if len(os.sched_getaffinity(0)) > 1:
        assert found.reason == "refuses to run: RuntimeError: 0 kernel threads submit for this loop, and not 1"


def test_who_needs_more_cpus_than_there_are_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {2, 3})
    assert check(ALL["netloop-io2"], SETTINGS) == Availability(
        None, "needs 2 CPUs beside the server's, and there are 1"
    )


def test_threads_that_submit_are_known_by_their_names() -> None:
    named, ended = threading.Event(), threading.Event()

    def run() -> None:
        Path(f"/proc/self/task/{threading.get_native_id()}/comm").write_text("iou-sqp-123")
        named.set()
        ended.wait(10)

    before = loop_factories.submitting_threads()
    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert named.wait(10)
        assert loop_factories.submitting_threads() == before + 1
    finally:
        ended.set()
        thread.join()


def test_every_loop_has_a_module_and_a_place_in_the_profiles() -> None:
    for contender in ALL.values():
        assert not contender.python or contender.loop_name in loop_factories.MODULES
    assert {*MAIN, *PEERS, *ON_REQUEST} == set(ALL)
    assert {name for name in ALL if name.startswith(("netloop", "c-"))} == set(NO_PEERS)


def test_the_loop_threads_share_of_kernel_time_is_read() -> None:
    line = (
        '{"error_total": 0, "first_error": null, "messages": 10, "size": 64, "reply_size": 64, "seconds": 1.0, '
        '"bytes_received": 640, "server_cpu_ns": 5000, "load_cpu_ns": 1, "loop_cpu_ns": 3000, "max_us": 0, %s}'
    )
    window = load.parse(line % '"loop_user_ticks": 10, "loop_kernel_ticks": 30')
    assert (window.server_cpu, window.loop_cpu, window.kernel_share) == (5000, 3000, 0.75)
    assert load.parse(line % '"loop_user_ticks": 0, "loop_kernel_ticks": 0').kernel_share is None
