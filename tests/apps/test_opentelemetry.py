"""netloop's metrics in OpenTelemetry's own SDK.

Metrics are a process's own, and once asked for they stay, so each test has a process to itself.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import time
import warnings
from typing import Any

import pytest
from faults.child import run_child

import netloop

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("opentelemetry.sdk" if importlib.util.find_spec("opentelemetry") else "opentelemetry")
    is None,
    reason="opentelemetry-sdk is not installed; it comes with `pip install '.[test]'`",
)

BLOCKED = 0.05


class Read:
    """A provider of metrics, and what its reader finds."""

    def __init__(self) -> None:
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import InMemoryMetricReader

        self.reader = InMemoryMetricReader()
        self.provider = MeterProvider([self.reader])

    def collect(self) -> dict[str, tuple[str, str, Any]]:
        """By name: kind, unit and value. Each must be there once."""
        found = {}
        data = self.reader.get_metrics_data()
        for resource in data.resource_metrics if data else ():
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    (point,) = metric.data.data_points
                    kind = type(metric.data).__name__
                    if kind == "Sum":
                        kind = "counter" if getattr(metric.data, "is_monotonic") else "up-down counter"  # noqa: B009
                    assert metric.name not in found
                    found[metric.name] = (kind, metric.unit or "", getattr(point, "value"))  # noqa: B009
        return found


async def be_late() -> None:
    """Have a timer called late, by a turn that takes long."""
    asyncio.get_running_loop().call_later(0.001, int)
    time.sleep(BLOCKED)
    await asyncio.sleep(0.002)


def everything() -> dict[str, Any]:
    read = Read()
    netloop.metrics.opentelemetry(read.provider.get_meter("mine"))
    loop = netloop.EventLoop()
    loop.run_until_complete(be_late())
    found = read.collect()
    statistics = loop.statistics()
    loop.close()
    names = {"turns": "turn.count", "enters": "enter.count", "submissions": "submission.count"}
    return {
        "loops": found["netloop.loop.count"],
        "turns": found["netloop.turn.duration.count"][2] == found["netloop.turn.count"][2],
        "statistics": all(found[f"netloop.{name}"][2] == getattr(statistics, figure) for figure, name in names.items()),
        "lag": [found[f"netloop.lag.{word}"] for word in ("count", "sum", "p50", "max")],
        "no stalls": [name for name in found if name.startswith("netloop.stall.duration.")],
        "after": read.collect()["netloop.loop.count"],
    }


def test_every_figure_is_told() -> None:
    found = run_child(everything)
    assert found["loops"] == ["up-down counter", "{loop}", 1]
    assert found["after"] == ["up-down counter", "{loop}", 0]
    assert found["turns"]
    assert found["statistics"]
    count, together, half, most = found["lag"]
    assert count == ["counter", "{timer}", 2]
    assert together[:2] == ["counter", "s"]
    assert half[:2] == most[:2] == ["Gauge", "s"]
    # Of two timers one was late. A bucket is a tenth of its times wide.
    assert together[2] >= BLOCKED - 0.001
    assert 0 < half[2] <= most[2]
    assert most[2] >= 0.9 * (BLOCKED - 0.001)
    # There is no quantile of nothing.
    assert sorted(found["no stalls"]) == ["netloop.stall.duration.count", "netloop.stall.duration.sum"]


def collections() -> Any:
    from netloop.metrics.instruments import _COLLECTION_SECONDS

    read, other = Read(), Read()
    for each in (read, read, other):
        netloop.metrics.opentelemetry(each.provider.get_meter("mine"))
    loop = netloop.EventLoop()
    loop.run_until_complete(be_late())
    first = read.collect()
    time.sleep(_COLLECTION_SECONDS)
    loop.run_until_complete(asyncio.sleep(0.001))
    second = read.collect()
    time.sleep(_COLLECTION_SECONDS)
    third = read.collect()
    loop.close()
    maximum = [each.get("netloop.turn.duration.max", (None,))[-1] for each in (first, second, third)]
    return maximum, other.collect()["netloop.turn.count"] == third["netloop.turn.count"]


@pytest.mark.limit(60)
def test_quantiles_are_those_since_the_last_collection() -> None:
    (first, second, third), same = run_child(collections)
    assert first >= 0.9 * BLOCKED
    assert second is not None
    assert third is None  # nothing ran
    assert same


def before_there_is_a_provider() -> Any:
    from opentelemetry import metrics

    netloop.metrics.opentelemetry()
    netloop.metrics.opentelemetry()
    read = Read()
    metrics.set_meter_provider(read.provider)
    netloop.metrics.opentelemetry()
    netloop.run(be_late())
    return read.collect()["netloop.lag.count"][2]


def test_it_may_be_asked_for_before_there_is_a_provider() -> None:
    assert run_child(before_there_is_a_provider) == 2


def wrong_meters() -> list[str]:
    said = []
    for wrong in (1, "netloop", Read().provider):
        try:
            netloop.metrics.opentelemetry(wrong)  # type: ignore[arg-type]
        except TypeError as error:
            said.append(str(error))
    return said


def test_what_is_no_meter_is_refused() -> None:
    said = run_child(wrong_meters)
    assert len(said) == 3
    assert all(text.startswith("meter must be an opentelemetry.metrics.Meter or None, not ") for text in said)


def a_fork() -> bool:
    read = Read()
    netloop.metrics.opentelemetry(read.provider.get_meter("mine"))
    netloop.run(be_late())
    read.collect()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if not child:
        status = 1
        try:
            netloop.run(asyncio.sleep(0.001))
            found = read.collect()
            assert found["netloop.lag.count"][2] == 1
            assert 0 < found["netloop.turn.count"][2] == found["netloop.turn.duration.count"][2]
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_forked_child_tells_of_its_own_loops() -> None:
    assert run_child(a_fork)
