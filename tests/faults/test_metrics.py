"""What is exported of loops that come and go, run in several threads, block, and are inherited by forked children.

Metrics are a process's own, and once asked for they stay, so each test has a process to itself.
"""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import json
import os
import threading
import time
import tracemalloc
import urllib.request
import warnings

import pytest

import netloop

from .child import run_child

pytestmark = [
    pytest.mark.loops("netloop"),
    pytest.mark.skipif(
        importlib.util.find_spec("prometheus_client") is None,
        reason="prometheus-client is not installed; it comes with `pip install '.[test]'`",
    ),
]

BLOCKED = 0.05


class Exported:
    """A registry of this process's loops."""

    def __init__(self):
        from prometheus_client import CollectorRegistry

        self.registry = CollectorRegistry()
        self.collector = netloop.metrics.prometheus(self.registry)

    def __getitem__(self, name):
        """The value of a series that has no labels."""
        return self.registry.get_sample_value(f"netloop_{name}")

    def samples(self):
        """All series that are there, and of which kind they are."""
        return {
            (sample.name, *sample.labels.values()): (family.type, sample.value)
            for family in self.registry.collect()
            for sample in family.samples
        }

    def counts(self):
        """The values of those that only grow."""
        return {name: value for name, (kind, value) in self.samples().items() if kind in ("counter", "histogram")}


def block(seconds=BLOCKED):
    time.sleep(seconds)


async def some_turns():
    for _ in range(3):
        await asyncio.sleep(0.0001)


# What is measured --------------------------------------------------------------------------------------------------


def the_figures_of_two_loops():
    exported = Exported()
    loops = [netloop.EventLoop(), netloop.EventLoop()]
    for number, loop in enumerate(loops):
        loop.call_later(3600, block)
        loop.call_soon_threadsafe(block, 0)
        for _ in range(number + 1):
            loop.run_until_complete(some_turns())
    each = [loop.statistics() for loop in loops]
    names = {
        "turns_total": "turns",
        "enters_total": "enters",
        "submissions_total": "submissions",
        "completions_total": "completions",
        "timers": "timers",
    }
    told = {name: exported[name] for name in names}
    most = max(one.max_completions_per_turn for one in each)
    result = {
        "told": told,
        "counted": {name: sum(getattr(one, of) for one in each) for name, of in names.items()},
        "marks": exported["max_completions_per_turn"] == most,
        "turns": exported["turn_duration_seconds_count"] == told["turns_total"],
        "loops": exported["loops"],
    }
    for loop in loops:
        loop.close()
    return result


def test_the_figures_of_all_loops_are_added_up():
    result = run_child(the_figures_of_two_loops)
    assert result["told"] == result["counted"]
    assert result["marks"]
    assert result["turns"]
    assert result["loops"] == 2


def the_lag_of_timers(debug):
    exported = Exported()
    loop = netloop.EventLoop()
    loop.set_debug(debug)
    loop.slow_callback_duration = 60

    async def main():
        loop.call_later(-1, block, 0)
        loop.call_at(loop.time() - 1, block, 0)
        loop.call_at(float("-inf"), block, 0)
        loop.call_later(0.001, block, 0).cancel()
        await some_turns()
        on_time = exported["lag_seconds_count"], exported["lag_seconds_sum"]
        loop.call_later(0.001, block, 0)
        loop.call_at(loop.time() + 0.001, block, 0)
        block()
        await asyncio.sleep(0.01)
        return on_time

    (count, lag) = loop.run_until_complete(main())
    late = exported["lag_seconds_sum"] - lag
    buckets = exported.registry.get_sample_value("netloop_lag_seconds_bucket", {"le": "0.02"})
    result = count, exported["lag_seconds_count"] - count, late, exported["lag_seconds_count"] - buckets
    loop.close()
    return result


@pytest.mark.parametrize("debug", [False, True])
def test_lag_is_how_late_timers_are_called(debug):
    """Those that were past when they were made are not late, and those that are cancelled are not called."""
    on_time, blocked, late, beyond = run_child(the_lag_of_timers, debug)
    assert (on_time, blocked) == (3, 3)
    assert late >= 2 * (BLOCKED - 0.001)
    assert beyond >= 2


def the_work_of_turns():
    exported = Exported()
    loop = netloop.EventLoop()
    begun = time.monotonic()
    loop.run_until_complete(asyncio.sleep(0.5))
    took = time.monotonic() - begun
    waited = exported["turn_duration_seconds_sum"]
    loop.call_soon(block)
    loop.run_until_complete(some_turns())
    worked = exported["turn_duration_seconds_sum"] - waited
    loop.close()
    return took, waited, worked


def test_the_work_of_a_turn_is_what_is_no_wait():
    took, waited, worked = run_child(the_work_of_turns)
    # Half of the wait is left for whatever else this machine does, which also counts while a turn is at work.
    assert 0 < waited <= took - 0.25
    assert worked >= BLOCKED


def a_stall():
    exported = Exported()
    loop = netloop.EventLoop(stall_threshold=0.02)

    async def main():
        while not loop.statistics().stalls:
            block(0.2)
            await asyncio.sleep(0.05)

    loop.run_until_complete(main())
    open_loop = exported["stalls_total"]
    loop.close()
    statistics = loop.statistics()
    return [
        (open_loop, statistics.stalls),
        (exported["stalls_total"], statistics.stalls),
        (exported["saturated_turns_total"], statistics.saturated_turns),
        (exported["stall_duration_seconds_sum"], statistics.stall_seconds),
        (exported["stall_duration_seconds_count"], sum(statistics.stall_histogram)),
    ]


def test_stalls_are_told():
    for told, counted in run_child(a_stall):
        assert told == counted


def a_loop_from_before():
    loop = netloop.EventLoop()
    loop.run_until_complete(some_turns())
    gone = netloop.EventLoop()
    gone.run_until_complete(some_turns())
    gone.close()
    exported = Exported()
    turns = loop.statistics().turns
    before = exported["turns_total"], exported["turn_duration_seconds_count"], exported["lag_seconds_count"]
    loop.run_until_complete(some_turns())
    after = exported["turn_duration_seconds_count"], exported["lag_seconds_count"]
    ran = loop.statistics().turns - turns
    loop.close()
    return turns, before, ran, after


def test_a_loop_that_is_older_than_the_wish_is_measured_from_then_on():
    turns, before, ran, after = run_child(a_loop_from_before)
    assert before == [turns, 0, 0]
    assert after == [ran, 3]


# Loops that come and go --------------------------------------------------------------------------------------------


def a_thousand_loops():
    exported = Exported()
    series = len(exported.samples())

    def run_some(count):
        counts = exported.counts()
        for number in range(count):
            netloop.run(some_turns())
            if number % 20 == 0:
                earlier, counts = counts, exported.counts()
                assert all(counts[name] >= value for name, value in earlier.items())
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    begun = run_some(100)
    grown = run_some(1000) - begun
    return grown, len(exported.samples()) - series, exported["loops"], exported["lag_seconds_count"]


@pytest.mark.limit(120)
def test_a_thousand_loops_leave_their_counts_and_nothing_else():
    grown, more_series, loops, timers = run_child(a_thousand_loops, seconds=90)
    assert (more_series, loops, timers) == (0, 0, 3300)
    assert grown < 100_000


class Nested(netloop.EventLoop):
    """Makes and closes another loop whenever it is asked for its counters, as a finalizer may that runs just then."""

    def statistics(self):
        netloop.EventLoop().close()
        return super().statistics()


def loops_within_a_scrape():
    exported = Exported()
    loop = Nested()
    found = [exported["loops"] for _ in range(3)]
    loop.close()
    return [*found, exported["loops"]]


def test_loops_may_be_made_and_closed_in_the_middle_of_a_scrape():
    assert run_child(loops_within_a_scrape) == [1, 1, 1, 0]


def loops_in_threads(seconds):
    from prometheus_client import start_http_server
    from prometheus_client.parser import text_string_to_metric_families

    exported = Exported()
    server, serving = start_http_server(0, addr="127.0.0.1", registry=exported.registry)
    enough = threading.Event()
    failures = []

    def run_loops():
        while not enough.is_set():
            netloop.run(some_turns())

    def forget_loops():
        while not enough.is_set():
            loop = netloop.new_event_loop()
            loop.run_until_complete(some_turns())
            loop.itself = loop
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ResourceWarning)
                del loop
                gc.collect()

    def noting(function):
        try:
            function()
        except BaseException as error:
            failures.append(repr(error))
            raise

    threads = [threading.Thread(target=noting, args=(each,)) for each in (run_loops, run_loops, forget_loops)]
    for thread in threads:
        thread.start()
    counts, fell = {}, []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        for family in text_string_to_metric_families(text):
            for sample in family.samples if family.type in ("counter", "histogram") else ():
                name = (sample.name, *sample.labels.values())
                if sample.value < counts.get(name, 0):
                    fell.append((name, counts[name], sample.value))
                counts[name] = sample.value
    enough.set()
    for thread in threads:
        thread.join()
    server.shutdown()
    server.server_close()
    serving.join()
    return failures, fell, counts["netloop_turns_total",], exported["loops"]


@pytest.mark.limit(60)
def test_no_count_falls_while_loops_come_and_go_in_threads():
    """They are scraped meanwhile, and some of them are closed by the collector, in whichever thread."""
    failures, fell, turns, loops = run_child(loops_in_threads, 2.0, seconds=40)
    assert failures == fell == []
    assert turns > 0
    assert loops == 0


def a_fork(within_loop):
    exported = Exported()
    loop = netloop.EventLoop()
    loop.run_until_complete(some_turns())
    reading, writing = os.pipe()

    def in_child():
        found = {"begins with": exported["turns_total"] + exported["lag_seconds_count"] + exported["loops"]}
        if not within_loop:
            loop.close()
        netloop.run(some_turns())
        found["own timers"] = exported["lag_seconds_count"]
        found["turns"] = exported["turns_total"] == exported["turn_duration_seconds_count"] > 0
        return found

    def fork():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if not child:
            try:
                asyncio.events._set_running_loop(None)
                os.write(writing, json.dumps(in_child()).encode())
            finally:
                os._exit(0)
        os.waitpid(child, 0)

    loop.call_soon(fork) if within_loop else fork()
    loop.run_until_complete(some_turns())
    kept = exported["lag_seconds_count"], exported["loops"]
    loop.close()
    return json.loads(os.read(reading, 65536)), kept


@pytest.mark.parametrize("within_loop", [False, True])
def test_a_forked_child_tells_of_its_own_loops(within_loop):
    child, parent = run_child(a_fork, within_loop)
    assert child == {"begins with": 0, "own timers": 3, "turns": True}
    assert parent == [6, 1]


# The registry ------------------------------------------------------------------------------------------------------


def registering():
    from prometheus_client import REGISTRY, CollectorRegistry, Counter

    found = {}
    default = netloop.metrics.prometheus()
    found["default"] = REGISTRY.get_sample_value("netloop_loops")
    found["again"] = netloop.metrics.prometheus(REGISTRY) is default
    REGISTRY.unregister(default)
    found["unregistered"] = REGISTRY.get_sample_value("netloop_loops")
    netloop.metrics.prometheus()
    found["registered again"] = REGISTRY.get_sample_value("netloop_loops")
    found["second registry"] = Exported()["loops"]
    for wrong in (1, "default", object()):
        try:
            netloop.metrics.prometheus(wrong)
        except TypeError as error:
            found.setdefault("refused", []).append(str(error).startswith("registry must be a prometheus_client."))
    taken = CollectorRegistry()
    Counter("netloop_turns", "Somebody else's.", registry=taken)
    try:
        netloop.metrics.prometheus(taken)
    except ValueError as error:
        found["taken"] = "netloop_turns_total" in str(error)
    return found


def test_a_registry_has_the_loops_once():
    assert run_child(registering) == {
        "default": 0,
        "again": True,
        "unregistered": None,
        "registered again": 0,
        "second registry": 0,
        "refused": [True, True, True],
        "taken": True,
    }
