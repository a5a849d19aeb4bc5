"""Masters of several workers that share one listening socket: while one worker is busy, the idle ones serve."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from apps.programs import Program
from apps.serving import AIOHTTP, ASGI, Served

# Run with --loops=asyncio or --loops=uvloop to see whether a failure is the loop's.
pytestmark = [pytest.mark.loops("netloop"), pytest.mark.limit(60)]

WORKERS = 3

# Hypercorn has no option for the loop, so the application chooses it.
INSTALL = """
import asyncio, importlib
module = importlib.import_module({name!r})
if hasattr(module, "install"):
    module.install()
"""

Start = Callable[..., Program]
Write = Callable[[str, str], str]


class Shared(Served):
    """A server that tells of its address in its own words."""

    def __init__(self, program: Program, ready: str) -> None:
        self.program = program
        self.pid = program.pid
        self.address = ("127.0.0.1", int(program.wait_for(r"127\.0\.0\.1:([1-9]\d*)")[1]))
        program.wait_for(rf"(?s)({ready}.*){{{WORKERS}}}")


def start_gunicorn(start: Start, program: Write, request: pytest.FixtureRequest) -> Shared:
    program("application.py", AIOHTTP)
    command = request.getfixturevalue("gunicorn")
    # A worker that is told to end before it runs the application does not hear it.
    return Shared(start(*command, "--workers", str(WORKERS), "application:app"), "started up")


def start_uvicorn(start: Start, program: Write, request: pytest.FixtureRequest) -> Shared:
    pytest.importorskip("uvicorn", reason="not installed: pip install uvicorn")
    program("application.py", ASGI)
    command = (
        "-m",
        "uvicorn",
        "--port",
        "0",
        "--loop",
        request.getfixturevalue("loop_factory"),
        "--workers",
        str(WORKERS),
    )
    return Shared(start(*command, "application:app"), "Application startup complete")


def start_hypercorn(start: Start, program: Write, request: pytest.FixtureRequest) -> Shared:
    pytest.importorskip("hypercorn", reason="not installed: pip install hypercorn")
    program("application.py", INSTALL.format(name=request.getfixturevalue("loop_name")) + ASGI)
    command = ("-m", "hypercorn", "--bind", "127.0.0.1:0", "--workers", str(WORKERS), "--worker-class", "asyncio")
    return Shared(start(*command, "application:app"), "Running on")


@pytest.mark.parametrize("start_master", [start_gunicorn, start_uvicorn, start_hypercorn])
def test_nobody_waits_for_a_worker_that_is_busy(
    start: Start,
    program: Write,
    loop_name: str,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    start_master: Callable[..., Shared],
) -> None:
    served = start_master(start, program, request)
    asking = threading.Thread(target=served.ask, args=("/busy",))
    asking.start()
    found = served.program.wait_for(r"busy (\d+) (\S+)")
    assert found[2].startswith(loop_name)
    busy = int(found[1])
    answered: list[int] = []

    def ask_some() -> None:
        answered.extend(int(served.ask().split()[0]) for _ in range(20))

    others = [threading.Thread(target=ask_some) for _ in range(4)]
    for thread in others:
        thread.start()
    for thread in others:
        thread.join()
    assert len(answered) == 80
    assert busy not in answered
    (tmp_path / "go on").touch()
    asking.join()
    assert "Traceback" not in served.program.stop()[1]
