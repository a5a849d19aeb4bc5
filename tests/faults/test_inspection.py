"""The socket by which a loop lets itself be looked at: who may, where it is, and when it is gone."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import os
import pwd
import socket
import stat
import subprocess
import threading
import time
from pathlib import Path

import pytest
from loop.forking import forked, succeeded
from loop.helpers import Echo, connected

import netloop
from netloop.hosted import inspection, inspection_path
from netloop.tools.inspection import Unanswered, ask

pytestmark = pytest.mark.loops("netloop")

LONG = 0.5
# Enough for the thread that answers to accept somebody; if it was not, a test tries less than it might.
SHORT = 0.1
PATIENCE = 10.0


@pytest.fixture(autouse=True)
def runtime(tmp_path, monkeypatch):
    """A directory of the test's own for what is only there while a user is logged in."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def inspected(new_loop):
    return new_loop(lambda: netloop.EventLoop(inspect=True))


def path_in(folder):
    return Path(folder, "netloop", f"{os.getpid()}.sock")


def path_in_tmp():
    return Path(f"/tmp/netloop-{os.geteuid()}", f"{os.getpid()}.sock")


def inspectors():
    return [thread for thread in threading.enumerate() if thread.name == "netloop-inspection"]


def look():
    """What this process tells about itself to somebody else, who is a thread here."""
    (found,) = ask(os.getpid(), limit=100)["loops"]
    return found


async def look_from_a_thread():
    return await asyncio.get_running_loop().run_in_executor(None, look)


class TestAnswer:
    def test_tasks_connections_and_figures(self, inspected):
        async def main():
            async with connected(server=Echo) as (client, _):
                client.transport.pause_reading()
                client.transport.write(b"x" * (16 << 20))
                await asyncio.sleep(0.05)
                found = await look_from_a_thread()
                client.transport.resume_reading()
                client.transport.abort()
                return found

        found = inspected.run_until_complete(main())
        assert found["running"]
        assert found["thread"] == threading.current_thread().name
        assert found["statistics"]["turns"] > 0
        assert found["statistics"]["connections"] == found["connections"]["count"] == 2
        longest = found["connections"]["shown"][0]
        assert longest["unsent"] > 0
        assert longest["peer"].startswith("127.0.0.1:")
        assert {each["protocol"] for each in found["connections"]["shown"]} == {"Recorder", "Echo"}
        assert any("main" in task["coroutine"] for task in found["tasks"]["shown"])

    def test_a_loop_that_is_stuck(self, inspected):
        found = []

        def look_while_it_is_stuck():
            time.sleep(LONG)
            found.append(look())

        async def main():
            thread = threading.Thread(target=look_while_it_is_stuck)
            thread.start()
            thread.join()

        inspected.run_until_complete(main())
        assert found[0]["turn_seconds"] > 0
        assert any(__file__ in line and "main" in line for line in found[0]["stack"])
        assert [task["running"] for task in found[0]["tasks"]["shown"]] == [True]

    def test_a_loop_that_does_not_run(self, inspected):
        found = look()
        assert (found["running"], found["thread"], found["stack"]) == (False, None, [])

    def test_what_has_blocked_it(self, new_loop):
        loop = new_loop(lambda: netloop.EventLoop(inspect=True, stall_threshold=0.2))
        over = []
        loop.set_stall_handler(over.append)

        async def main():
            time.sleep(LONG)
            while not over:
                await asyncio.sleep(0.005)
            return await look_from_a_thread()

        (slow,) = loop.run_until_complete(main())["stalls"]
        assert (slow["count"], slow["callback"].endswith("main")) == (1, True)
        assert slow["longest"] > 0.2
        assert __file__ in slow["where"]

    def test_two_loops_share_a_socket(self, new_loop):
        first, second = (new_loop(lambda: netloop.EventLoop(inspect=True)) for _ in range(2))
        assert len(ask(os.getpid(), limit=1)["loops"]) == 2
        assert len(inspectors()) == 1
        first.close()
        assert len(ask(os.getpid(), limit=1)["loops"]) == 1
        second.close()
        assert inspectors() == []

    @pytest.mark.parametrize("request_", [b"", b"\n", b"{}", b"[]\n", b"\xff\n", b"{" * 100000])
    def test_a_request_that_makes_no_sense_harms_nobody(self, inspected, runtime, request_):
        with socket.socket(socket.AF_UNIX) as client, contextlib.suppress(BrokenPipeError, ConnectionResetError):
            client.connect(str(path_in(runtime)))
            client.sendall(request_)
            client.shutdown(socket.SHUT_WR)
            client.recv(100)
        assert not look()["running"]

    def test_who_asks_and_goes_away_harms_nobody(self, inspected, runtime):
        for _ in range(3):
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(path_in(runtime)))
                client.sendall(b'{"limit": 5}\n')
        assert not look()["running"]

    def test_who_asks_nothing_does_not_hold_up_a_loop_that_is_closed(self, inspected, runtime, monkeypatch):
        monkeypatch.setattr(inspection, "_CLIENT_SECONDS", 100.0)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path_in(runtime)))
            time.sleep(SHORT)  # it is being answered, not only waiting in the queue
            inspected.close()

    def test_a_loop_is_made_while_the_last_one_is_closed(self, new_loop, inspected, monkeypatch):
        """As soon as the one that is being closed is not told about any more."""

        class Lock:
            made = False

            def __enter__(self):
                lock.acquire()

            def __exit__(self, *error):
                lock.release()
                if not self.made:
                    self.made = True
                    new_loop(lambda: netloop.EventLoop(inspect=True))

        inspector = inspected._inspector
        lock = inspector._lock
        monkeypatch.setattr(inspector, "_lock", Lock())
        inspected.close()
        assert not look()["running"]


class TestPlace:
    def test_only_its_user_may_enter(self, inspected, runtime):
        path = path_in(runtime)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700

    def test_it_is_gone_with_the_loop(self, inspected, runtime):
        inspected.run_until_complete(asyncio.sleep(0))
        assert path_in(runtime).exists()
        inspected.close()
        assert not path_in(runtime).exists()
        assert inspectors() == []

    def test_it_is_gone_with_a_loop_that_is_forgotten(self, loop_name, runtime):
        loop = netloop.EventLoop(inspect=True)
        with pytest.warns(ResourceWarning, match="unclosed event loop"):
            del loop
            gc.collect()
        assert not path_in(runtime).exists()

    def test_there_is_none_unless_it_is_asked_for(self, loop, runtime):
        assert not path_in(runtime).exists()
        assert inspectors() == []

    @pytest.mark.parametrize("value", ["0", "1"])
    def test_the_environment(self, new_loop, runtime, monkeypatch, value):
        monkeypatch.setenv("NETLOOP_INSPECT", value)
        new_loop()
        assert path_in(runtime).exists() == (value == "1")

    def test_a_bad_environment(self, loop_name, monkeypatch):
        monkeypatch.setenv("NETLOOP_INSPECT", "yes")
        with pytest.raises(ValueError, match="NETLOOP_INSPECT must be 0 or 1, not 'yes'"):
            netloop.EventLoop()

    def test_a_stale_socket_is_replaced(self, new_loop, runtime):
        path_in(runtime).parent.mkdir(mode=0o700)
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(path_in(runtime)))
        new_loop(lambda: netloop.EventLoop(inspect=True))
        assert not look()["running"]

    def test_sockets_of_processes_that_were_killed_are_removed(self, new_loop, runtime):
        """Of those alone: somebody of another PID namespace may answer, or be about to."""
        folder = path_in(runtime).parent
        folder.mkdir(mode=0o700)
        numbers = (4194997, 4194998, 4194999, os.getppid())
        stale, answered, young, living = (folder / f"{number}.sock" for number in numbers)
        with contextlib.ExitStack() as opened:
            for path in (stale, answered, young, living):
                sock = opened.enter_context(socket.socket(socket.AF_UNIX))
                sock.bind(str(path))
                if path == answered:
                    # With a full queue, so that whoever tries would wait.
                    sock.listen(0)
                    opened.enter_context(socket.socket(socket.AF_UNIX)).connect(str(path))
                if path != young:
                    os.utime(path, (0, 0))
            new_loop(lambda: netloop.EventLoop(inspect=True))
        assert set(folder.glob("*.sock")) == {answered, young, living, path_in(runtime)}

    def test_a_socket_that_somebody_answers_is_left_alone(self, new_loop, runtime, caplog):
        path_in(runtime).parent.mkdir(mode=0o700)
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(path_in(runtime)))
            other.listen()
            with caplog.at_level(logging.WARNING, "asyncio"):
                loop = new_loop(lambda: netloop.EventLoop(inspect=True))
            loop.run_until_complete(asyncio.sleep(0))
            loop.close()
            assert path_in(runtime).exists()
        assert "cannot be inspected: " in caplog.text
        assert "somebody else answers at" in caplog.text

    @pytest.mark.parametrize("scene", ["too long", "missing", "open to others", "a link", "none"])
    def test_another_place_is_taken(self, new_loop, runtime, monkeypatch, scene):
        if scene == "too long":
            runtime = runtime / ("long" * 30)
            runtime.mkdir()
        elif scene == "missing":
            runtime = runtime / "missing"
        elif scene == "open to others":
            (runtime / "netloop").mkdir(mode=0o777)
            (runtime / "netloop").chmod(0o777)
        elif scene == "a link":
            (runtime / "elsewhere").mkdir(mode=0o700)
            (runtime / "netloop").symlink_to("elsewhere")
        if scene == "none":
            monkeypatch.delenv("XDG_RUNTIME_DIR")
        else:
            monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
        new_loop(lambda: netloop.EventLoop(inspect=True))
        assert path_in_tmp().exists()
        assert not look()["running"]

    def test_a_loop_without_a_place_runs_and_says_so(self, new_loop, tmp_path, monkeypatch, caplog):
        monkeypatch.setattr(inspection_path, "folders", lambda user, runtime: [tmp_path / "no" / "where"])
        with caplog.at_level(logging.WARNING, "asyncio"):
            loop = new_loop(lambda: netloop.EventLoop(inspect=True))
        assert "this process cannot be inspected: " in caplog.text
        assert "No such file or directory" in caplog.text
        loop.run_until_complete(asyncio.sleep(0))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start programs of another user")
class TestOtherUsers:
    def test_a_peer_of_another_user_is_not_answered(self, inspected, runtime):
        """Even if somebody has opened the doors."""
        path = path_in(runtime)
        for folder in (path, *path.parents):
            if folder == Path("/tmp"):
                break
            folder.chmod(0o777)

        def ask_as_nobody():
            os.setuid(pwd.getpwnam("nobody").pw_uid)
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(path))
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    client.sendall(b"{}\n")
                    assert client.recv(100) == b""

        assert succeeded(forked(ask_as_nobody))
        assert not look()["running"]

    def test_a_process_of_another_user_is_not_asked(self):
        with subprocess.Popen(["/bin/sleep", "60"], user="nobody") as other:
            try:
                with pytest.raises(Unanswered, match="belongs to the user nobody: only that user can inspect it"):
                    ask(other.pid, limit=1)
            finally:
                other.kill()
        assert pwd.getpwnam("nobody").pw_uid != os.geteuid()


class TestWhoDoesNotTell:
    def test_no_such_process(self):
        with pytest.raises(Unanswered, match="there is no process 4194999"):
            ask(4194999, limit=1)

    def test_a_process_that_was_not_asked_to(self):
        with pytest.raises(Unanswered, match=r"start it with NETLOOP_INSPECT=1 .+netloop\.EventLoop\(inspect=True\)"):
            ask(os.getpid(), limit=1)

    def test_a_process_that_was_killed_left_its_socket(self, runtime):
        path_in(runtime).parent.mkdir(mode=0o700)
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(path_in(runtime)))
        with pytest.raises(Unanswered, match="does not let itself be inspected"):
            ask(os.getpid(), limit=1)

    def test_one_that_does_not_answer(self, runtime):
        path_in(runtime).parent.mkdir(mode=0o700)
        with socket.socket(socket.AF_UNIX) as deaf:
            deaf.bind(str(path_in(runtime)))
            deaf.listen()
            with pytest.raises(Unanswered, match=r"does not answer within 0\.1 s"):
                ask(os.getpid(), limit=1, timeout=0.1)

    @pytest.mark.parametrize(
        ("answer", "words"), [(b"", "ended its answer too early"), (b'{"error": "why"}\n', "describe itself: why")]
    )
    def test_one_that_answers_badly(self, runtime, answer, words):
        path_in(runtime).parent.mkdir(mode=0o700)
        with socket.socket(socket.AF_UNIX) as bad:
            bad.bind(str(path_in(runtime)))
            bad.listen()

            def serve():
                client, _ = bad.accept()
                with client:
                    client.recv(100)
                    client.sendall(answer)

            thread = threading.Thread(target=serve)
            thread.start()
            with pytest.raises(Unanswered, match=words):
                ask(os.getpid(), limit=1)
            thread.join()


def test_a_child_has_a_socket_of_its_own(inspected, runtime):
    parents = path_in(runtime)

    def in_child():
        assert inspectors() == []
        with contextlib.closing(netloop.EventLoop(inspect=True)):
            assert ask(os.getpid(), limit=1)["pid"] == os.getpid()
            assert path_in(runtime) != parents
        assert not path_in(runtime).exists()
        inspected.close()
        assert parents.exists()

    assert succeeded(forked(in_child))
    assert not look()["running"]
    json.dumps(look())


def test_a_client_of_the_parent_does_not_wait_for_the_child(inspected, runtime):
    """It has been accepted, and asks nothing until after the fork."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path_in(runtime)))
        time.sleep(SHORT)
        ended, end = os.pipe()
        child = forked(lambda: (os.close(end), os.read(ended, 1)))
        try:
            client.settimeout(PATIENCE)
            client.sendall(b"{}\n")
            with client.makefile("rb") as answer:
                assert json.loads(answer.read())["pid"] == os.getpid()
        finally:
            os.close(end)
            os.close(ended)
            assert succeeded(child)
