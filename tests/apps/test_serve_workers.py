"""``python -m netloop serve --workers``: a server of several processes, reloaded, stopped, and in bad weather."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from apps.programs import Program
from apps.serving import (
    AIOHTTP,
    ASGI,
    SERVERS,
    Client,
    Served,
    Upload,
    Visitors,
    application_of,
    asgi_server,
    ending,
)

pytest.importorskip("aiohttp", reason="not installed: pip install aiohttp")

pytestmark = [pytest.mark.limit(60)]

Start = Callable[..., Program]
Write = Callable[[str, str], str]
Serve = Callable[..., Served]


@pytest.fixture
def serve_with_workers(start: Start, program: Write) -> Serve:
    """Starts an application with two workers, unless told otherwise, and waits until it serves."""

    def start_one(*options: str, text: str = AIOHTTP) -> Served:
        program("application.py", text)
        workers = () if "--workers" in options else ("--workers", "2")
        where = () if {"--uds", "--fd"} & set(options) else ("--port", "0")
        return Served(start("-m", "netloop", "serve", "application:app", *where, *workers, *options))

    return start_one


def stopped(served: Served) -> str:
    """Stop it in order; what it has printed."""
    status, output = served.program.stop()
    assert status == 0, output
    assert "Traceback" not in output
    assert "Warning" not in output
    assert "killed" not in output
    return output


def reload_under_load(served: Served, times: int) -> None:
    """Reload while clients ask all the time: nobody is cut off, and nothing is left of the old workers."""
    descriptors, first = served.descriptors(), set(served.workers)
    with Visitors(served.address) as visitors:
        for _ in range(times):
            enough = len(visitors.answers) + 10
            served.reload()
            served.until(lambda enough=enough: len(visitors.answers) > enough)  # type: ignore[misc]
        served.until(lambda: served.children() == set(served.workers))
    assert visitors.failures == []
    assert not first & set(served.workers)
    assert served.descriptors() == descriptors
    stopped(served)


class TestLoops:
    """On whichever loop."""

    @SERVERS
    def test_all_workers_serve_and_clean_up(self, serve_with_workers: Serve, loop_name: str, server: str) -> None:
        options, text = application_of(server)
        served = serve_with_workers("--loop", loop_name, *options, text=text)
        pids = set(served.workers)
        assert len(pids) == 2
        served.until_answered_by(pids)
        assert stopped(served).count("cleaned up") == 2

    def test_reloading_again_and_again_cuts_nobody(self, serve_with_workers: Serve, loop_name: str) -> None:
        reload_under_load(serve_with_workers("--loop", loop_name), 3)


# What follows is the master's, which is the same for every loop.
netloop_only = pytest.mark.loops("netloop")


@netloop_only
class TestReloading:
    @pytest.mark.parametrize("server", ["uvicorn", "hypercorn"])
    def test_reloading_again_and_again_cuts_nobody(self, serve_with_workers: Serve, server: str) -> None:
        reload_under_load(serve_with_workers(*asgi_server(server), text=ASGI), 3)

    def test_the_new_version_is_served(self, serve_with_workers: Serve, program: Write) -> None:
        served = serve_with_workers()
        assert served.ask().endswith("one")
        program("application.py", AIOHTTP.replace('"one"', '"two"'))
        served.reload()
        assert {served.ask().split()[1] for _ in range(20)} == {"two"}
        stopped(served)

    def test_a_version_that_fails_to_import_leaves_the_old_one(self, serve_with_workers: Serve, program: Write) -> None:
        served = serve_with_workers()
        pids = served.workers
        program("application.py", "1 / 0")
        served.signal(signal.SIGHUP)
        served.program.wait_for(r"not reloaded: the new worker of process \d+ ended with status 1; the workers that .*")
        assert served.output.count("ZeroDivisionError") == 1
        assert {int(served.ask().split()[0]) for _ in range(20)} == set(pids)
        program("application.py", AIOHTTP.replace('"one"', '"two"'))
        served.reload()
        assert served.ask().endswith("two")
        assert served.program.stop()[0] == 0

    def test_many_signals_at_once_are_one_reload(self, serve_with_workers: Serve) -> None:
        served = serve_with_workers()
        first = set(served.workers)
        with Visitors(served.address) as visitors:
            for _ in range(20):
                served.signal(signal.SIGHUP)
                time.sleep(0.01)
            served.program.wait_for("reloaded:")
            served.until(lambda: served.children() == set(served.workers))
        assert visitors.failures == []
        assert not first & set(served.workers)
        stopped(served)

    def test_a_signal_in_the_middle_of_a_reload_begins_it_anew(self, serve_with_workers: Serve, program: Write) -> None:
        """What hangs while it is imported holds up nobody for ever."""
        served = serve_with_workers()
        program("application.py", "print('hangs', flush=True)\nimport time\ntime.sleep(600)")
        served.signal(signal.SIGHUP)
        served.program.wait_for("hangs")
        assert served.ask().endswith("one")
        program("application.py", AIOHTTP.replace('"one"', '"two"'))
        served.reload()
        assert served.ask().endswith("two")
        served.until(lambda: served.children() == set(served.workers))
        stopped(served)

    @SERVERS
    def test_a_request_in_progress_is_answered(self, serve_with_workers: Serve, server: str) -> None:
        options, text = application_of(server)
        served = serve_with_workers(*options, text=text)
        old = set(served.workers)
        answers: list[str] = []
        asking = threading.Thread(target=lambda: answers.append(served.ask("/slow?seconds=3")))
        asking.start()
        served.program.wait_for("slow begins")
        with ending(*old):
            served.reload()
            asking.join()
        assert answers == ["slow"]
        stopped(served)

    @SERVERS
    def test_a_request_that_is_being_received_is_answered(self, serve_with_workers: Serve, server: str) -> None:
        """Though it arrives when all else has long been quiet."""
        options, text = application_of(server)
        served = serve_with_workers(*options, text=text)
        assert isinstance(served.address, tuple)
        old = set(served.workers)
        upload = Upload(served.program, served.address)
        with ending(*old):
            served.reload()
            served.until(lambda: len(served.children() & old) == 1)
            time.sleep(2)
            assert upload.finish().endswith("20 received")
        stopped(served)

    @SERVERS
    def test_a_kept_connection_learns_that_it_ends(self, serve_with_workers: Serve, server: str) -> None:
        """The answer after a reload is the last one on it, and says so, unless the client is slow to ask."""
        options, text = application_of(server)
        served = serve_with_workers(*options, text=text)
        answers: list[tuple[int, str | None]] = []
        while not answers:
            with contextlib.closing(Client(served.address)) as client:
                client.ask()
                assert client.sock is not None
                served.reload()
                try:
                    # On a busy machine the worker hears of it after the first of these.
                    while not answers or answers[-1][1] is None:
                        client.request("GET", "/")
                        response = client.getresponse()
                        answers.append((response.status, response.getheader("Connection")))
                        response.read()
                except ConnectionError:
                    answers.clear()
        assert {status for status, _ in answers} == {200}
        assert answers[-1][1] == "close"
        stopped(served)


@netloop_only
class TestStopping:
    @SERVERS
    def test_requests_in_progress_are_answered(self, serve_with_workers: Serve, server: str) -> None:
        options, text = application_of(server)
        served = serve_with_workers(*options, text=text)
        answers: list[str] = []
        asking = threading.Thread(target=lambda: answers.append(served.ask("/slow?seconds=1.5")))
        asking.start()
        served.program.wait_for("slow begins")
        with ending(*served.workers):
            served.signal(signal.SIGTERM)
            asking.join()
        assert answers == ["slow"]
        assert stopped(served).count("cleaned up") == 2

    @SERVERS
    def test_a_request_that_takes_too_long_is_cut(self, serve_with_workers: Serve, server: str) -> None:
        options, text = application_of(server)
        served = serve_with_workers("--graceful-timeout", "0.5", *options, text=text)
        failed: list[BaseException] = []
        asking = threading.Thread(target=lambda: catch(lambda: served.ask("/slow?seconds=600"), failed))
        asking.start()
        served.program.wait_for("slow begins")
        status, output = served.program.stop()
        asking.join()
        assert status == 0
        assert "killed" not in output
        assert output.count("cleaned up") == 2
        assert len(failed) == 1

    def test_an_application_that_fails_meanwhile_is_told_by_the_status(self, serve_with_workers: Serve) -> None:
        text = f"{AIOHTTP}\n\nasync def fail(app):\n    1 / 0\n\napp.on_cleanup.append(fail)\n"
        status, output = serve_with_workers(text=text).program.stop()
        assert status == 1
        assert "ZeroDivisionError" in output

    def test_a_worker_that_does_not_listen_is_killed(self, serve_with_workers: Serve) -> None:
        served = serve_with_workers("--graceful-timeout", "0.1")
        failed: list[BaseException] = []
        asking = threading.Thread(target=lambda: catch(lambda: served.ask("/busy"), failed))
        asking.start()
        busy = int(served.program.wait_for(r"busy (\d+)")[1])
        status, output = served.program.stop()
        asking.join()
        assert status == 0
        assert f"the worker of process {busy} has not ended in time and is killed" in output
        assert len(failed) == 1

    @SERVERS
    def test_an_interrupt_ends_all_at_once(self, serve_with_workers: Serve, server: str) -> None:
        """As Ctrl-C in a terminal does, which reaches the workers too."""
        options, text = application_of(server)
        served = serve_with_workers(*options, text=text)
        failed: list[BaseException] = []
        asking = threading.Thread(target=lambda: catch(lambda: served.ask("/slow?seconds=600"), failed))
        asking.start()
        served.program.wait_for("slow begins")
        with ending(*served.workers):
            for pid in (*served.workers, served.pid):
                os.kill(pid, signal.SIGINT)
        asking.join()
        # Other servers than aiohttp's tell of the request that was cancelled.
        status, output = served.program.stop()
        assert status == 0
        assert ("KeyboardInterrupt" if server != "aiohttp" else "Traceback") not in output
        assert output.count("cleaned up") == 2

    def test_a_second_interrupt_does_not_wait(self, serve_with_workers: Serve) -> None:
        served = serve_with_workers()
        threading.Thread(target=lambda: catch(lambda: served.ask("/busy"), [])).start()
        served.program.wait_for("busy")
        with ending(*served.workers):
            served.signal(signal.SIGINT)
            time.sleep(0.1)
            served.signal(signal.SIGINT)
        assert served.program.stop()[0] == 0

    def test_the_workers_end_when_their_master_is_killed(self, serve_with_workers: Serve) -> None:
        served = serve_with_workers()
        with ending(*served.workers):
            served.signal(signal.SIGKILL)
        assert served.program.stop()[0] == -signal.SIGKILL
        assert served.output.count("cleaned up") == 2


@netloop_only
class TestDeaths:
    def test_a_worker_that_dies_is_replaced(self, serve_with_workers: Serve) -> None:
        served = serve_with_workers()
        first, second = served.workers
        os.kill(first, signal.SIGKILL)
        served.program.wait_for(rf"worker 1 \(process {first}\) was ended by SIGKILL")
        served.until(lambda: len(served.children()) == 2 and first not in served.children())
        assert second in served.children()
        served.until_answered_by(served.children())
        stopped(served)

    def test_the_others_serve_until_then(self, serve_with_workers: Serve, program: Write) -> None:
        """A worker that keeps dying must not keep its share of the connections waiting."""
        served = serve_with_workers()
        first, second = served.workers
        program("application.py", "import os\nos._exit(7)")
        os.kill(first, signal.SIGKILL)
        served.program.wait_for("worker 1 .* ended with status 7")
        assert {int(served.ask().split()[0]) for _ in range(30)} == {second}
        program("application.py", AIOHTTP)
        served.reload()
        served.until_answered_by(served.workers)
        stopped(served)

    def test_one_that_dies_at_once_is_not_started_again_and_again(
        self, serve_with_workers: Serve, program: Write
    ) -> None:
        served = serve_with_workers()
        program("application.py", "print('starts', flush=True)\nimport os\nos._exit(7)")
        os.kill(served.workers[0], signal.SIGKILL)
        served.program.wait_for(r"worker 1 is started again in 1 s")
        served.program.wait_for(r"worker 1 is started again in 2 s")
        served.program.wait_for(r"worker 1 is started again in 4 s")
        assert served.output.count("starts") == 2
        stopped(served)

    def test_all_of_them_may_die(self, serve_with_workers: Serve) -> None:
        served = serve_with_workers()
        for pid in served.workers:
            os.kill(pid, signal.SIGKILL)
        served.until(lambda: len(served.children() - set(served.workers)) == 2)
        assert served.ask()
        stopped(served)


@netloop_only
class TestStarting:
    @pytest.mark.parametrize(
        ("text", "status", "words"),
        [
            ("1 / 0", 1, "ZeroDivisionError"),
            ("app = 7", 2, "not started: the new worker"),
            ("app = 7", 2, "application:app is an object of type int"),
            ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", 1, "ended by SIGKILL"),
            ("import os\nos._exit(0)", 1, "ended with status 0"),
        ],
    )
    def test_an_application_that_does_not_start_is_told_of_once(
        self, start: Start, program: Write, text: str, status: int, words: str
    ) -> None:
        program("application.py", f"print('starts', flush=True)\n{text}")
        child = start("-m", "netloop", "serve", "application:app", "--workers", "3", "--port", "0")
        assert child.wait() == status
        assert child.output.count("starts") == 1
        assert child.output.count(words) == 1

    def test_a_port_that_other_workers_have(self, serve_with_workers: Serve, start: Start) -> None:
        served = serve_with_workers()
        port = served.address[1]
        child = start("-m", "netloop", "serve", "application:app", "--workers", "2", "--port", str(port))
        assert child.wait() == 1
        assert f"bind on address ('127.0.0.1', {port}): address already in use" in child.output
        assert served.ask()
        stopped(served)

    def test_each_worker_has_a_cpu(self, serve_with_workers: Serve) -> None:
        """Those that there are, again from the first one if there are too few."""
        cpus = sorted(os.sched_getaffinity(0))
        served = serve_with_workers("--pin", "--workers", str(len(cpus) + 1))
        pinned = [os.sched_getaffinity(pid) for pid in served.workers]
        assert pinned == [{cpu} for cpu in [*cpus, cpus[0]]]
        assert f"--pin: {len(cpus) + 1} workers share {len(cpus)} CPUs" in stopped(served)

    def test_options_of_the_interpreter_reach_the_workers(self, start: Start, program: Write) -> None:
        program("application.py", AIOHTTP.replace('VERSION = "one"', "import sys\nVERSION = sys.warnoptions"))
        command = (
            "-W",
            "error::UserWarning",
            "-m",
            "netloop",
            "serve",
            "application:app",
            "--workers",
            "1",
            "--port",
            "0",
        )
        served = Served(start(*command))
        assert "error::UserWarning" in served.ask()
        stopped(served)


def catch(function: Callable[[], Any], failed: list[BaseException]) -> None:
    """Note what a call raises."""
    try:
        function()
    except Exception as error:
        failed.append(error)
