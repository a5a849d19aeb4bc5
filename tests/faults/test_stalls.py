"""A loop that is kept from going on, and what its stall detector says about it."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import dataclasses
import gc
import json
import logging
import os
import re
import subprocess
import sys
import threading
import time

import pytest
from loop.helpers import LOCKED, Recorder, address_of, serving
from loop.test_lifetime import switches

import netloop
from netloop.hosted.stalls import StallWatch, loop_lines

from .child import run_child

# Long, so that a busy machine brings about no other stall than the one that is meant.
THRESHOLD = 0.2
LONG = 0.5
PATIENCE = 20.0
ATTEMPTS = 5
# Sleeps without letting go of the interpreter lock, as C code may that nobody has thought about.
usleep_with_the_lock = ctypes.PyDLL(None).usleep


pytestmark = pytest.mark.loops("netloop")


class Watched:
    """A loop with a stall detector, and what its handler was told of callbacks that block.

    On a machine that is busy with other things a turn of short callbacks may take long, too.
    """

    def __init__(self, loop):
        self.loop = loop
        self.reports = []
        self.saturated = []
        loop.set_stall_handler(self.note)

    def note(self, report):
        (self.reports if report.kind == "blocked" else self.saturated).append(report)

    def run(self, function, *arguments):
        """Have a coroutine call the function in the loop, and wait for the report; there must be one.

        Where the machine has given the detector no CPU meanwhile, it is tried again.
        """

        async def main():
            self.reports.clear()
            function(*arguments)
            await self.reported()

        for _ in range(ATTEMPTS):
            self.loop.run_until_complete(main())
            (report,) = self.reports
            if report.seen:
                break
        return report

    async def reported(self):
        deadline = time.monotonic() + PATIENCE
        while not self.reports and time.monotonic() < deadline:
            await asyncio.sleep(0.005)


@pytest.fixture
def watched(new_loop):
    return Watched(new_loop(lambda: netloop.EventLoop(stall_threshold=THRESHOLD)))


def detectors():
    return [thread for thread in threading.enumerate() if thread.name == "netloop-stalls"]


def compute():
    end = time.monotonic() + LONG
    while time.monotonic() < end:
        pass


def enlarged(work, size, prepare=lambda size: None):
    """A size with which ``work(size)`` takes several times the threshold on this machine, once it is prepared."""
    while True:
        prepare(size)
        begun = time.thread_time()
        work(size)
        if time.thread_time() - begun > 3 * THRESHOLD:
            return size
        size *= 2


def fits(report, cause):
    """Is this the cause? Where the machine is busy with other things, that is the greater one of course."""
    return report.cause in (cause, "starved")


def has_line(report, function, text):
    """Is there, in the report's stack, a line of that function of this file, and does it read so?"""
    with open(__file__) as source:
        lines = source.read().splitlines()
    return any(
        line.file == __file__ and line.function.endswith(function) and text in lines[line.line - 1]
        for line in report.stack
    )


@pytest.mark.limit(120)
class TestCauses:
    def test_a_sleep(self, watched):
        report = watched.run(time.sleep, LONG)
        assert (report.kind, report.seen, report.lock_held) == ("blocked", True, False)
        assert fits(report, "waiting")
        assert report.seconds >= THRESHOLD
        assert has_line(report, "Watched.run.<locals>.main", "function(*arguments)")

    def test_a_computation(self, watched):
        report = watched.run(compute)
        assert fits(report, "cpu")
        assert report.seen
        assert has_line(report, "compute", "while time.monotonic() < end") or has_line(report, "compute", "pass")

    def test_a_long_regular_expression(self, watched):
        def search(size):
            return re.search("b+c", "ab" * size)

        report = watched.run(search, enlarged(search, 1 << 20))
        assert fits(report, "cpu")
        assert report.lock_held or report.cause == "starved"
        assert has_line(report, "search", "re.search(")
        assert ("C code could not be interrupted" in str(report)) == report.lock_held

    def test_a_large_document(self, watched):
        def parse(size):
            return json.loads(f"[{'3.25,' * size}0]")

        report = watched.run(parse, enlarged(parse, 1 << 18))
        assert report.lock_held or report.cause == "starved"
        assert has_line(report, "parse", "json.loads(")

    def test_a_collection_of_garbage(self, watched):
        def collect():
            gc.collect()

        kept = [[] for _ in range(1000)]

        def keep(size):
            kept.extend([] for _ in range(size - len(kept)))

        gc.disable()
        try:
            enlarged(lambda size: collect(), 1 << 19, keep)
            for _ in range(ATTEMPTS):
                report = watched.run(collect)
                # Without the lock the collector stops the detector too, which may look just after it, where the same
                # callback goes on.
                if LOCKED or not report.seen or has_line(report, "collect", "gc.collect()"):
                    break
        finally:
            gc.enable()
        assert report.gc_seconds > THRESHOLD / 2
        # Or only when the stall is over.
        if LOCKED or report.seen:
            assert has_line(report, "collect", "gc.collect()")
        assert report.cause == "gc"
        assert "the garbage collector has run" in str(report)

    def test_a_c_function_that_keeps_the_interpreter_lock(self, watched):
        report = watched.run(usleep_with_the_lock, int(LONG * 1e6))
        assert report.lock_held or report.cause == "starved"
        assert report.lock_seconds < report.seconds
        assert has_line(report, "Watched.run.<locals>.main", "function(*arguments)")

    @pytest.mark.skipif(not LOCKED, reason="there is no interpreter lock to keep")
    def test_another_thread_that_keeps_the_interpreter_lock(self, watched):
        def hog():
            time.sleep(0.05)
            usleep_with_the_lock(int(LONG * 1e6))

        async def main():
            thread = threading.Thread(target=hog)
            thread.start()
            await watched.reported()
            thread.join()

        watched.loop.run_until_complete(main())
        (report,) = watched.reports
        assert (report.kind, report.cause) == ("blocked", "lock")
        assert "another thread" in str(report)

    def test_many_short_callbacks(self, watched):
        def short():
            time.sleep(0.002)

        async def main():
            for _ in range(200):
                watched.loop.call_soon(short)
            while not watched.saturated:
                await asyncio.sleep(0.005)

        watched.loop.run_until_complete(main())
        report = watched.saturated[0]
        assert report.callback.endswith("short")
        assert report.waiting > 0
        assert watched.loop.statistics().saturated_turns == len(watched.saturated)


class TestReport:
    def test_the_task_and_what_it_awaits(self, watched):
        async def innermost():
            time.sleep(LONG)

        async def inner():
            await innermost()

        async def main():
            await asyncio.create_task(inner(), name="the guilty one")
            await watched.reported()

        watched.loop.run_until_complete(main())
        (report,) = watched.reports
        assert report.task == "the guilty one"
        assert [line.function.rpartition(".")[2] for line in report.awaits] == ["inner", "innermost"]
        assert report.callback.endswith("inner")

    def test_a_callback_of_a_protocol(self, watched):
        class Slow(asyncio.Protocol):
            def data_received(self, data):
                time.sleep(LONG)

        async def main():
            async with serving(Slow) as (server, _):
                client, _ = await watched.loop.create_connection(Recorder, *address_of(server))
                client.write(b"x")
                await watched.reported()
                client.close()

        watched.loop.run_until_complete(main())
        (report,) = watched.reports
        assert report.callback.endswith("Slow.data_received")
        assert report.task is None
        assert has_line(report, "Slow.data_received", "time.sleep(LONG)")

    def test_the_end_of_a_connection(self, watched):
        class Slow(asyncio.Protocol):
            def connection_lost(self, error):
                time.sleep(LONG)

        async def main():
            async with serving(Slow) as (server, _):
                client, _ = await watched.loop.create_connection(Recorder, *address_of(server))
                client.close()
                await watched.reported()

        watched.loop.run_until_complete(main())
        (report,) = watched.reports
        assert report.callback.endswith("Slow.connection_lost")
        assert has_line(report, "Slow.connection_lost", "time.sleep(LONG)")

    def test_a_callback_without_a_python_frame(self, watched):
        async def main():
            watched.loop.call_soon(time.sleep, LONG)
            watched.loop.call_soon(int)
            await watched.reported()

        watched.loop.run_until_complete(main())
        (report,) = watched.reports
        assert (report.callback, report.stack, report.seen) == ("time.sleep", (), True)
        assert report.waiting >= 1

    def test_it_is_logged_while_the_loop_is_stuck(self, watched, caplog):
        seen = []

        def stuck():
            deadline = time.monotonic() + PATIENCE
            while not caplog.records and time.monotonic() < deadline:
                time.sleep(0.001)
            seen.extend(caplog.records)

        with caplog.at_level(logging.WARNING, "asyncio"):
            report = watched.run(stuck)
        (record,) = seen
        assert "The event loop is blocked" in record.getMessage()
        assert "stuck\n    time.sleep(0.001)" in record.getMessage()
        assert (record.stall_kind, record.stall_task) == ("blocked", report.task)
        assert record.stall_seconds <= report.seconds
        json.dumps({name: value for name, value in vars(record).items() if name.startswith("stall_")})

    def test_the_log_is_not_flooded(self, watched, caplog):
        async def main():
            for _ in range(5):
                time.sleep(LONG)
                await asyncio.sleep(0)
            await watched.reported()
            await asyncio.sleep(1.1)
            time.sleep(LONG)
            await asyncio.sleep(0.1)

        with caplog.at_level(logging.WARNING, "asyncio"):
            watched.loop.run_until_complete(main())
        figures = watched.loop.statistics()
        assert 0 < len(caplog.records) < figures.stalls + figures.saturated_turns
        left_out = sum(record.stall_left_out for record in caplog.records)
        # Those since the last record are yet to be told.
        assert 0 < left_out <= figures.stalls + figures.saturated_turns - len(caplog.records)
        assert "reports left out of the log since the last one: " in caplog.text

    def test_what_came_too_late_keeps_no_stack_out_of_the_log(self, watched, caplog, monkeypatch):
        describe = StallWatch._describe
        late = [True]

        def describe_late(watch, sighting, loop):
            report = describe(watch, sighting, loop)
            return dataclasses.replace(report, seen=False, stack=()) if late.pop() else report

        async def main():
            # Three reports within a second: too late, with a stack, and one that is left out.
            for late[:] in ([True], [False], [False]):
                watched.reports.clear()
                time.sleep(LONG)
                await watched.reported()

        monkeypatch.setattr(StallWatch, "_describe", describe_late)
        with caplog.at_level(logging.WARNING, "asyncio"):
            watched.loop.run_until_complete(main())
        assert [record.stall_seen for record in caplog.records[:2]] == [False, True]
        assert "time.sleep(LONG)" in caplog.records[1].getMessage()

    def test_it_is_counted(self, watched):
        for count in (1, 2):
            watched.run(time.sleep, LONG)
            watched.reports.clear()
            figures = watched.loop.statistics()
            assert figures.stalls == sum(figures.stall_histogram) >= count
            assert figures.stall_seconds >= count * THRESHOLD
        assert sum(figures.stall_histogram[: figures.stall_bounds.index(THRESHOLD)]) == 0

    def test_the_handler_is_called_in_the_loops_thread(self, watched):
        threads = []
        watched.loop.set_stall_handler(lambda report: (threads.append(threading.get_ident()), watched.note(report)))
        watched.run(time.sleep, LONG)
        assert set(threads) == {threading.get_ident()}

    def test_a_handler_that_fails_is_reported_as_any_callback(self, watched, exceptions):
        def fail(report):
            watched.reports.append(report)
            raise ZeroDivisionError

        watched.loop.set_stall_handler(fail)
        watched.run(time.sleep, LONG)
        assert exceptions.take_types() == [ZeroDivisionError]

    def test_a_loop_that_is_closed_tells_what_is_left(self, watched):
        watched.loop.call_soon(time.sleep, LONG)
        watched.loop.call_soon(watched.loop.stop)
        watched.loop.run_forever()
        assert watched.reports == []
        watched.loop.close()
        assert [report.callback for report in watched.reports] == ["time.sleep"]

    def test_a_handler_that_fails_at_the_end_keeps_no_loop_open(self, watched, exceptions):
        def fail(report):
            raise ZeroDivisionError

        watched.loop.set_stall_handler(fail)
        watched.loop.call_soon(time.sleep, LONG)
        watched.loop.call_soon(watched.loop.stop)
        watched.loop.run_forever()
        watched.loop.close()
        assert watched.loop.is_closed()
        assert exceptions.take_types() == [ZeroDivisionError]

    def test_on_a_loop_that_spins(self, new_loop):
        watched = Watched(new_loop(lambda: netloop.EventLoop(stall_threshold=THRESHOLD, spin=0.001)))
        assert fits(watched.run(time.sleep, LONG), "waiting")

        async def main():
            await asyncio.sleep(0.0005)
            watched.reports.clear()
            watched.loop.call_later(0.01, time.sleep, LONG)
            await watched.reported()

        watched.loop.run_until_complete(main())
        assert [report.callback for report in watched.reports] == ["time.sleep"]

    def test_in_debug_mode(self, watched):
        watched.loop.set_debug(True)
        watched.loop.slow_callback_duration = 60.0
        assert has_line(watched.run(compute), "compute", "")


def test_of_a_stack_only_what_the_loop_has_called_is_told(watched):
    loop = watched.loop
    assert loop_lines(loop._stack()) == []
    told = []
    loop.call_soon(lambda: told.extend(loop_lines(loop._stack())))
    loop.run_until_complete(asyncio.sleep(0))
    (line,) = (line for _, line in told)
    assert line.function.endswith("<lambda>")
    assert line.file == __file__


class TestWhatIsNoStall:
    def test_a_loop_that_waits(self, watched):
        watched.loop.run_until_complete(asyncio.sleep(3 * THRESHOLD))
        assert watched.loop.statistics().stalls == 0

    def test_a_loop_that_does_not_run(self, watched):
        watched.loop.run_until_complete(asyncio.sleep(0))
        time.sleep(3 * THRESHOLD)
        watched.loop.run_until_complete(asyncio.sleep(0))
        assert watched.loop.statistics().stalls == 0

    def test_turns_without_a_wait(self, watched):
        async def main():
            end = time.monotonic() + 3 * THRESHOLD
            while time.monotonic() < end:
                await asyncio.sleep(0)

        watched.loop.run_until_complete(main())
        assert watched.loop.statistics().stalls == 0

    def test_a_loop_that_spins(self, new_loop):
        loop = new_loop(lambda: netloop.EventLoop(stall_threshold=0.05, spin=0.2))
        loop.run_until_complete(asyncio.sleep(0.3))
        assert loop.statistics().stalls == 0


class TestThread:
    def test_there_is_one_from_the_first_run_to_the_end(self, watched):
        assert detectors() == []
        for _ in range(2):
            watched.loop.run_until_complete(asyncio.sleep(0))
            assert len(detectors()) == 1
        watched.loop.close()
        assert detectors() == []
        assert not any(getattr(each, "__name__", "") == "note_collection" for each in gc.callbacks)

    def test_it_sleeps_while_the_loop_waits(self, watched):
        watched.loop.run_until_complete(asyncio.sleep(0))
        (thread,) = detectors()

        async def main():
            await asyncio.sleep(2 * THRESHOLD)
            before = switches(thread.native_id)
            await asyncio.sleep(5 * THRESHOLD)
            return switches(thread.native_id) - before

        # It may wake when the wait begins, and when it has ended.
        assert watched.loop.run_until_complete(main()) <= 3

    def test_it_is_not_woken_by_every_turn(self, watched):
        async def main():
            (thread,) = detectors()
            before = switches(thread.native_id)
            turns = watched.loop.statistics().turns
            end = time.monotonic() + 5 * THRESHOLD
            while time.monotonic() < end or watched.loop.statistics().turns < turns + 200:
                await asyncio.sleep(0.001)
            return switches(thread.native_id) - before, watched.loop.statistics().turns - turns

        woken, turns = watched.loop.run_until_complete(main())
        assert woken < turns / 4

    def test_there_is_none_when_it_is_off(self, new_loop):
        loop = new_loop(lambda: netloop.EventLoop(stall_threshold=0))
        loop.run_until_complete(asyncio.sleep(0))
        assert detectors() == []

    def test_a_loop_that_is_forgotten_leaves_none(self, loop_name):
        loop = netloop.EventLoop(stall_threshold=THRESHOLD)
        loop.run_until_complete(asyncio.sleep(0))
        with pytest.warns(ResourceWarning, match="unclosed event loop"):
            del loop
            gc.collect()
        assert detectors() == []

    def test_a_loop_that_goes_to_another_thread(self, watched):
        watched.loop.run_until_complete(asyncio.sleep(0))
        reports = []
        thread = threading.Thread(target=lambda: reports.append(watched.run(compute)))
        thread.start()
        thread.join()
        (report,) = reports
        assert has_line(report, "compute", "")
        assert fits(report, "cpu")

    def test_two_loops_in_two_threads(self, new_loop):
        pair = [Watched(new_loop(lambda: netloop.EventLoop(stall_threshold=THRESHOLD))) for _ in range(2)]
        threads = [threading.Thread(target=each.run, args=(time.sleep, LONG)) for each in pair]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert all(fits(report, "waiting") for each in pair for report in each.reports)
        assert pair[0].reports[0].task != pair[1].reports[0].task


def fork_and_stall():
    """A child's loop has a detector of its own, whatever the parent's was doing when it forked."""
    from loop.forking import forked, succeeded

    loop = netloop.EventLoop(stall_threshold=THRESHOLD)

    def in_child():
        assert detectors() == []
        with contextlib.closing(netloop.EventLoop(stall_threshold=THRESHOLD)) as own:
            watched = Watched(own)
            assert fits(watched.run(time.sleep, LONG), "waiting")
            assert len(detectors()) == 1
        assert detectors() == []

    ended = []

    def fork():
        time.sleep(LONG)
        asyncio._set_running_loop(None)
        ended.append(forked(in_child))
        asyncio._set_running_loop(loop)

    with contextlib.closing(loop):
        watched = Watched(loop)
        report = watched.run(fork)
        assert len(detectors()) == 1
        # A loop that does not run can be closed by the child, too.
        ended.append(forked(loop.close))
        return [report.kind, *map(succeeded, ended)]


def test_a_fork_while_the_detector_runs(loop_name):
    assert run_child(fork_and_stall) == ["blocked", True, True]


UNCLOSED = """
import time
import netloop

loop = netloop.EventLoop(stall_threshold=0.1, inspect=True)
loop.call_soon(time.sleep, 0.3)
loop.call_soon(loop.stop)
loop.run_forever()
time.sleep(END)
"""


@pytest.mark.parametrize("end", [0, 0.2])
def test_a_program_that_ends_without_closing_its_loop(loop_name, tmp_path, end):
    command = [sys.executable, "-c", UNCLOSED.replace("END", str(end))]
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0
    assert "The event loop is blocked" in done.stderr
    assert "Exception" not in done.stderr
    assert list((tmp_path / "netloop").iterdir()) == []


class TestOptions:
    @pytest.mark.parametrize("threshold", [-1, 0.001, 5000, float("nan")])
    def test_a_threshold_out_of_range(self, loop_name, threshold):
        with pytest.raises(ValueError, match=r"stall_threshold must be 0 or from 0\.01 to 3600 seconds"):
            netloop.EventLoop(stall_threshold=threshold)

    def test_a_threshold_that_is_no_number(self, loop_name):
        with pytest.raises(TypeError, match="stall_threshold must be a number of seconds, not str"):
            netloop.EventLoop(stall_threshold="0.1")

    def test_the_environment(self, new_loop, monkeypatch):
        monkeypatch.setenv("NETLOOP_STALL_THRESHOLD", str(THRESHOLD))
        watched = Watched(new_loop())
        assert watched.run(time.sleep, LONG).threshold == THRESHOLD

    def test_a_bad_environment(self, loop_name, monkeypatch):
        monkeypatch.setenv("NETLOOP_STALL_THRESHOLD", "soon")
        with pytest.raises(ValueError, match="NETLOOP_STALL_THRESHOLD must be a number of seconds, not 'soon'"):
            netloop.EventLoop()

    def test_a_bad_handler(self, loop):
        with pytest.raises(TypeError, match="callable"):
            loop.set_stall_handler(1)

    def test_a_handler_without_a_detector(self, loop):
        loop.set_stall_handler(print)
        loop.set_stall_handler(None)
        assert loop.statistics().stalls == 0
