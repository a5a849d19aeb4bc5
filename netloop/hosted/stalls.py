"""Stalls: a thread that notices when the loop does not go on, and reports why.

The thread belongs to the loop from its first run to close(). It sleeps in ``netloop.core.stalls`` until a turn has
taken too long; all that is here runs once per stall.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import functools
import inspect
import sys
import threading
import time
import weakref
from asyncio.log import logger
from bisect import bisect_left
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from types import CodeType
from typing import TYPE_CHECKING, Any, Final, Literal

from netloop.hosted.loop_mixin import LoopMixin
from netloop.stall_report import StackLine, StallReport
from netloop.statistics import Statistics

if TYPE_CHECKING:
    from netloop.core.stalls import Sighting

__all__ = ["SlowCallback", "StallReports", "StallWatch", "loop_lines"]

StallHandler = Callable[[StallReport], object]

# One line in the log per loop and second at most; the next one says how many were left out.
_LOG_SECONDS: Final = 1.0
# Whoever waits for the interpreter lock is given it after a switch interval, by Python code.
_SWITCHES: Final = 5
# The callbacks of which it is remembered how long they took.
_SLOWEST: Final = 100
# Which part of the time must have gone to something for it to be the cause.
_MOST: Final = 0.5

_COROUTINE: Final = inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
_RUN_FOREVER: Final = asyncio.BaseEventLoop.run_forever.__code__


# A thread that outlives the interpreter can neither end nor be waited for.
_watches: weakref.WeakSet[StallWatch] = weakref.WeakSet()


@atexit.register
def _stop_watches() -> None:
    for watch in list(_watches):
        watch.stop()


@dataclass
class SlowCallback:
    """A callback that has blocked the loop: how many times, and how long."""

    where: str
    count: int = 0
    seconds: float = 0.0
    longest: float = 0.0


class StallReports(LoopMixin):
    """The part of a loop that reports when it does not go on."""

    _stall_watch: StallWatch | None = None
    _stall_handler: StallHandler | None = None

    def set_stall_handler(self, handler: StallHandler | None) -> None:
        """Have ``handler(report)`` called after each stall, with a :class:`netloop.StallReport`; None for nobody.

        It is called in the loop's thread, as a callback, when the stall is over: so it may use the loop, and the report
        has the whole time. What is reported while the loop is stuck goes to the log. A loop that is closed calls it for
        what is left. Without ``stall_threshold`` there are no reports.
        """
        if handler is not None and not callable(handler):
            raise TypeError(f"a callable object or None is expected, not {handler!r}")
        self._stall_handler = handler

    def _watch_for_stalls(self, threshold: float) -> None:
        self._stall_watch = StallWatch(self, threshold)

    def _end_stall_reports(self) -> None:
        """The loop is being closed."""
        if self._stall_watch is not None:
            self._stall_watch.close(self)
        else:
            self._end_stall_detector()

    def _slowest(self) -> list[dict[str, Any]]:
        """The callbacks that have blocked the loop, those first that took longest, in what JSON knows."""
        slowest = list(self._stall_watch.slowest.items()) if self._stall_watch is not None else []
        slowest.sort(key=lambda pair: -pair[1].longest)
        return [{"callback": name, **asdict(slow)} for name, slow in slowest]

    def _stall_counters(self) -> dict[str, Any]:
        """What loop.statistics() tells of stalls."""
        watch = self._stall_watch
        return {
            "stalls": watch.stalls if watch else 0,
            "saturated_turns": watch.saturated_turns if watch else 0,
            "stall_seconds": watch.seconds if watch else 0.0,
            "stall_histogram": tuple(watch.histogram) if watch else (0,) * (len(Statistics.stall_bounds) + 1),
        }

    def _abandon(self) -> None:
        """After fork, in the child: the detector's thread is the parent's."""
        super()._abandon()
        if self._stall_watch is not None:
            self._stall_watch.abandon()


class StallWatch:
    """The detector of one loop, its thread, and what it has counted.

    The thread refers to the loop weakly, so that a loop that is forgotten without being closed is still collected.
    """

    def __init__(self, loop: StallReports, threshold: float) -> None:
        self.threshold = threshold
        self.stalls = self.saturated_turns = 0
        self.seconds = 0.0
        self.histogram = [0] * (len(Statistics.stall_bounds) + 1)
        self.slowest: dict[str, SlowCallback] = {}
        self._loop = weakref.ref(loop)
        self._detector = loop._new_stall_detector(threshold)
        self._thread: threading.Thread | None = None
        self._stopped = False
        # What was reported and is not over yet, by its kind; and what the handler is to hear of.
        self._open: dict[str, StallReport] = {}
        self._untold: deque[StallReport] = deque()
        self._logged = float("-inf")
        self._logged_seen = False
        self._left_out = 0
        _watches.add(self)

    def start(self) -> None:
        """The loop is about to run: have a thread that looks on. The first time only."""
        if self._thread is None and not self._stopped:
            thread = threading.Thread(target=self._look_on, name="netloop-stalls", daemon=True)
            thread.start()
            self._thread = thread

    def close(self, loop: StallReports) -> None:
        """The loop is being closed: end the thread, and tell the handler what it has not heard."""
        loop._end_stall_detector()
        self.stop()
        while self._untold:
            try:
                self._tell(loop)
            except Exception as error:
                loop.call_exception_handler({"message": "Exception in the stall handler", "exception": error})

    def stop(self) -> None:
        """End the thread, and begin no other."""
        self._stopped = True
        self._detector.close()
        thread, self._thread = self._thread, None
        if thread is threading.current_thread():
            # The loop was forgotten while this thread had the last reference.
            self._detector.release()
        elif thread is not None:
            thread.join()

    def abandon(self) -> None:
        """In a forked child, which has no such thread."""
        self._thread = None
        self._untold.clear()

    # In the detector's thread -----------------------------------------------------------------------------------

    def _look_on(self) -> None:
        while (sighting := self._detector.next()) is not None:
            try:
                if sighting.over:
                    self._note_end(sighting)
                else:
                    self._report(sighting)
            except Exception:
                logger.exception("netloop: a stall of the event loop could not be reported")

    def _report(self, sighting: Sighting) -> None:
        loop = self._loop()
        report = self._describe(sighting, loop)
        self._open[sighting.kind] = report
        if report.kind == "blocked":
            self.stalls += 1
        else:
            self.saturated_turns += 1
        now = time.monotonic()
        # What came too late for a stack tells hardly anything, and must not keep out of the log what has one.
        if now - self._logged < _LOG_SECONDS and (self._logged_seen or not report.seen):
            self._left_out += 1
            return
        fields = {f"stall_{name}": value for name, value in report.as_dict().items()}
        text = str(report)
        if self._left_out:
            text += f"\n(reports left out of the log since the last one: {self._left_out})"
        logger.warning("%s", text, extra={**fields, "stall_left_out": self._left_out})
        self._logged, self._logged_seen, self._left_out = now, report.seen, 0

    def _note_end(self, sighting: Sighting) -> None:
        begun = self._open.pop(sighting.kind, None)
        if begun is None:
            return  # it could not be reported, which was logged
        report = replace(begun, seconds=sighting.seconds)
        if report.kind == "blocked":
            self.seconds += report.seconds
            self.histogram[bisect_left(Statistics.stall_bounds, report.seconds)] += 1
            self._remember(report)
        self._untold.append(report)
        loop = self._loop()
        if loop is None or loop._stall_handler is None:
            self._untold.clear()
            return
        with contextlib.suppress(RuntimeError):  # it is being closed, and close() tells
            loop.call_soon_threadsafe(self._tell, loop)

    def _remember(self, report: StallReport) -> None:
        where = str(report.stack[0]) if report.stack else ""
        if report.callback not in self.slowest and len(self.slowest) >= _SLOWEST:
            del self.slowest[min(self.slowest, key=lambda each: self.slowest[each].longest)]
        slow = self.slowest.setdefault(report.callback, SlowCallback(where))
        slow.count += 1
        slow.seconds += report.seconds
        slow.longest = max(slow.longest, report.seconds)

    def _describe(self, sighting: Sighting, loop: StallReports | None) -> StallReport:
        seen = sighting.stands
        lines = loop_lines(sighting.stack) if seen else []
        task = self._task_of(sighting, loop) if seen else None
        lock_held = sighting.lock_seconds >= _SWITCHES * sys.getswitchinterval()
        return StallReport(
            kind=_kind(sighting.kind),
            seconds=sighting.seconds,
            threshold=self.threshold,
            cause=_cause_of(sighting, lock_held),
            cpu_share=sighting.cpu_share,
            gc_seconds=sighting.gc_seconds,
            lock_seconds=sighting.lock_seconds,
            lock_held=lock_held,
            channel=sighting.channel,
            seen=seen,
            callback=_callback_of(sighting, loop, task, lines) if seen else "a callback",
            task=task.get_name() if task is not None else None,
            awaits=tuple(line for code, line in lines if code.co_flags & _COROUTINE) if task is not None else (),
            stack=tuple(line for _, line in lines),
            waiting=sighting.waiting,
        )

    def _task_of(self, sighting: Sighting, loop: StallReports | None) -> asyncio.Task[Any] | None:
        """The task that is being run, if one is."""
        task = asyncio.current_task(loop) if loop is not None else None
        if task is not None and (sighting.kind == "saturated" or self._detector.stands()):
            return task
        owner = getattr(sighting.handle and sighting.handle._callback, "__self__", None)
        return owner if isinstance(owner, asyncio.Task) else None

    # In the loop's thread ---------------------------------------------------------------------------------------

    def _tell(self, loop: StallReports) -> None:
        report = self._untold.popleft() if self._untold else None
        if report is not None and loop._stall_handler is not None:
            loop._stall_handler(report)


def loop_lines(stack: list[tuple[CodeType, int]]) -> list[tuple[CodeType, StackLine]]:
    """The part of a stack that the loop has called: without what has called the loop, nothing if that does not run."""
    last = max((place for place, (code, _) in enumerate(stack) if code is _RUN_FOREVER), default=len(stack))
    return [(code, StackLine(code.co_filename, line, code.co_qualname)) for code, line in stack[last + 1 :]]


def _kind(text: str) -> Literal["blocked", "saturated"]:
    return "blocked" if text == "blocked" else "saturated"


def _cause_of(sighting: Sighting, lock_held: bool) -> Literal["cpu", "gc", "waiting", "lock", "starved"]:
    if sighting.without_lock:
        return "lock"
    if sighting.gc_seconds >= _MOST * sighting.seconds:
        return "gc"
    if sighting.cpu_share >= _MOST:
        return "cpu"
    if sighting.delay_share >= _MOST or sighting.state == "R":
        return "starved"
    if lock_held and "futex" in sighting.channel:
        return "lock"
    return "waiting"


def _callback_of(
    sighting: Sighting,
    loop: StallReports | None,
    task: asyncio.Task[Any] | None,
    lines: list[tuple[CodeType, StackLine]],
) -> str:
    if task is not None:
        return str(getattr(task.get_coro(), "__qualname__", task.get_coro()))
    callback = sighting.handle._callback if sighting.handle is not None else None
    # A method of the loop's, such as the one that calls connection_lost(), is not what the loop called for the program.
    if callback is not None and not (lines and loop is not None and getattr(callback, "__self__", None) is loop):
        return _name_of(callback)
    # No callback of the ready queue: a protocol or a watcher, called by native code straight from the completion.
    return lines[0][1].function if lines else "native code"


def _name_of(callback: Any) -> str:
    """A callable by its name. Not by its repr(), which may be code of the application's that expects its own thread."""
    while isinstance(callback, functools.partial):
        callback = callback.func
    name = getattr(callback, "__qualname__", None)
    if not isinstance(name, str):
        return f"an object of type {type(callback).__qualname__}"
    module = getattr(callback, "__module__", None)
    return f"{module}.{name}" if isinstance(module, str) and module not in ("__main__", "builtins") else name
