"""The benchmark's arithmetic: pairs, failures, targets; its rows, its files and its results."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from harness import wrk
from harness.contenders import Availability
from harness.errors import BenchError
from harness.exchange import frame, load_arguments, server_arguments
from harness.measure import Sample
from harness.report import Report
from harness.rows import FULL, PEERS, QUICK, Row, parse
from harness.schedule import Outcome
from harness.stress import stress_runs
from harness.summary import Spread, Summary, spread
from harness.tables import comparison, details
from harness.targets import TARGETS, Verdict, best_peer, judge
from harness.trace import Trace, parse_summary

import netloop
from netloop.tools import bench as bench_command

ROW = Row("protocol", 100, 64)


def sample(contender: str, repeat: int, cpu_us: float, row: Row = ROW) -> Sample:
    return Sample(contender, row.name, repeat, {"cpu_us": cpu_us, "per_cpu_second": 1e6 / cpu_us})


def verdict(bound: float, at_most: bool, *measured: float) -> Verdict:
    return Verdict(ROW.name, "cpu_us", "uvloop", bound, at_most, spread(list(measured)))


def test_a_ratio_is_the_median_of_the_pairs_of_the_same_repeat() -> None:
    # The machine is twice as slow in the second repeat; the loop is 0.8, 0.9 and 0.7 times its baseline.
    samples = [sample("netloop", 0, 8.0), sample("netloop", 1, 18.0), sample("netloop", 2, 7.0)]
    samples += [sample("uvloop", 2, 10.0), sample("uvloop", 0, 10.0), sample("uvloop", 1, 20.0)]
    found = Summary(samples).ratio(ROW.name, "netloop", "uvloop", "cpu_us")
    assert found is not None
    assert (found.low, found.median, found.high, found.count) == pytest.approx((0.75, 0.8, 0.85, 3))


def test_a_repeat_that_one_of_two_has_missed_is_no_pair() -> None:
    samples = [sample("netloop", 0, 8.0), sample("netloop", 1, 99.0), sample("uvloop", 0, 10.0)]
    summary = Summary(samples)
    assert summary.ratio(ROW.name, "netloop", "uvloop", "cpu_us") == Spread(0.8, 0.8, 0.8, 1)
    assert summary.ratio(ROW.name, "netloop", "asyncio", "cpu_us") is None
    assert summary.ratio(ROW.name, "netloop", "uvloop", "p50_us") is None


def test_a_cell_that_failed_once_has_no_figures() -> None:
    samples = [sample("netloop", 0, 8.0), sample("uvloop", 0, 10.0)]
    summary = Summary(samples, failed={(ROW.name, "netloop")})
    assert summary.figure(ROW.name, "netloop", "cpu_us") is None
    assert summary.ratio(ROW.name, "netloop", "uvloop", "cpu_us") is None
    assert summary.contenders(ROW.name) == ["uvloop"]


def test_distributions_are_medians_over_the_repeats() -> None:
    distributions = [[[0.5, 10.0], [0.99, 90.0]], [[0.5, 30.0], [0.99, 70.0]], [[0.5, 20.0], [0.99, 80.0]]]
    samples = [Sample("netloop", ROW.name, repeat, {}, points) for repeat, points in enumerate(distributions)]
    assert Summary(samples).distribution(ROW.name, "netloop") == [(0.5, 20.0), (0.99, 80.0)]


@pytest.mark.parametrize(
    ("found", "met", "missed_by", "is_open"),
    [
        (verdict(0.69, True, 0.60), True, 0.0, False),
        (verdict(0.69, True, 0.69), True, 0.0, True),
        (verdict(0.50, True, 0.75), False, 0.5, False),
        (verdict(1.50, False, 2.00), True, 0.0, False),
        (verdict(1.50, False, 1.20), False, 0.2, False),
        (verdict(0.80, True, 0.70, 0.90, 1.10), False, 0.125, True),
    ],
)
def test_a_verdict_says_by_how_much_a_target_is_missed(
    found: Verdict, met: bool, missed_by: float, is_open: bool
) -> None:
    assert (found.met, found.open) == (met, is_open)
    assert found.missed_by == pytest.approx(missed_by)


def test_targets_apply_to_the_rows_they_name() -> None:
    samples = [sample("netloop", 0, 6.0), sample("uvloop", 0, 10.0)]
    (cpu, calls) = judge([ROW], Summary(samples), {(ROW.name, "netloop"): 0.04})
    assert (cpu.figure, cpu.bound, cpu.met) == ("cpu_us", 0.69, True)
    assert cpu.measured.median == pytest.approx(0.6)
    assert (calls.figure, calls.bound, calls.measured.median, calls.met) == ("calls", 0.05, 0.04, True)


def test_every_target_covers_a_row_and_every_peer_row_is_a_row() -> None:
    for target in TARGETS:
        for pattern in target.rows.split():
            assert any(type(target)(pattern, "", 1).covers(row) for row in FULL), pattern
    assert set(PEERS) <= set(FULL)
    assert set(QUICK) <= set(FULL)


def test_the_best_peer_is_the_loop_that_does_most_and_no_c_server() -> None:
    samples = [sample(name, 0, cpu) for name, cpu in (("netloop", 8.0), ("uvloop", 10.0), ("rloop", 7.0))]
    found = best_peer(ROW, Summary([*samples, sample("c-uring", 0, 1.0)]))
    assert found is not None
    assert (found.against, found.met) == ("rloop", False)
    assert found.measured.median == pytest.approx(0.875)


def test_peers_in_a_herd_are_compared_by_the_time_until_the_last_is_served() -> None:
    herd = Row("herd", 2000)
    times = (("netloop", 1200.0), ("uvloop", 2400.0), ("asyncio", 1000.0))
    samples = [Sample(name, herd.name, 0, {"cpu_us": 100.0, "last_ms": last}) for name, last in times]
    found = best_peer(herd, Summary(samples))
    assert found is not None
    assert (found.figure, found.against, found.met) == ("last_ms", "asyncio", False)
    assert found.measured.median == pytest.approx(1.2)


def test_a_server_of_a_herd_is_told_how_many_may_wait_and_how_long_it_works(tmp_path: Path) -> None:
    assert server_arguments(tmp_path, Row("herd_deep_long", 2000)) == ["--busy", "500", "--backlog", "1024"]
    assert load_arguments(tmp_path, Row("herd_busy", 2000)) == ["--size", "64"]


@pytest.mark.parametrize("row", FULL, ids=lambda row: row.name)
def test_a_row_is_read_as_it_is_written(row: Row) -> None:
    assert parse(row.name) == row


@pytest.mark.parametrize(
    "text", ["", "nothing:1x64", "protocol", "protocol:10", "protocol:0x64", "aiohttp:10x64", "call_soon:1", "udp:1x0"]
)
def test_what_is_no_row_is_refused(text: str) -> None:
    with pytest.raises(BenchError):
        parse(text)


@pytest.mark.parametrize(("size", "head"), [(5, b"\x82\x05"), (300, b"\x82\x7e\x01\x2c"), (70000, b"\x82\x7f")])
def test_websocket_frames_have_the_length_in_front(size: int, head: bytes) -> None:
    payload = bytes(size)
    assert frame(payload, mask=False).startswith(head)
    assert frame(payload, mask=False).endswith(payload)
    assert len(frame(payload, mask=True)) == len(frame(payload, mask=False)) + 4


def report() -> Report:
    samples = [sample("netloop", 0, 8.0), sample("uvloop", 0, 10.0), sample("asyncio", 0, 12.0)]
    outcome = Outcome(
        samples, {(ROW.name, "netloop"): Trace(0.03, {"read": 0.03})}, {(ROW.name, "asyncio"): "it lost a byte"}
    )
    contenders = {name: Availability("1.0") for name in ("netloop", "uvloop", "asyncio")}
    contenders["rsloop"] = Availability(None, "not installed")
    settings = {"tracing": True, "server_cpu": 1, "repeats": 1}
    return Report("bench", {}, settings, [ROW], contenders, {}, {"wrk:100": "no wrk"}, outcome)


def test_an_error_is_shown_as_one() -> None:
    found = report()
    assert comparison(found).lines == [["protocol echo, 100 x 64 B", "0.80", "1", "error"]]
    assert details(found).lines[2][1:3] == ["asyncio", "error"]
    notes = "\n".join(found.notes())
    assert "ERROR protocol:100x64 on asyncio: it lost a byte" in notes
    assert "rsloop: not installed" in notes
    assert "wrk:100 is left out: no wrk" in notes


def test_results_come_back_from_json() -> None:
    text = report().to_json()
    assert Report.from_json(text).to_json() == text
    assert comparison(Report.from_json(text)) == comparison(report())
    with pytest.raises(BenchError):
        Report.from_json("{}")


def test_stress_runs_become_tables(tmp_path: Path) -> None:
    found = {
        "kernel": "6.18",
        "python": "3.11.7",
        "options": {"scenario": "hold", "connections": 16000, "workers": 1, "server": "echo"},
        "lines": [{"what": "connections held", "value": "16,000 of 16,000", "good": True}],
        "failures": {},
    }
    for name in ("hold", "later"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "results.json").write_text(json.dumps(found))
        found["failures"] = {"reset": 2}
    hold, later = stress_runs(tmp_path).split("\n\n**")
    assert hold.startswith("**hold: 16,000 connections to 1 server (echo), Linux 6.18, CPython 3.11.7**")
    assert "| connections held | 16,000 of 16,000 | good |\n| failures | 0 | good |" in hold
    assert "| failed: reset | 2 | bad |" in later


def test_what_wrk_and_strace_report_is_read() -> None:
    text = "  Latency Distribution\n     50%    1.50ms\n     99%  250.00us\n  8136 requests in 1.00s, 1.27MB read\n"
    assert wrk.parse(text) == (8136, 1500.0, 250.0)
    with pytest.raises(BenchError, match="Socket errors"):
        wrk.parse(text + "  Socket errors: connect 0, read 3, write 0, timeout 0\n")
    lines = [" 60.00 0.000100 1 100 10 read", " 40.00 0.000050 1 50 write", "100.00 0.000150 1 150 10 total"]
    assert parse_summary("\n".join(lines)) == {"read": 100, "write": 50}


def test_a_package_without_the_benchmark_says_where_it_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(netloop, "__path__", [str(tmp_path / "netloop")])
    assert bench_command.main([]) == 2
    assert "pip install 'netloop[bench]'" in capsys.readouterr().err
