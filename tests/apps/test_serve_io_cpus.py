"""``serve --io-cpus``: the kernel does the I/O of one process, or of several, on CPUs that are named."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from apps.programs import Program, Server
from apps.serving import Served

pytest.importorskip("aiohttp", reason="not installed: pip install aiohttp")

pytestmark = [pytest.mark.limit(60), pytest.mark.loops("netloop")]

# Says which process has answered, and on which CPUs the kernel does its I/O.
APPLICATION = """
import asyncio, os
from aiohttp import web

async def which(request):
    cpus = [ring.io_cpu for ring in asyncio.get_running_loop().statistics().rings]
    return web.Response(text=f"{os.getpid()} {cpus}")

async def which_in_json(request):
    return web.json_response([ring.io_cpu for ring in asyncio.get_running_loop().statistics().rings])

app = web.Application()
app.add_routes([web.get("/", which), web.get("/json", which_in_json)])
"""
CPUS = sorted(os.sched_getaffinity(0))

Start = Callable[..., Program]
Write = Callable[[str, str], str]


def test_one_process(serve: Callable[..., Server], program: Write) -> None:
    program("application.py", APPLICATION)
    server = serve("-m", "netloop", "serve", "application:app", "--port", "0", "--io-cpus", str(CPUS[0]))
    assert server.ask_json("/json") == [CPUS[0]]


def test_the_environment_asks_for_it_too(serve: Callable[..., Server], program: Write) -> None:
    program("application.py", APPLICATION)
    server = serve("-m", "netloop", "serve", "application:app", "--port", "0", NETLOOP_IO_CPUS=str(CPUS[0]))
    assert server.ask_json("/json") == [CPUS[0]]


def cpus_of_workers(start: Start, program: Write, *options: str) -> tuple[list[str], str]:
    """What each of two workers says of its CPUs, in the workers' order, and what has been printed in the end."""
    program("application.py", APPLICATION)
    command = ("-m", "netloop", "serve", "application:app", "--port", "0", "--workers", "2", *options)
    served = Served(start(*command))
    told: dict[int, str] = {}
    served.until(lambda: told.update([note(served.ask())]) or len(told) == 2)
    found = [told[pid] for pid in served.workers]
    status, output = served.program.stop()
    assert status == 0, output
    return found, output


def note(answer: str) -> tuple[int, str]:
    pid, _, cpus = answer.partition(" ")
    return int(pid), cpus


@pytest.mark.skipif(len(CPUS) < 2, reason="two workers with a CPU each for I/O need two CPUs")
def test_each_worker_has_a_cpu_of_its_own(start: Start, program: Write) -> None:
    found, output = cpus_of_workers(start, program, "--io-cpus", f"{CPUS[1]},{CPUS[0]}")
    assert found == [f"[{CPUS[1]}]", f"[{CPUS[0]}]"]
    assert "share" not in output


def test_workers_that_share_a_cpu_are_told_of(start: Start, program: Write) -> None:
    found, output = cpus_of_workers(start, program, "--io-cpus", str(CPUS[0]))
    assert found == [f"[{CPUS[0]}]"] * 2
    assert "--io-cpus: 2 workers share 1 CPU\n" in output


@pytest.mark.parametrize("more", [(), ("--workers", "2")])
def test_a_cpu_that_is_not_there_is_refused_in_words(start: Start, program: Write, more: tuple[str, ...]) -> None:
    program("application.py", APPLICATION)
    child = start("-m", "netloop", "serve", "application:app", "--port", "0", "--io-cpus", "4095", *more)
    assert child.wait() == 1
    assert "io_cpus: there is no CPU 4095 here, or it is offline" in child.output
    assert "Remedy: name CPUs among " in child.output
    assert "Traceback" not in child.output
