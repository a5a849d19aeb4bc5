"""The seccomp profile of `doctor --seccomp`: as a real filter, it lets netloop run and keeps the rest out."""

from __future__ import annotations

import asyncio
import errno
import socket
import subprocess
from pathlib import Path

import pytest
from loop.helpers import Echo, connected

from netloop.setup.surroundings import Surroundings
from netloop.tools.doctor.profile import FORMATS, IO_URING, make_profile

from .child import run_child
from .seccomp import confine

# Not what the Docker of the machine that runs the tests was configured with.
PROFILES = {form: make_profile(form, Surroundings(Path("/nonexistent")))[0] for form in FORMATS}


def use_under(profile):
    """Run a loop under a profile: connections, a thread for names, a process; then try what containers may not do."""
    import netloop

    async def main():
        loop = asyncio.get_running_loop()
        async with connected(server=Echo) as (client, _):
            client.transport.write(b"ping")
            await client.until_received(4)
        found = await loop.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM)
        process = await asyncio.create_subprocess_exec("/bin/echo", "hello", stdout=subprocess.PIPE)
        said, _ = await process.communicate()
        return found[0][4][0], said.decode().strip()

    confine(profile)
    return netloop.run(main()), [attempt() for attempt in (make_namespace, open_vsock)]


def make_namespace():
    """Try what takes CAP_SYS_ADMIN; the error's number."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    return ctypes.get_errno() if libc.unshare(0x00020000) else 0


def open_vsock():
    """Try an address family that the profile leaves out; the error's number."""
    try:
        socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM).close()
    except OSError as error:
        return error.errno
    return 0


@pytest.mark.parametrize("form", FORMATS)
def test_a_loop_runs_under_the_profile_and_what_docker_refuses_stays_refused(form):
    used, refused = run_child(use_under, PROFILES[form])
    assert used == ["127.0.0.1", "hello"]
    assert refused == [errno.EPERM, errno.EPERM]


def try_under(profile):
    """Try to make a loop under a profile; what was raised."""
    import netloop

    confine(profile)
    try:
        netloop.new_event_loop().close()
    except netloop.Unavailable as error:
        return {"errno": error.errno, "cause": error.cause, "remedy": error.remedy}
    return None


@pytest.mark.parametrize("form", FORMATS)
def test_without_the_three_calls_the_filter_is_named_as_the_cause(form):
    profile = PROFILES[form]
    rules = [rule for rule in profile["syscalls"] if not set(rule["names"]) & set(IO_URING)]
    assert len(rules) == len(profile["syscalls"]) - 1
    told = run_child(try_under, {**profile, "syscalls": rules})
    assert told is not None
    assert told["errno"] == errno.EPERM
    assert "seccomp filter" in told["cause"]
    assert "doctor --seccomp" in told["remedy"]
