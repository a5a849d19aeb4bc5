"""Fixtures that start programs and servers, and end them."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from apps.programs import Program, Server
from apps.servers import PostgresqlServer, RedisServer, running_postgresql, running_redis

# Every loop's package has a function of this name, so the same command line serves all three.
FACTORY = "{}:new_event_loop"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Program]]:
    """Starts a Python program in ``tmp_path``; those still running after the test are ended."""
    started: list[Program] = []

    def start_one(*arguments: str, **environment: str) -> Program:
        started.append(Program([sys.executable, *arguments], tmp_path, environment))
        return started[-1]

    yield start_one
    for program in started:
        program.stop()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Starts a server in ``tmp_path``; after the test it must end in order and have complained of nothing."""
    started: list[Program] = []

    def serve_one(*arguments: str, **environment: str) -> Server:
        started.append(Program([sys.executable, *arguments], tmp_path, environment))
        return Server(started[-1])

    yield serve_one
    for program in started:
        status, output = program.stop()
        assert "Traceback" not in output
        assert "Warning" not in output
        assert status in (0, -signal.SIGTERM), output


@pytest.fixture
def loop_factory(loop_name: str) -> str:
    """The loop's factory as ``module:function``."""
    return FACTORY.format(loop_name)


@pytest.fixture
def program(tmp_path: Path) -> Callable[[str, str], str]:
    """Writes a program to ``tmp_path``, and returns its name."""

    def write(name: str, text: str) -> str:
        (tmp_path / name).write_text(text)
        return name

    return write


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A Redis server for all tests; a test names its keys after itself."""
    with running_redis() as server:
        yield server


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[PostgresqlServer]:
    """A PostgreSQL server for all tests; a test keeps its tables temporary."""
    with running_postgresql() as server:
        yield server


@pytest.fixture
def gunicorn(program: Callable[[str, str], str], loop_name: str) -> tuple[str, ...]:
    """The beginning of a command line of gunicorn's that serves aiohttp applications on the loop under test."""
    for module in ("gunicorn", "aiohttp"):
        pytest.importorskip(module, reason=f"not installed: pip install {module}")
    workers = {
        "asyncio": "aiohttp.GunicornWebWorker",
        "uvloop": "aiohttp.GunicornUVLoopWebWorker",
        "netloop": "netloop.gunicorn.AiohttpWorker",
    }
    # Else it writes a socket into the home directory; versions before 25.1 do not know the setting, nor mind it.
    program("gunicorn.conf.py", "control_socket_disable = True")
    return ("-m", "gunicorn", "--bind", "127.0.0.1:0", "--worker-class", workers[loop_name])
