"""What is exported under which names, and the arithmetic of what took how long."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from dataclasses import fields

import pytest

from netloop.hosted.histogram import Histogram
from netloop.hosted.totals import COUNTS, HISTOGRAMS, MARKS, POOLS, Reading
from netloop.metrics.catalogue import DURATIONS, FIGURES, LOOPS
from netloop.statistics import PoolStatistics, Statistics

EVERYTHING = (LOOPS, *FIGURES, *DURATIONS)
PROMETHEUS = re.compile(r"netloop(_[a-z]+)+")
OPENTELEMETRY = re.compile(r"netloop(\.[a-z]+(_[a-z]+)*)+")


class TestCatalogue:
    def test_every_figure_of_the_statistics_is_exported(self) -> None:
        exported = {figure.statistic for figure in FIGURES}
        told = {field.name for field in fields(Statistics)} - {"pools", "rings", "stall_seconds", "stall_histogram"}
        assert exported == told | set(POOLS)
        assert set(POOLS.values()) <= {field.name for field in fields(PoolStatistics)}
        assert {duration.histogram for duration in DURATIONS} == set(HISTOGRAMS)

    def test_a_figure_is_of_the_kind_that_it_is_summed_up_as(self) -> None:
        kinds = {figure.statistic: figure.kind for figure in FIGURES}
        assert {name for name, kind in kinds.items() if kind == "count"} == COUNTS
        assert {name for name, kind in kinds.items() if kind == "mark"} == MARKS

    def test_names_are_as_is_usual(self) -> None:
        for each in EVERYTHING:
            assert PROMETHEUS.fullmatch(each.prometheus)
            assert OPENTELEMETRY.fullmatch(each.opentelemetry)
            # The client adds these.
            assert not each.prometheus.endswith(("_total", "_seconds", "_count", "_sum", "_bucket"))
            assert re.fullmatch(r"\{[a-z]+\}", each.unit)
            assert each.description.endswith(".")

    def test_no_name_is_taken_twice(self) -> None:
        for name in ("prometheus", "opentelemetry"):
            assert len({getattr(each, name) for each in EVERYTHING}) == len(EVERYTHING)

    def test_bounds_that_are_exported_are_bounds_of_buckets(self) -> None:
        for duration in DURATIONS:
            assert set(duration.bounds or ()) <= set(HISTOGRAMS[duration.histogram])


class TestHistogram:
    counted = Histogram((1.0, 2.0, 4.0), {0: 2, 1: 6, 2: 2}, 18)

    def test_counts_up_to_a_bound(self) -> None:
        assert [self.counted.at_most(bound) for bound in self.counted.bounds] == [2, 8, 10]
        assert self.counted.count == 10

    @pytest.mark.parametrize(
        ("share", "time"), [(0.1, 0.5), (0.2, 1.0), (0.5, 1.5), (0.8, 2.0), (0.9, 3.0), (1.0, 4.0)]
    )
    def test_quantiles_are_interpolated(self, share: float, time: float) -> None:
        assert self.counted.quantile(share) == pytest.approx(time)

    def test_what_is_beyond_the_last_bound_is_told_as_that(self) -> None:
        assert Histogram((1.0, 2.0), {0: 1, 2: 3}).quantile(0.5) == 2.0

    def test_nothing_has_no_quantile(self) -> None:
        assert math.isnan(Histogram((1.0,)).quantile(0.5))

    def test_sums_and_differences(self) -> None:
        more = Histogram(self.counted.bounds, {2: 1, 3: 5}, 100)
        total = self.counted + more
        assert total == Histogram(self.counted.bounds, {0: 2, 1: 6, 2: 3, 3: 5}, 118)
        assert total - self.counted == more

    def test_the_order_in_which_times_are_added_up_makes_no_difference(self) -> None:
        some = [Histogram((1.0,), {0: 1}, nanoseconds) for nanoseconds in (100_000_003, 200_000_007, 300_000_011)]
        assert (some[0] + some[1] + some[2]).seconds == (some[2] + some[1] + some[0]).seconds

    def test_by_bound(self) -> None:
        assert Histogram((0.5, 1.0), {2: 7, 0: 3}).by_bound() == {"0.5": 3, "inf": 7}


def test_a_loop_that_has_gone_leaves_counts_and_marks() -> None:
    names = {figure.statistic: number for number, figure in enumerate(FIGURES, 1)}
    past = Reading(1, names, Reading().histograms).of_the_past()
    assert past.loops == 0
    assert {name for name, value in past.figures.items() if value} == COUNTS | MARKS
    together = past + Reading(1, names, Reading().histograms)
    for name, number in names.items():
        assert together.figures[name] == (2 * number if name in COUNTS else number)


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("code", ["import netloop", "import netloop; netloop.new_event_loop().close()"])
def test_who_has_no_metrics_imports_none(code: str) -> None:
    code += "; import sys; print({'netloop.metrics', 'prometheus_client', 'opentelemetry'} & {*sys.modules})"
    assert python(code) == "set()"


@pytest.mark.parametrize(
    ("package", "extra"), [("prometheus_client", "prometheus"), ("opentelemetry", "opentelemetry")]
)
def test_a_missing_package_is_named_with_its_remedy(package: str, extra: str) -> None:
    said = python(f"""
import sys
sys.modules[{package!r}] = None
import netloop.metrics
try:
    netloop.metrics.{extra}()
except ImportError as error:
    print(error.name.partition(".")[0], error)
""")
    assert said.startswith(package)
    assert said.endswith(f"pip install 'netloop[{extra}]'")


def test_another_import_that_fails_is_told_as_it_is() -> None:
    pytest.importorskip("prometheus_client", reason="not installed: pip install prometheus-client")
    said = python("""
import sys
sys.modules["http.server"] = None  # which prometheus-client needs
import netloop.metrics
try:
    netloop.metrics.prometheus()
except ImportError as error:
    print(error.name)
""")
    assert said == "http.server"
