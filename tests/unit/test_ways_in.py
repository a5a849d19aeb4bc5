"""The ways into netloop: making a loop, running on it, installing it, and falling back where io_uring is refused."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import errno
import importlib
import inspect
import logging
import os
import re
import subprocess
import sys
import threading
import types
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import netloop
from netloop.setup.loops import load_event_loop
from netloop.setup.unavailable import explain

FALL_BACK = [errno.ENOSYS, errno.EPERM, errno.EACCES, errno.EINVAL, errno.EOPNOTSUPP]
NEVER_FALL_BACK = [errno.ENOMEM, errno.EMFILE, errno.ENFILE]


class StandIn(asyncio.SelectorEventLoop):
    """Stands in for the loop on the ring: these tests are about how one comes by a loop, not about what it does."""


@pytest.fixture(scope="session", autouse=True)
def _uvloop_is_set_up() -> None:
    """A process's first uvloop opens a pipe for good, which is not what these tests look at."""
    with contextlib.suppress(ImportError):
        importlib.import_module("uvloop").new_event_loop().close()


@pytest.fixture(autouse=True)
def _no_fallback_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NETLOOP_FALLBACK", raising=False)


@pytest.fixture
def loop_class(monkeypatch: pytest.MonkeyPatch) -> Callable[[object], None]:
    """Puts something in the place of the loop's class."""

    def replace(made_by: object) -> None:
        module = types.ModuleType("netloop.event_loop")
        module.EventLoop = made_by  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "netloop.event_loop", module)
        monkeypatch.delitem(vars(netloop), "EventLoop", raising=False)
        # What __getattr__ stores on first use must not outlive the test either.
        monkeypatch.setitem(vars(netloop), "EventLoop", made_by)

    return replace


@pytest.fixture
def available(loop_class: Callable[[object], None]) -> None:
    """Io_uring can be set up."""
    loop_class(StandIn)


@pytest.fixture
def refused(loop_class: Callable[[object], None]) -> Callable[[int], None]:
    """Io_uring cannot be set up: the function takes the errno."""

    def refuse(number: int) -> None:
        def make() -> None:
            raise explain(number)

        loop_class(make)

    return refuse


@pytest.fixture
def restored_policy() -> Iterator[None]:
    """Puts asyncio's policy back after the test."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        asyncio.set_event_loop_policy(None)


def in_child(program: str) -> str:
    """Run a program in an interpreter of its own that makes warnings errors; its standard output."""
    command = [sys.executable, "-W", "error", "-c", program]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout


def module_of(loop: asyncio.AbstractEventLoop) -> str:
    """Close the loop, and tell where its class comes from."""
    loop.close()
    return type(loop).__module__.partition(".")[0]


class TestImport:
    def test_needs_neither_the_kernel_nor_the_compiled_modules(self) -> None:
        program = """
import os, sys
before = os.listdir("/proc/self/fd")
import netloop
assert os.listdir("/proc/self/fd") == before
print(*sorted(name for name in sys.modules if name.startswith("netloop.")))
"""
        loaded = in_child(program).split()
        setup = {f"netloop.setup.{name}" for name in ("install", "loops", "surroundings", "unavailable")}
        leaves = {"netloop._version", "netloop.stall_report", "netloop.statistics"}
        assert set(loaded) == {"netloop.setup", *leaves, *setup}

    def test_the_policy_comes_without_a_warning(self) -> None:
        assert in_child("import netloop; print(netloop.EventLoopPolicy.__name__)").strip() == "EventLoopPolicy"

    def test_an_unknown_name_is_an_attribute_error(self) -> None:
        with pytest.raises(AttributeError, match="no attribute 'NoSuchThing'"):
            netloop.NoSuchThing  # noqa: B018

    def test_dir_lists_the_lazy_names(self) -> None:
        assert {"EventLoop", "EventLoopPolicy", "run", "install", "new_event_loop"} <= set(dir(netloop))

    @pytest.mark.usefixtures("available")
    def test_every_public_name_is_there(self) -> None:
        for name in netloop.__all__:
            assert getattr(netloop, name) is not None

    def test_no_interpreter_lock_before_python_3_14_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "_is_gil_enabled", lambda: False, raising=False)
        monkeypatch.setattr(sys, "version_info", (3, 13, 0))
        with pytest.raises(ImportError, match=r"from Python 3\.14 on.*PYTHON_GIL=1"):
            netloop.new_event_loop(fallback="asyncio")

    @pytest.mark.usefixtures("available")
    @pytest.mark.skipif(sys.version_info < (3, 13), reason="there is always a lock")
    def test_a_loop_leaves_the_interpreter_lock_as_it_was(self) -> None:
        program = "import sys, netloop; before = sys._is_gil_enabled(); netloop.new_event_loop().close()"
        assert in_child(f"{program}; print(sys._is_gil_enabled() is before)").strip() == "True"

    def test_another_system_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "platform", "darwin")
        with pytest.raises(ImportError, match=r"netloop needs Linux.*darwin"):
            load_event_loop()

    def test_another_implementation_of_python_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys.implementation, "name", "pypy")
        with pytest.raises(ImportError, match=r"netloop needs CPython.*pypy"):
            netloop.new_event_loop(fallback="asyncio")

    def test_unbuilt_sources_say_how_to_build_them(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "netloop.event_loop", None)
        with pytest.raises(ImportError, match=r"netloop\.event_loop is missing.*pip install"):
            netloop.new_event_loop()


class TestFallback:
    @pytest.mark.usefixtures("available")
    @pytest.mark.parametrize("fallback", [None, "asyncio", "uvloop"])
    def test_is_not_used_where_the_loop_runs(
        self, fallback: netloop.FallbackName, caplog: pytest.LogCaptureFixture
    ) -> None:
        loop = netloop.new_event_loop(fallback=fallback)
        loop.close()
        assert type(loop) is StandIn
        assert not caplog.records

    @pytest.mark.parametrize("number", FALL_BACK + NEVER_FALL_BACK)
    def test_is_never_taken_unasked(self, refused: Callable[[int], None], number: int) -> None:
        refused(number)
        with pytest.raises(netloop.Unavailable) as raised:
            netloop.new_event_loop()
        assert raised.value.errno == number

    @pytest.mark.parametrize("number", FALL_BACK)
    @pytest.mark.parametrize("name", ["asyncio", "uvloop"])
    def test_is_taken_with_one_warning(
        self, refused: Callable[[int], None], number: int, name: netloop.FallbackName, caplog: pytest.LogCaptureFixture
    ) -> None:
        if name == "uvloop":
            pytest.importorskip("uvloop", reason="the fallback is not installed: pip install uvloop")
        refused(number)
        assert module_of(netloop.new_event_loop(fallback=name)) == name
        (record,) = (record for record in caplog.records if record.levelno >= logging.WARNING)
        assert (record.name, record.levelno) == ("asyncio", logging.WARNING)
        assert f"falling back to {name}" in record.getMessage()
        assert errno.errorcode[number] in record.getMessage()

    @pytest.mark.parametrize("number", NEVER_FALL_BACK)
    def test_does_not_hide_that_something_ran_out(self, refused: Callable[[int], None], number: int) -> None:
        refused(number)
        with pytest.raises(netloop.Unavailable) as raised:
            netloop.new_event_loop(fallback="asyncio")
        assert raised.value.errno == number

    def test_may_come_from_the_environment(
        self, refused: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        refused(errno.ENOSYS)
        monkeypatch.setenv("NETLOOP_FALLBACK", "asyncio")
        assert module_of(netloop.new_event_loop()) == "asyncio"

    def test_an_empty_variable_asks_for_nothing(
        self, refused: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        refused(errno.ENOSYS)
        monkeypatch.setenv("NETLOOP_FALLBACK", "")
        with pytest.raises(netloop.Unavailable):
            netloop.new_event_loop()

    def test_the_argument_comes_before_the_environment(
        self, refused: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        refused(errno.ENOSYS)
        monkeypatch.setenv("NETLOOP_FALLBACK", "uvloop")
        assert module_of(netloop.new_event_loop(fallback="asyncio")) == "asyncio"

    @pytest.mark.usefixtures("available")
    @pytest.mark.parametrize("way_in", [netloop.new_event_loop, netloop.install])
    def test_a_bad_name_is_refused_even_where_the_loop_runs(self, way_in: Callable[..., object]) -> None:
        with pytest.raises(ValueError, match="fallback must be 'uvloop' or 'asyncio', not 'epoll'"):
            way_in(fallback="epoll")

    @pytest.mark.usefixtures("available")
    def test_a_bad_variable_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("NETLOOP_FALLBACK", "UVLOOP")
        with pytest.raises(ValueError, match="NETLOOP_FALLBACK must be 'uvloop' or 'asyncio', not 'UVLOOP'"):
            netloop.new_event_loop()

    def test_a_missing_uvloop_says_how_to_install_it(
        self, refused: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        refused(errno.EPERM)
        monkeypatch.setitem(sys.modules, "uvloop", None)
        with pytest.raises(ImportError, match=r"pip install uvloop.*EPERM"):
            netloop.new_event_loop(fallback="uvloop")


class TestRun:
    @pytest.mark.usefixtures("available")
    def test_returns_what_the_coroutine_returns_and_closes_the_loop(self) -> None:
        async def main() -> asyncio.AbstractEventLoop:
            return asyncio.get_running_loop()

        loop = netloop.run(main())
        assert type(loop) is StandIn
        assert loop.is_closed()

    @pytest.mark.usefixtures("available")
    @pytest.mark.parametrize("debug", [True, False])
    def test_sets_the_debug_mode(self, debug: bool) -> None:
        async def main() -> bool:
            return asyncio.get_running_loop().get_debug()

        assert netloop.run(main(), debug=debug) is debug

    @pytest.mark.usefixtures("available")
    def test_raises_what_the_coroutine_raises(self) -> None:
        async def main() -> None:
            raise LookupError("lost")

        with pytest.raises(LookupError, match="lost"):
            netloop.run(main())

    @pytest.mark.usefixtures("available")
    def test_refuses_to_run_inside_a_running_loop(self) -> None:
        async def inner() -> None:
            raise AssertionError("never runs")

        async def main() -> None:
            coroutine = inner()
            with pytest.raises(RuntimeError, match="running event loop"):
                netloop.run(coroutine)
            coroutine.close()

        netloop.run(main())

    def test_closes_the_coroutine_when_there_is_no_loop(self, refused: Callable[[int], None]) -> None:
        async def main() -> None:
            raise AssertionError("never runs")

        refused(errno.EPERM)
        coroutine = main()
        with pytest.raises(netloop.Unavailable):
            netloop.run(coroutine)
        assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED

    def test_falls_back(self, refused: Callable[[int], None]) -> None:
        async def main() -> str:
            return type(asyncio.get_running_loop()).__module__

        refused(errno.EPERM)
        assert netloop.run(main(), fallback="asyncio").startswith("asyncio")


class TestDeprecation:
    """Policies are deprecated from Python 3.14 on; whoever asks for none hears nothing of that."""

    def warned(self, program: str) -> list[str]:
        """The deprecations that a program is told of, each with the number of the line that is told."""
        header = "import asyncio, warnings, netloop\nasync def main(): pass\n"
        command = [sys.executable, "-W", "always", "-c", header + program]
        child = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
        return re.findall(r"<string>:(\d+): DeprecationWarning", child.stderr) if child.stderr else []

    @pytest.mark.parametrize(
        "program",
        [
            "netloop.run(main())",
            "netloop.new_event_loop().close()",
            "netloop.new_event_loop(fallback='asyncio').close()",
            "with asyncio.Runner(loop_factory=netloop.new_event_loop) as runner: runner.run(main())",
            "netloop.EventLoop().close()",
            "netloop.EventLoopPolicy",
            "import netloop.gunicorn",
        ],
    )
    def test_is_not_told_to_who_sets_no_policy(self, program: str) -> None:
        command = [sys.executable, "-W", "error", "-c", "import asyncio, netloop\nasync def main(): pass\n" + program]
        child = subprocess.run(command, capture_output=True, text=True, timeout=20)
        assert (child.returncode, child.stderr) == (0, "")

    @pytest.mark.skipif(sys.version_info < (3, 14), reason="policies are not deprecated yet")
    @pytest.mark.skipif(sys.version_info >= (3, 16), reason="asyncio has no policies any more")
    @pytest.mark.parametrize(
        "program", ["netloop.install()", "asyncio.set_event_loop_policy(netloop.EventLoopPolicy())"]
    )
    def test_is_told_once_to_who_sets_one(self, program: str) -> None:
        assert self.warned(f"{program}\nasyncio.run(main())") == ["3"]


@pytest.mark.skipif(sys.version_info >= (3, 16), reason="asyncio has no policies any more")
@pytest.mark.usefixtures("restored_policy")
class TestPolicy:
    def install(self, **arguments: netloop.FallbackName) -> None:
        if sys.version_info < (3, 14):
            netloop.install(**arguments)
            return
        with pytest.warns(DeprecationWarning, match=r"netloop\.run"):
            netloop.install(**arguments)

    @pytest.mark.usefixtures("available")
    def test_asyncio_run_uses_netloop_once_installed(self) -> None:
        async def main() -> type:
            return type(asyncio.get_running_loop())

        self.install()
        assert asyncio.run(main()) is StandIn

    def test_installed_with_a_fallback(self, refused: Callable[[int], None]) -> None:
        async def main() -> str:
            return type(asyncio.get_running_loop()).__module__

        refused(errno.EPERM)
        self.install(fallback="asyncio")
        assert asyncio.run(main()).startswith("asyncio")

    def test_installed_without_a_fallback_the_refusal_shows_when_a_loop_is_made(
        self, refused: Callable[[int], None]
    ) -> None:
        refused(errno.EPERM)
        self.install()
        with pytest.raises(netloop.Unavailable):
            asyncio.new_event_loop()

    @pytest.mark.usefixtures("available")
    def test_may_be_subclassed(self) -> None:
        made = []

        class Counting(netloop.EventLoopPolicy):
            def new_event_loop(self) -> asyncio.AbstractEventLoop:
                made.append(super().new_event_loop())
                return made[-1]

        loop = Counting().new_event_loop()
        loop.close()
        assert made == [loop]
        assert type(loop) is StandIn

    @pytest.mark.usefixtures("available")
    def test_get_event_loop_follows_the_rules_of_this_python(self) -> None:
        """Whatever the default policy does outside the main thread, where no loop is set, this one does too."""

        def outcome(policy: asyncio.AbstractEventLoopPolicy) -> list[object]:
            found: list[object] = []

            def ask() -> None:
                try:
                    found.append(policy.get_event_loop())
                except RuntimeError as error:
                    found.append(str(error).partition(" in thread")[0])

            thread = threading.Thread(target=ask)
            thread.start()
            thread.join()
            return found

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            default = asyncio.DefaultEventLoopPolicy()
        assert outcome(netloop.EventLoopPolicy()) == outcome(default)

    @pytest.mark.usefixtures("available")
    def test_remembers_the_loop_that_is_set(self) -> None:
        policy = netloop.EventLoopPolicy()
        loop = policy.new_event_loop()
        policy.set_event_loop(loop)
        assert policy.get_event_loop() is loop
        policy.set_event_loop(None)
        loop.close()


def test_statistics_cannot_be_changed() -> None:
    names = [field.name for field in dataclasses.fields(netloop.Statistics)]
    zeros: dict[str, Any] = dict.fromkeys(names, 0)
    figures = netloop.Statistics(**zeros)
    with pytest.raises(dataclasses.FrozenInstanceError):
        figures.turns = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--version"], 0, f"netloop {netloop.__version__}"),
        (["--help"], 0, "doctor"),
        ([], 2, "COMMAND"),
        (["dance"], 2, "invalid choice"),
        (["serve", "--help"], 0, "module:app"),
        (["demo", "--help"], 0, "--connections"),
        (["demo", "--connections", "0"], 2, "not between"),
        (["doctor", "--help"], 0, "--json"),
    ],
)
def test_command_line(arguments: list[str], status: int, words: str) -> None:
    command = [sys.executable, "-m", "netloop", *arguments]
    child = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert child.returncode == status
    assert words in child.stdout + child.stderr


@pytest.mark.parametrize("arguments", [["doctor"], ["doctor", "--json"]])
def test_a_command_whose_output_nobody_reads_any_more_ends_without_a_traceback(arguments: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "netloop", *arguments]
    child = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    os.close(writing)
    assert "Traceback" not in child.stderr
    assert child.returncode != 0
