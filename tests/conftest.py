"""What every test shares: the loops under test, and the checks that follow each test.

After a test there is no descriptor more than before, nothing reached a loop's exception handler that the test did not
take, no task is left, and a netloop loop holds no operation, connection, watcher or timer. A test that hangs is ended
with the stacks of all threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import functools
import gc
import inspect
import os
import signal
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
from kernels.needs import missing
from loop.differences import Difference, difference_of
from loop.patience import stretched

LOOPS = ("asyncio", "uvloop", "netloop")
LOOPS_OF_FOLDER = {
    "device": ("netloop",),
    "faults": ("netloop",),
    "leases": ("netloop",),
    "packets": ("netloop",),
    "soak": ("asyncio", "netloop"),
}
SETTLE_SECONDS = 3.0
HOPELESS_SECONDS = 20.0
PASSED = pytest.StashKey[bool]()
STDERR = pytest.StashKey[int]()
LoopFactory = Callable[[], asyncio.AbstractEventLoop]


class TestHung(SystemExit):
    """A test ran longer than its limit.

    It derives from SystemExit because that is what every loop lets through; an ordinary exception raised inside a
    callback would go to the loop's exception handler and the loop would run on.
    """

    __test__ = False


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--loops", default=None, help="loops to test, separated by commas: " + ",".join(LOOPS))
    parser.addoption(
        "--try-skipped",
        action="store_true",
        help="run only what is skipped because a loop is known to fail it, each time; see tests/loop/table.py",
    )
    parser.addoption("--limit", type=float, default=30.0, help="seconds after which a test counts as hung")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "limit(seconds): how long this test may take before it counts as hung")
    config.addinivalue_line("markers", "loops(*names): the loops to test, if not those of the folder")
    config.addinivalue_line("markers", "needs(*names): what netloop's kernel must offer; see tests/kernels/needs.py")
    capture = config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        config.stash[STDERR] = os.dup(2)


def pytest_unconfigure(config: pytest.Config) -> None:
    os.close(config.stash[STDERR])


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "loop_name" not in metafunc.fixturenames:
        return
    chosen = metafunc.config.getoption("loops")
    marker = metafunc.definition.get_closest_marker("loops")
    if chosen:
        # Other loops than those it is for would hang in some tests, and crash in others.
        names = tuple(name for name in chosen.split(",") if not marker or name in marker.args)
    else:
        names = marker.args if marker else LOOPS_OF_FOLDER.get(metafunc.definition.path.parent.name, LOOPS)
    metafunc.parametrize("loop_name", names, indirect=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("try_skipped"):
        items[:] = [item for item in items if (found := difference(item)) and found.skip and not found.at_times]
        return
    for item in items:
        for reason in lacking(item):
            item.add_marker(pytest.mark.skip(reason))
        if found := difference(item):
            reason = f"{item.callspec.params['loop_name']}: {found.reason}"  # type: ignore[attr-defined]
            item.add_marker(pytest.mark.skip(reason) if found.skip else pytest.mark.xfail(reason=reason, strict=True))


def difference(item: pytest.Item) -> Difference | None:
    """What the loop of a test is known to do otherwise."""
    name = getattr(item, "callspec", None) and item.callspec.params.get("loop_name")  # type: ignore[attr-defined]
    if not name:
        return None
    return difference_of(name, item.path.stem, item.originalname, item.name)  # type: ignore[attr-defined]


def lacking(item: pytest.Item) -> list[str]:
    """What a test needs of the kernel and does not find, on the loop that uses it."""
    callspec = getattr(item, "callspec", None)
    if callspec and callspec.params.get("loop_name", "netloop") != "netloop":
        return []
    names = [name for marker in item.iter_markers("needs") for name in marker.args]
    return [reason for name in names if (reason := missing(name))]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    report = yield
    if report.when == "call":
        item.stash[PASSED] = report.passed
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    # After a failure pytest's own faulthandler plugin cancels what the hang guard has started, so it starts again.
    hopeless = stretched(HOPELESS_SECONDS)
    faulthandler.dump_traceback_later(hopeless, exit=True, file=item.config.stash[STDERR])


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run an ``async def`` test that takes ``loop`` on that loop."""
    loop: Any = pyfuncitem.funcargs.get("loop")
    if not inspect.iscoroutinefunction(pyfuncitem.obj) or loop is None:
        return None
    wanted = inspect.signature(pyfuncitem.obj).parameters
    loop.run_until_complete(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in wanted}))
    return True


@functools.cache
def factory_of(name: str) -> LoopFactory:
    """The function that makes a loop of this kind; what the kind sets up once per process is set up on return."""
    factory: LoopFactory
    if name == "asyncio":
        factory = asyncio.SelectorEventLoop
    elif name == "uvloop":
        factory = __import__("uvloop").new_event_loop
    else:
        factory = __import__("netloop").new_event_loop
    loop = factory()
    loop.run_until_complete(loop.run_in_executor(None, int))
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    return factory


@pytest.fixture(autouse=True, scope="module")
def small_heap() -> None:
    """Leave what is there already, mostly imported modules, out of the collections that follow each test."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def hang_guard(request: pytest.FixtureRequest) -> Iterator[None]:
    """End a test after its limit: by an exception in the main thread, or, if that is not delivered, by exiting."""
    marker = request.node.get_closest_marker("limit")
    seconds = stretched(marker.args[0] if marker else request.config.getoption("limit"))
    stderr = request.config.stash[STDERR]

    def give_up(signum: int, frame: object) -> None:
        faulthandler.dump_traceback(stderr)
        raise TestHung(f"the test was still running after {seconds:g} s; the stacks of all threads are on stderr")

    previous = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, seconds, 5.0)
    hopeless = seconds + stretched(HOPELESS_SECONDS)
    faulthandler.dump_traceback_later(hopeless, exit=True, file=stderr)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def open_descriptors() -> dict[int, str]:
    """This process's descriptors and what each refers to."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the descriptor of the listing itself is gone by now
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
    return found


@pytest.fixture(autouse=True)
def no_descriptor_left(request: pytest.FixtureRequest, hang_guard: None) -> Iterator[None]:
    """Fail when the test leaves a descriptor open, or closes one that is not its own.

    The kernel may take a moment to tear a ring down.
    """
    callspec = getattr(request.node, "callspec", None)
    if callspec and "loop_name" in callspec.params:
        factory_of(callspec.params["loop_name"])
    before = open_descriptors()
    yield
    deadline = time.monotonic() + stretched(SETTLE_SECONDS)
    while True:
        gc.collect()
        after = open_descriptors()
        left = {fd: target for fd, target in after.items() if before.get(fd) != target}
        if not left or time.monotonic() > deadline:
            break
        time.sleep(0.01)
    if request.node.stash.get(PASSED, False):
        assert not left, f"descriptors left open: {left}"
        lost = {fd: target for fd, target in before.items() if after.get(fd) != target}
        assert not lost, f"descriptors closed that were not the test's: {lost}"


class Reported(list[dict[str, Any]]):
    """The contexts that reached the exception handler of any loop of this test."""

    def handle(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.append(context)

    def take(self) -> list[dict[str, Any]]:
        """What was reported so far; the test expected it, so it no longer counts as a failure."""
        taken = list(self)
        self.clear()
        return taken

    def take_types(self) -> list[type[BaseException]]:
        """The types of the exceptions reported so far, in order."""
        return [type(context["exception"]) for context in self.take()]


@pytest.fixture
def exceptions(request: pytest.FixtureRequest) -> Iterator[Reported]:
    """What the loops' exception handlers got; the test fails if it does not take all of it."""
    reported = Reported()
    yield reported
    gc.collect()
    if request.node.stash.get(PASSED, False):
        assert not reported, f"reached the loop's exception handler: {list(reported)}"


@pytest.fixture
def loop_name(request: pytest.FixtureRequest) -> str:
    """The kind of loop: ``asyncio``, ``uvloop`` or ``netloop``."""
    return str(request.param)


@pytest.fixture
def loop_class(loop_name: str) -> type[asyncio.AbstractEventLoop]:
    """The public class a program would subclass."""
    if loop_name == "asyncio":
        return asyncio.SelectorEventLoop
    module = __import__(loop_name)
    return module.Loop if loop_name == "uvloop" else module.EventLoop  # type: ignore[no-any-return]


@pytest.fixture
def raw_loop(loop_name: str) -> LoopFactory:
    """Makes loops that the test itself closes, with nothing added to them."""
    return factory_of(loop_name)


@pytest.fixture
def new_loop(
    request: pytest.FixtureRequest, loop_name: str, exceptions: Reported
) -> Iterator[Callable[..., asyncio.AbstractEventLoop]]:
    """Makes loops, by the test's own factory if it gives one; those still open at the end are checked and closed."""
    made: list[asyncio.AbstractEventLoop] = []

    def make(factory: LoopFactory | None = None) -> asyncio.AbstractEventLoop:
        loop = (factory or factory_of(loop_name))()
        loop.set_exception_handler(exceptions.handle)
        made.append(loop)
        return loop

    yield make
    patience = stretched(SETTLE_SECONDS)
    problems = [problem for loop in made if not loop.is_closed() for problem in finish(loop, patience)]
    made.clear()
    asyncio.set_event_loop(None)
    if request.node.stash.get(PASSED, False):
        assert not problems, "; ".join(problems)


@pytest.fixture
def loop(new_loop: LoopFactory) -> asyncio.AbstractEventLoop:
    """One loop of the kind under test."""
    return new_loop()


@pytest.fixture
def run(loop: asyncio.AbstractEventLoop) -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """Runs a coroutine to its end on ``loop``."""
    return loop.run_until_complete


def leftovers(loop: asyncio.AbstractEventLoop) -> list[str]:
    """What a netloop loop still holds; other loops do not tell."""
    statistics = getattr(loop, "statistics", None)
    if statistics is None:
        return []
    figures = statistics()
    names = ("in_flight", "connections", "watchers", "timers", "ready", "buffers_in_use", "fixed_files_in_use")
    return [f"{name} == {getattr(figures, name)}" for name in names if getattr(figures, name)]


def finish(loop: asyncio.AbstractEventLoop, patience: float) -> list[str]:
    """Let a loop come to rest, in at most that many seconds, close it, and return what was left on it."""
    problems = []
    try:
        tasks = [task for task in asyncio.all_tasks(loop) if not task.done()]
        problems += [f"task left running: {task!r}" for task in tasks]
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True) if tasks else asyncio.sleep(0))
        deadline = time.monotonic() + patience
        loop.run_until_complete(asyncio.sleep(0))
        while leftovers(loop) and time.monotonic() < deadline:
            gc.collect()
            loop.run_until_complete(asyncio.sleep(0.005))
        problems += [f"left on the loop: {what}" for what in leftovers(loop)]
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
    except (RuntimeError, OSError) as error:
        problems.append(f"the loop could not be brought to rest: {error!r}")
    loop.close()
    return problems


@pytest.fixture(autouse=True, scope="session")
def no_current_loop() -> None:
    """Tests name the loop they mean; none is set as current."""
    if sys.version_info < (3, 14):
        asyncio.set_event_loop(None)
