"""Which applications ``python -m netloop serve`` recognises, and which command lines."""

from __future__ import annotations

import asyncio
import functools
import inspect
import sys
from pathlib import Path
from typing import Any

import pytest

from netloop.tools.serve import BadApplication, load_application
from netloop.tools.serve.cpus import io_cpus_of_workers, own_cpus_of_workers
from netloop.tools.serve.options import Application, Options, parse
from netloop.tools.serve.settings import WorkerSettings

PROGRAM = """
import functools

async def app(scope, receive, send):
    pass

class Framework:
    async def __call__(self, scope, receive, send):
        pass
    async def method(self, scope, receive, send):
        pass
    @staticmethod
    async def static(scope, receive, send):
        pass

framework = Framework()

def middleware(inner):
    @functools.wraps(inner)
    async def wrapped(*arguments):
        await inner(*arguments)
    return wrapped

wrapped = middleware(app)
partial = functools.partial(app)

def make():
    return framework

async def make_later():
    return framework

def make_with_options(host=None, port=None, debug=False):
    return framework

def make_nothing():
    return None

def needs_two(scope, receive):
    pass

class Namespace:
    app = framework
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The program, as a module that can be named."""
    (tmp_path / "serve_finding_program.py").write_text(PROGRAM)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield __import__("serve_finding_program")
    del sys.modules["serve_finding_program"]


@pytest.mark.parametrize("name", ["app", "framework", "framework.method", "framework.static", "wrapped", "partial"])
def test_what_is_called_with_a_scope_is_an_asgi_application(module: Any, name: str) -> None:
    found = load_application(f"serve_finding_program:{name}")
    assert found == functools.reduce(getattr, name.split("."), module)


@pytest.mark.parametrize("name", ["make", "make_with_options", "Namespace.app"])
def test_what_needs_no_arguments_makes_one(module: Any, name: str) -> None:
    assert load_application(f"serve_finding_program:{name}") is module.framework


def test_a_coroutine_function_makes_one_later(module: Any) -> None:
    found = load_application("serve_finding_program:make_later")
    assert inspect.iscoroutine(found)
    assert asyncio.run(found) is module.framework


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("make_nothing", "returned None, not an aiohttp.web.Application or an ASGI application"),
        ("needs_two", "cannot be called without arguments"),
        ("Framework", "is the class Framework, not an aiohttp.web.Application or an ASGI application"),
    ],
)
@pytest.mark.usefixtures("module")
def test_what_is_none(name: str, words: str) -> None:
    with pytest.raises(BadApplication, match=words):
        load_application(f"serve_finding_program:{name}")


def test_a_path_is_no_module() -> None:
    with pytest.raises(BadApplication, match=r"'\./shop\.py:app' names no application: write module:attribute"):
        load_application("./shop.py:app")


def parsed(*arguments: str) -> Options:
    return parse(["module:app", *arguments])


def test_the_command_line_without_options() -> None:
    options = parsed()
    assert (options.address.host, options.address.port, options.workers, options.pin) == (
        "127.0.0.1",
        8080,
        None,
        False,
    )
    assert (options.application.access_log, options.application.graceful_timeout) == (None, 30)
    assert options.application.io_cpus is None


@pytest.mark.parametrize(("text", "cpus"), [("3", (3,)), ("2,3", (2, 3)), ("4-7", (4, 5, 6, 7))])
def test_cpus_for_io(text: str, cpus: tuple[int, ...]) -> None:
    assert parsed("--io-cpus", text).application.io_cpus == cpus


@pytest.mark.parametrize(
    ("workers", "cpus", "shares"),
    [
        (1, (4, 5), [(4, 5)]),
        (2, (4, 5), [(4,), (5,)]),
        (2, (4, 5, 6, 7), [(4, 6), (5, 7)]),
        (3, (4, 5, 6, 7), [(4, 7), (5,), (6,)]),
        (2, None, [None, None]),
    ],
)
def test_each_worker_has_its_share_of_the_cpus_for_io(
    capfd: pytest.CaptureFixture[str], workers: int, cpus: tuple[int, ...] | None, shares: list[Any]
) -> None:
    assert io_cpus_of_workers(workers, cpus) == shares
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("workers", "cpus", "shares", "words"),
    [
        (3, (4, 5), [[4], [5], [4]], "--io-cpus: 3 workers share 2 CPUs"),
        (2, (4,), [[4], [4]], "--io-cpus: 2 workers share 1 CPU\n"),
    ],
)
def test_where_there_are_fewer_cpus_for_io_than_workers_that_is_said(
    capfd: pytest.CaptureFixture[str], workers: int, cpus: tuple[int, ...], shares: list[Any], words: str
) -> None:
    assert io_cpus_of_workers(workers, cpus) == shares
    assert words in capfd.readouterr().err


def test_workers_are_bound_to_other_cpus_than_those_for_io(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 1, 2, 3})
    assert own_cpus_of_workers(2, True, (0, 2)) == [1, 3]
    assert own_cpus_of_workers(2, True, None) == [0, 1]
    assert own_cpus_of_workers(2, True, (0, 1, 2, 3)) == [0, 1]
    assert own_cpus_of_workers(2, False, (0, 2)) == [None, None]


def test_what_the_master_tells_a_worker_arrives() -> None:
    settings = WorkerSettings(Application("module:app", io_cpus=[2, 3]), [5], 6, 7, None)
    assert WorkerSettings.from_json(settings.to_json()) == settings


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--workers", "0"], "0 is not a number of workers"),
        (["--workers", "-2"], "-2 is not a number of workers"),
        (["--workers", "two"], "two is not a number of workers"),
        (["--workers", "²"], "² is not a number of workers"),
        (["--workers", "100000"], "100000 is not a number of workers"),
        (["--pin"], "--pin needs --workers"),
        (["--io-cpus", "two"], "CPUs are given as in '3', '2,3' or '4-7', not as 'two'"),
        (["--io-cpus", ""], "CPUs are given as in '3', '2,3' or '4-7', not as ''"),
        (["--io-cpus", "2,3,2"], "io_cpus must name each CPU once, not [2, 3, 2]"),
        (["--io-cpus", "0", "--loop", "asyncio"], "--io-cpus needs --loop netloop, not asyncio"),
        (["--uds", "socket", "--port", "1"], "--host/--port and --uds exclude each other"),
        (["--uds", "socket", "--fd", "3"], "--uds and --fd exclude each other"),
        (["--uds", ""], "argument --uds: it is empty, which is no path"),
        (["--fd", "three"], "three is neither the number of a descriptor nor 'systemd'"),
        (["--fd", "-1"], "-1 is neither the number of a descriptor nor 'systemd'"),
        (["--graceful-timeout", "nan"], "nan is not a number of seconds"),
        (["--graceful-timeout", "-1"], "-1 is not a number of seconds"),
        (["--graceful-timeout", "soon"], "soon is not a number of seconds"),
        (["--asgi", "django"], "invalid choice: 'django'"),
    ],
)
def test_a_command_line_that_cannot_be_followed(
    capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        parsed(*arguments)
    assert ended.value.code == 2
    assert words in capsys.readouterr().err
