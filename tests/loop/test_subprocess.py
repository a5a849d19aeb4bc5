"""Subprocesses: starting, talking to, ending and awaiting them."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import platform
import resource
import signal
import subprocess
import sys
import threading
import time
import warnings
import weakref
from asyncio.subprocess import DEVNULL, PIPE, STDOUT

import pytest

from .helpers import eventually, pattern, turns

PYTHON = (sys.executable, "-S", "-E", "-c")

# The children that were there before the test.
OTHERS: list[str] = []


@pytest.fixture(autouse=True)
def no_child_left():
    """Fail when a test leaves a child of this process running, or one that nobody has awaited.

    Other tests may have children that last for the whole session, servers for instance.
    """
    OTHERS[:] = all_children()
    yield
    deadline = time.monotonic() + 3
    while children() and time.monotonic() < deadline:
        gc.collect()
        subprocess._cleanup()
        time.sleep(0.01)
    assert not children()
    OTHERS.clear()


def children() -> list[str]:
    """The children that the test has made."""
    return [child for child in all_children() if child not in OTHERS]


def all_children() -> list[str]:
    found = []
    for thread in os.listdir("/proc/self/task"):
        with contextlib.suppress(OSError), open(f"/proc/self/task/{thread}/children") as file:
            found += file.read().split()
    return found


async def started(*command, **options):
    return await asyncio.create_subprocess_exec(*command, **options)


async def output(*command, **options):
    """What a program wrote; it must succeed."""
    process = await started(*command, stdout=PIPE, **options)
    data, _ = await process.communicate()
    assert process.returncode == 0
    return data


async def cat(**options):
    return await started("cat", stdin=PIPE, stdout=PIPE, **options)


# Results ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [0, 1, 7, 255])
async def test_the_exit_code(loop, code):
    process = await asyncio.create_subprocess_shell(f"exit {code}")
    assert await process.wait() == code
    assert process.returncode == code
    assert await process.wait() == code


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGUSR1])
async def test_the_end_by_a_signal(loop, number):
    process = await cat()
    process.send_signal(number)
    assert await process.wait() == -number


async def test_terminate_and_kill(loop):
    one, other = await cat(), await cat()
    one.terminate()
    other.kill()
    assert await asyncio.gather(one.wait(), other.wait()) == [-signal.SIGTERM, -signal.SIGKILL]


async def test_a_child_that_ends_itself_by_a_signal(loop):
    process = await asyncio.create_subprocess_shell("kill -INT $$")
    assert await process.wait() == -signal.SIGINT


async def test_signals_after_the_end(loop):
    process = await started("true")
    await process.wait()
    await turns()
    for send in (process.kill, process.terminate, lambda: process.send_signal(signal.SIGHUP)):
        with pytest.raises(ProcessLookupError):
            send()


async def test_a_signal_the_child_handles(loop):
    script = "trap 'echo caught' USR1; echo ready; while :; do sleep 0.01; done"
    process = await started("sh", "-c", script, stdout=PIPE)
    assert await process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGUSR1)
    assert await process.stdout.readline() == b"caught\n"
    process.kill()
    await process.communicate()


async def test_a_program_that_is_not_there(loop):
    with pytest.raises(FileNotFoundError):
        await started("/no/such/program")


async def test_a_file_that_is_no_program(loop, tmp_path):
    path = tmp_path / "data"
    path.write_text("no program")
    with pytest.raises(PermissionError):
        await started(str(path), stdin=PIPE, stdout=PIPE, stderr=PIPE)


# Standard streams ---------------------------------------------------------------------------------------------------


async def test_communicate(loop):
    process = await cat()
    assert await process.communicate(b"there and back") == (b"there and back", None)
    assert process.returncode == 0


async def test_all_three_streams(loop):
    script = "cat; echo wrong >&2; exit 3"
    process = await started("sh", "-c", script, stdin=PIPE, stdout=PIPE, stderr=PIPE)
    assert await process.communicate(b"right") == (b"right", b"wrong\n")
    assert process.returncode == 3


@pytest.mark.limit(60)
async def test_ten_megabytes_both_ways(loop):
    data = pattern(10_000_000)
    process = await cat()
    received, _ = await process.communicate(data)
    assert received == data
    assert process.returncode == 0


async def test_a_dialogue(loop):
    process = await cat()
    for number in range(200):
        process.stdin.write(b"%d\n" % number)
        await process.stdin.drain()
        assert await process.stdout.readline() == b"%d\n" % number
    process.stdin.close()
    await process.stdin.wait_closed()
    assert await process.wait() == 0


async def test_both_outputs_into_one(loop):
    assert await output("sh", "-c", "echo out; echo err >&2", stderr=STDOUT) == b"out\nerr\n"


async def test_nothing_to_read_and_nowhere_to_write(loop):
    process = await started("sh", "-c", "cat; echo out; echo err >&2", stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL)
    assert process.stdin is None and process.stdout is None and process.stderr is None
    assert await process.wait() == 0


async def test_files_of_ones_own(loop, tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(b"content")
    with source.open("rb") as stdin, target.open("wb") as stdout:
        process = await started("cat", stdin=stdin, stdout=stdout.fileno())
        assert await process.wait() == 0
    assert target.read_bytes() == b"content"


async def test_the_input_can_be_opened_by_name(loop):
    process = await started("cat", "/dev/stdin", stdin=PIPE, stdout=PIPE)
    assert await process.communicate(b"by name") == (b"by name", None)


async def test_a_child_that_does_not_read(loop):
    """communicate() takes no notice of a pipe that broke."""
    process = await started("true", stdin=PIPE, stdout=PIPE)
    assert await process.communicate(bytes(1_000_000)) == (b"", None)
    assert process.returncode == 0


async def test_writing_to_a_child_that_has_closed_its_input(loop):
    process = await started("sh", "-c", "exec <&-; echo closed; exec sleep 60", stdin=PIPE, stdout=PIPE)
    await process.stdout.readline()
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        while True:
            process.stdin.write(bytes(100_000))
            await process.stdin.drain()
            await asyncio.sleep(0)
    process.kill()
    await process.wait()


async def test_a_child_that_closes_its_output_and_lives_on(loop):
    script = "echo last words; exec >&-; read line; exit 5"
    process = await started("sh", "-c", script, stdin=PIPE, stdout=PIPE)
    assert await process.stdout.read() == b"last words\n"
    assert process.returncode is None
    process.stdin.write(b"go\n")
    assert await process.wait() == 5


async def test_output_that_comes_after_the_end(loop):
    """A grandchild holds the pipe."""
    process = await started("sh", "-c", "(sleep 0.2; echo late) & echo early", stdout=PIPE)
    assert await process.stdout.read() == b"early\nlate\n"
    assert await process.wait() == 0


async def test_a_reader_that_is_slow(loop):
    data = pattern(3_000_000)
    process = await asyncio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE, limit=1000)
    process.stdin.write(data)
    process.stdin.close()
    received = bytearray()
    while chunk := await process.stdout.read(50_000):
        received += chunk
        await asyncio.sleep(0)
    assert received == data
    assert await process.wait() == 0


# How it is started --------------------------------------------------------------------------------------------------


async def test_shell(loop):
    process = await asyncio.create_subprocess_shell("echo one; echo two | cat", stdout=PIPE)
    assert await process.communicate() == (b"one\ntwo\n", None)


async def test_working_directory_and_environment(loop, tmp_path):
    assert await output("pwd", cwd=tmp_path) == os.fsencode(os.path.realpath(tmp_path)) + b"\n"
    assert await output("env", env={"ONLY": "this"}) == b"ONLY=this\n"


async def test_a_session_of_its_own(loop):
    script = "import os; print(os.getsid(0) == os.getpid())"
    assert await output(*PYTHON, script, start_new_session=True) == b"True\n"


async def test_only_the_descriptors_that_are_passed(loop):
    read, write = os.pipe()
    script = f"import os; print(sorted(int(fd) for fd in os.listdir('/proc/self/fd')), os.fstat({write}).st_ino)"
    found = await output(*PYTHON, script, pass_fds=[write], stdin=DEVNULL)
    listed = {int(number) for number in found.decode().partition("]")[0][1:].split(",")}
    assert listed - {0, 1, 2, write} == {max(listed)} or listed == {0, 1, 2, write, 3}
    os.close(read)
    os.close(write)


@pytest.mark.parametrize(
    "options", [{"universal_newlines": True}, {"bufsize": 1}, {"text": True}, {"encoding": "utf-8"}], ids=repr
)
async def test_options_that_make_no_sense_here(loop, options):
    with pytest.raises(ValueError):
        await started("true", **options)


async def test_a_command_must_be_of_the_right_kind(loop):
    with pytest.raises(ValueError):
        await asyncio.create_subprocess_shell(["echo"])
    with pytest.raises((TypeError, ValueError)):
        await started(5)


async def test_the_protocol_is_told(loop):
    class Protocol(asyncio.SubprocessProtocol):
        def __init__(self):
            self.calls = []
            self.done = loop.create_future()

        def connection_made(self, transport):
            self.calls.append("connection_made")

        def pipe_data_received(self, fd, data):
            self.calls.append((fd, data))

        def pipe_connection_lost(self, fd, exc):
            self.calls.append((fd, exc))

        def process_exited(self):
            self.calls.append("process_exited")

        def connection_lost(self, exc):
            self.calls.append("connection_lost")
            self.done.set_result(exc)

    transport, protocol = await loop.subprocess_exec(Protocol, "sh", "-c", "echo data; exit 4", stdin=None, stderr=None)
    assert isinstance(transport, asyncio.SubprocessTransport)
    assert transport.get_pid() > 0 and transport.get_protocol() is protocol
    assert isinstance(transport.get_pipe_transport(1), asyncio.ReadTransport)
    assert transport.get_pipe_transport(2) is None
    await protocol.done
    assert transport.get_returncode() == 4
    assert protocol.calls[0] == "connection_made" and protocol.calls[-1] == "connection_lost"
    assert sorted(map(str, protocol.calls[1:-1])) == sorted(["(1, b'data\\n')", "(1, None)", "process_exited"])
    transport.close()


# Many, and elsewhere ------------------------------------------------------------------------------------------------


@pytest.mark.limit(60)
async def test_two_hundred_at_once(loop):
    async def one(number):
        process = await started("sh", "-c", f"read line; echo $line; exit {number % 100}", stdin=PIPE, stdout=PIPE)
        await ready()
        answer, _ = await process.communicate(b"%d\n" % number)
        return answer, process.returncode

    waiting = 0
    everybody = asyncio.Event()

    async def ready():
        nonlocal waiting
        waiting += 1
        if waiting == 200:
            everybody.set()
        await everybody.wait()

    results = await asyncio.gather(*[one(number) for number in range(200)])
    assert results == [(b"%d\n" % number, number % 100) for number in range(200)]


async def test_many_one_after_another(loop):
    for number in range(50):
        assert await (await asyncio.create_subprocess_shell(f"exit {number}")).wait() == number


async def test_nothing_is_kept_of_pipes_whose_process_has_ended(loop):
    async def run_one(end):
        process = await started("cat", stdin=PIPE, stdout=PIPE, stderr=PIPE)
        pipes = [weakref.ref(process._transport.get_pipe_transport(number)) for number in range(3)]
        process.stdin.write(b"text")
        assert await process.stdout.readexactly(4) == b"text"
        end(process)
        await process.wait()
        return pipes

    ends = [
        lambda process: process.stdin.close(),
        lambda process: process.kill(),
        lambda process: process._transport.close(),
    ]
    pipes = [pipe for end in ends * 3 for pipe in await run_one(end)]

    def are_gone():
        gc.collect()
        return [pipe() for pipe in pipes] == [None] * len(pipes)

    await eventually(are_gone)
    if hasattr(loop, "statistics"):
        assert loop.statistics().in_flight == 0


def test_a_loop_in_another_thread(new_loop):
    results = []

    def work():
        loop = new_loop()
        asyncio.set_event_loop(loop)
        results.append(loop.run_until_complete(output("echo", "from a thread")))
        loop.close()
        asyncio.set_event_loop(None)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert results == [b"from a thread\n"]


async def test_the_children_of_others_are_left_alone(loop):
    other = subprocess.Popen(["sh", "-c", "exit 9"])
    assert await (await started("true")).wait() == 0
    await asyncio.sleep(0.05)
    assert other.wait() == 9


@pytest.mark.skipif(
    tuple(map(int, platform.release().split(".")[:2])) < (6, 15),
    reason="before Linux 6.15 a process descriptor does not keep the status",
)
@pytest.mark.parametrize(("command", "status"), [("kill -KILL $$", -signal.SIGKILL), ("exit 7", 7)])
async def test_a_status_that_somebody_else_takes_is_told_all_the_same(loop, caplog, command, status):
    """Whoever waits for all children, as a handler of SIGCHLD may, is often faster than the loop."""
    reading, writing = os.pipe()
    process = await asyncio.create_subprocess_shell(f"read line; {command}", stdin=reading)
    os.close(reading)
    os.close(writing)
    os.waitpid(process.pid, 0)
    assert await process.wait() == status
    assert not caplog.text


async def test_a_child_whose_status_somebody_else_takes(loop, loop_name, caplog, monkeypatch):
    if loop_name == "netloop":
        monkeypatch.setattr("netloop.hosted.subprocesses._kept_status", lambda pidfd: None)
    process = await cat()
    process.kill()
    os.waitpid(process.pid, 0)
    assert await process.wait() == 255
    assert "will report returncode 255" in caplog.text


# Ends before the end ------------------------------------------------------------------------------------------------


async def test_cancelling_wait(loop):
    process = await cat()
    waiting = asyncio.ensure_future(process.wait())
    await turns()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(process.wait(), 0.01)
    assert process.returncode is None
    process.stdin.close()
    assert await process.wait() == 0


async def test_cancelling_communicate(loop):
    process = await started("sleep", "60", stdin=PIPE, stdout=PIPE)
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(process.communicate(bytes(1000)), 0.05)
    process.kill()
    await process.wait()


@pytest.mark.parametrize("steps", range(6))
async def test_cancelling_the_start(loop, steps):
    starting = asyncio.ensure_future(cat())
    for _ in range(steps):
        await asyncio.sleep(0)
    starting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        process = await starting
        process.kill()
        await process.wait()
    assert not children()


async def test_closing_the_transport_kills_the_child(loop):
    transport, _ = await loop.subprocess_exec(asyncio.SubprocessProtocol, "sleep", "60")
    transport.close()
    await eventually(lambda: transport.get_returncode() is not None)
    assert transport.get_returncode() == -signal.SIGKILL
    await turns()


def test_closing_the_loop_while_a_child_lives(raw_loop):
    loop = raw_loop()
    process = loop.run_until_complete(cat())
    pid = process.pid
    loop.run_until_complete(turns())
    loop.close()
    os.kill(pid, 0)  # it is there still
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        del process
        gc.collect()  # which kills it


# Where there are no process descriptors -----------------------------------------------------------------------------


@pytest.mark.parametrize("error", [PermissionError, ProcessLookupError])
async def test_without_process_descriptors(loop, loop_name, monkeypatch, error):
    if loop_name != "netloop":
        pytest.skip("what is replaced here is netloop's way; the others have chosen theirs by now")

    def refuse(pid, flags=0):
        raise error

    monkeypatch.setattr("netloop.hosted.subprocesses.pidfd_open", refuse)
    process = await cat()
    assert await process.communicate(b"all the same") == (b"all the same", None)
    results = await asyncio.gather(*[asyncio.create_subprocess_shell(f"exit {number}") for number in range(20)])
    assert [await process.wait() for process in results] == list(range(20))


async def test_where_python_was_built_on_old_headers(loop, loop_name, monkeypatch):
    """os.pidfd_open() is missing there, and the process descriptors are not: no timer asks after the child."""
    if loop_name != "netloop":
        pytest.skip("asyncio has looked for os.pidfd_open() before this test took it away, and uvloop does without")
    monkeypatch.delattr(os, "pidfd_open", raising=False)
    process = await cat()
    assert loop.statistics().timers == 0
    assert await process.communicate(b"all the same") == (b"all the same", None)


async def test_a_child_is_asked_after_again_if_asking_fails(loop, loop_name, monkeypatch, exceptions):
    if loop_name != "netloop":
        pytest.skip("what is replaced here is netloop's way; the others give up or ask in a thread")
    ask, answers = os.waitpid, [OSError("not this time")]

    def waitpid(pid, options):
        if answers:
            raise answers.pop()
        return ask(pid, options)

    monkeypatch.setattr(os, "waitpid", waitpid)
    before = set(os.listdir("/proc/self/fd"))
    process = await asyncio.create_subprocess_exec("sh", "-c", "exit 7")
    assert await process.wait() == 7
    assert set(os.listdir("/proc/self/fd")) == before
    assert exceptions.take_types() == [OSError]


async def test_without_a_descriptor_to_spare(loop):
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(int(fd) for fd in os.listdir("/proc/self/fd")) + 1, limits[1]))
    held = []
    try:
        with contextlib.suppress(OSError):
            while True:
                held.append(os.dup(0))
        with pytest.raises(OSError, match="Too many open files"):
            await cat()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for fd in held:
            os.close(fd)
    assert await output("echo", "again") == b"again\n"


async def test_a_protocol_hears_of_a_shell_command(loop):
    class Protocol(asyncio.SubprocessProtocol):
        def __init__(self):
            self.data = {1: b"", 2: b""}
            self.lost = loop.create_future()

        def pipe_data_received(self, fd, data):
            self.data[fd] += data

        def connection_lost(self, exc):
            self.lost.set_result(exc)

    transport, protocol = await loop.subprocess_shell(Protocol, "cat; echo said >&2; exit 3")
    transport.get_pipe_transport(0).write(b"heard")
    transport.get_pipe_transport(0).write_eof()
    assert await protocol.lost is None
    assert (protocol.data, transport.get_returncode()) == ({1: b"heard", 2: b"said\n"}, 3)
    transport.close()
