"""io_uring is refused: the error names cause and remedy, and a fallback is taken only when asked for."""

from __future__ import annotations

import asyncio
import errno
import io
import logging
import subprocess
import sys

import pytest
from loop.helpers import Echo, connected

from .child import command_for, descriptors, descriptors_left, environment, run_child
from .seccomp import refuse


def try_to_make(number, *calls):
    """Refuse io_uring, then try to make a loop; tell what was raised."""
    import netloop

    refuse(number, *calls)
    before = descriptors()
    try:
        netloop.new_event_loop().close()
    except netloop.Unavailable as error:
        told = {"errno": error.errno, "cause": error.cause, "remedy": error.remedy, "text": str(error)}
    else:
        told = None
    return told, descriptors_left(before)


@pytest.mark.parametrize("calls", [["setup"], ["setup", "enter", "register"]], ids=["setup", "all"])
@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSYS], ids=errno.errorcode.get)
def test_a_seccomp_filter(number, calls):
    told, left = run_child(try_to_make, number, *calls)
    assert told is not None
    assert told["errno"] == number
    assert told["cause"] and told["remedy"]
    assert told["cause"] in told["text"] and told["remedy"] in told["text"]
    assert "seccomp" in told["text"]
    assert left == []


def make_and_use(number, call):
    """Refuse one call, then serve and connect; the error's number.

    By a loop without a poller, whose first turn enters the kernel, before the program is in the middle of something.
    """
    import netloop

    async def main():
        async with connected(server=Echo) as (client, _):
            client.transport.write(b"ping")
            await client.until_received(4)

    refuse(number, call)
    loop, using = None, main()
    try:
        loop = netloop.EventLoop(io_cpus=())
        loop.run_until_complete(loop.create_task(using))
    except OSError as error:
        return error.errno
    finally:
        using.close()
        if loop is not None:
            loop.close()
    return None


@pytest.mark.parametrize("call", ["enter", "register"])
@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSYS], ids=errno.errorcode.get)
def test_a_seccomp_filter_that_forgot_one_call(number, call):
    assert run_child(make_and_use, number, call) == number


def fall_back(number, fallback):
    """Refuse io_uring, then make a loop with a fallback; tell its module, what it ran, and the warnings logged."""
    import netloop

    refuse(number)
    stream = io.StringIO()
    logging.basicConfig(stream=stream, level=logging.WARNING, format="%(levelname)s %(message)s")
    loop = netloop.new_event_loop(fallback=fallback)
    ran = loop.run_until_complete(asyncio.sleep(0.001, "ran"))
    loop.close()
    return type(loop).__module__.split(".")[0], ran, stream.getvalue().splitlines()


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSYS], ids=errno.errorcode.get)
@pytest.mark.parametrize("name", ["asyncio", "uvloop"])
@pytest.mark.parametrize("asked_by", ["argument", "environment"])
def test_the_fallback_that_was_asked_for(number, name, asked_by):
    pytest.importorskip(name)  # uvloop cannot be had for every interpreter
    if asked_by == "argument":
        module, ran, log = run_child(fall_back, number, name)
    else:
        module, ran, log = run_child(fall_back, number, None, NETLOOP_FALLBACK=name)
    assert (module, ran) == (name, "ran")
    assert len(log) == 1 and log[0].startswith("WARNING")
    assert name in log[0]


def run_with_fallback(number):
    """Refuse io_uring, then use ``netloop.run``."""
    import netloop

    async def main():
        return type(asyncio.get_running_loop()).__module__.split(".")[0]

    refuse(number)
    try:
        netloop.run(main(), fallback=None)
    except netloop.Unavailable:
        strict = "Unavailable"
    return strict, netloop.run(main(), fallback="asyncio")


def test_run_is_strict_unless_told_otherwise():
    coroutine_was_not_awaited = "ignore::RuntimeWarning"
    assert run_child(run_with_fallback, errno.EPERM, PYTHONWARNINGS=coroutine_was_not_awaited) == [
        "Unavailable",
        "asyncio",
    ]


def doctor(number):
    """Refuse io_uring and run the doctor."""
    import runpy

    refuse(number)
    sys.argv = ["netloop", "doctor"]
    runpy.run_module("netloop", run_name="__main__")


def test_the_doctor_says_so_and_fails():
    command = command_for(doctor, errno.EPERM, seconds=20)
    child = subprocess.run(
        command, env=environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30
    )
    assert child.returncode not in (0, -11, -6), child.stderr
    assert "seccomp" in child.stdout + child.stderr
    assert "Traceback" not in child.stderr


def out_of_descriptors(fallback):
    """Use up all descriptors, then try to make a loop; then give some back and try again."""
    import os
    import resource

    import netloop

    netloop.new_event_loop().close()
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    taken = []
    try:
        while True:
            taken.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        pass
    try:
        netloop.new_event_loop(fallback=fallback).close()
        number = None
    except OSError as error:
        number = error.errno
    for descriptor in taken:
        os.close(descriptor)
    loop = netloop.new_event_loop()
    ran = loop.run_until_complete(asyncio.sleep(0.001, "ran"))
    loop.close()
    return number, ran


@pytest.mark.parametrize("fallback", [None, "asyncio"])
def test_running_out_of_descriptors_is_no_reason_to_fall_back(fallback):
    assert run_child(out_of_descriptors, fallback) == [errno.EMFILE, "ran"]
