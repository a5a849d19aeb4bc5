"""``python -m netloop serve`` at UNIX sockets, on descriptors that were handed over, and what it tells systemd."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from apps.programs import Program
from apps.serving import AIOHTTP, ASGI, SECONDS, Client, Served, Visitors

pytest.importorskip("aiohttp", reason="not installed: pip install aiohttp")

pytestmark = [pytest.mark.limit(60)]

Start = Callable[..., Program]
Write = Callable[[str, str], str]
Command = tuple[str, ...]

# Becomes another program that has these descriptors from 3 on, and the variables that systemd would set.
HAND_OVER = """
import os, socket, sys

kinds, pid, *command = sys.argv[1:]
make = {
    "listening": lambda: socket.create_server(("127.0.0.1", 0)),
    "file": lambda: open(os.devnull),
    "datagram": lambda: socket.socket(type=socket.SOCK_DGRAM),
    "bound": lambda: socket.socket(),
}
made = [make[kind]() for kind in kinds.split(",") if kind]
print("ports", *(thing.getsockname()[1] for thing in made if hasattr(thing, "getsockname")), flush=True)
for at, thing in enumerate(made):
    os.dup2(thing.fileno(), 100 + at)
os.closerange(3, 100)
for at in range(len(made)):
    os.dup2(100 + at, 3 + at)
os.environ.update(LISTEN_FDS=str(len(made)), LISTEN_PID=pid if pid != "own" else str(os.getpid()))
os.execv(sys.executable, [sys.executable, *command])
"""


@pytest.fixture
def command(program: Write) -> Command:
    """The beginning of every command line."""
    program("application.py", AIOHTTP)
    return ("-m", "netloop", "serve", "application:app")


def ask(address: tuple[str, int] | str) -> str:
    """The answer to one request."""
    with contextlib.closing(Client(address)) as client:
        return client.ask()


def check_that_the_idle_one_serves(served: Served, directory: Path) -> None:
    """One of two workers is busy; everybody is served by the other."""
    asking = threading.Thread(target=served.ask, args=("/busy",))
    asking.start()
    busy = int(served.program.wait_for(r"busy (\d+)")[1])
    (idle,) = set(served.workers) - {busy}
    assert {int(served.ask().split()[0]) for _ in range(30)} == {idle}
    (directory / "go on").touch()
    asking.join()
    assert served.program.stop()[0] == 0


class TestUnixSockets:
    @pytest.mark.parametrize("application", ["aiohttp", "asgi"])
    def test_one_process(
        self, start: Start, command: Command, program: Write, tmp_path: Path, loop_name: str, application: str
    ) -> None:
        if application == "asgi":
            pytest.importorskip("uvicorn", reason="not installed: pip install uvicorn")
            program("application.py", ASGI)
        path = str(tmp_path / "socket")
        child = start(*command, "--uds", "socket", "--loop", loop_name)
        child.wait_for("Running on http://unix:socket:")
        assert ask(path).endswith("one")
        assert child.stop()[0] == 0
        assert not os.path.exists(path)

    @pytest.mark.loops("netloop")
    def test_workers_share_it_and_reload(self, start: Start, command: Command, tmp_path: Path) -> None:
        served = Served(start(*command, "--uds", str(tmp_path / "socket"), "--workers", "2"))
        with Visitors(served.address) as visitors:
            served.reload()
            served.until(lambda: served.children() == set(served.workers))
        assert visitors.failures == []
        assert served.program.stop()[0] == 0
        assert not (tmp_path / "socket").exists()

    @pytest.mark.loops("netloop")
    def test_nobody_waits_for_a_worker_that_is_busy(self, start: Start, command: Command, tmp_path: Path) -> None:
        served = Served(start(*command, "--uds", str(tmp_path / "socket"), "--workers", "2"))
        check_that_the_idle_one_serves(served, tmp_path)

    @pytest.mark.loops("netloop")
    def test_the_file_of_a_server_that_was_killed_is_replaced(
        self, start: Start, command: Command, tmp_path: Path
    ) -> None:
        path = str(tmp_path / "socket")
        child = start(*command, "--uds", path)
        child.wait_for("Running on")
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        assert os.path.exists(path)
        again = start(*command, "--uds", path)
        again.wait_for("Running on")
        assert ask(path)
        assert again.stop()[0] == 0

    @pytest.mark.loops("netloop")
    @pytest.mark.parametrize("workers", [(), ("--workers", "2")])
    def test_one_that_somebody_listens_at_is_left_alone(
        self, start: Start, command: Command, tmp_path: Path, workers: Command
    ) -> None:
        path = str(tmp_path / "socket")
        with socket.socket(socket.AF_UNIX) as taken:
            taken.bind(path)
            taken.listen()
            child = start(*command, "--uds", path, *workers)
            assert child.wait() == 1
            assert child.output == f"netloop serve: cannot listen at {path!r}: somebody listens there\n"
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(path)

    @pytest.mark.loops("netloop")
    def test_a_file_that_is_no_socket_is_left_alone(self, start: Start, command: Command, tmp_path: Path) -> None:
        (tmp_path / "socket").write_text("precious")
        child = start(*command, "--uds", "socket")
        assert child.wait() == 1
        assert child.output == "netloop serve: cannot listen at 'socket': there is a file, which is no socket\n"
        assert (tmp_path / "socket").read_text() == "precious"

    @pytest.mark.loops("netloop")
    @pytest.mark.parametrize(
        ("path", "words"),
        [
            ("nowhere/socket", "no such file or directory"),
            ("x" * 200, "path too long"),
            # Not even root may make a file there.
            ("/sys/socket", "permitted|denied"),
        ],
    )
    def test_a_path_where_no_socket_can_be(self, start: Start, command: Command, path: str, words: str) -> None:
        child = start(*command, "--uds", path)
        assert child.wait() == 1
        assert re.search(f"cannot listen at '.*': .*({words})\n$", child.output.lower())
        assert "Traceback" not in child.output

    @pytest.mark.loops("netloop")
    @pytest.mark.parametrize(("umask", "mode"), [(0o077, 0o700), (0o007, 0o770)])
    def test_the_umask_decides_who_may_connect(
        self, start: Start, command: Command, tmp_path: Path, umask: int, mode: int
    ) -> None:
        before = os.umask(umask)
        try:
            child = start(*command, "--uds", "socket")
        finally:
            os.umask(before)
        child.wait_for("Running on")
        assert stat.S_IMODE((tmp_path / "socket").stat().st_mode) == mode
        assert child.stop()[0] == 0


@pytest.mark.loops("netloop")
class TestDescriptors:
    @pytest.mark.parametrize("workers", [(), ("--workers", "2")])
    @pytest.mark.parametrize(("fd", "count"), [("systemd", 2), ("3", 1)])
    def test_sockets_that_were_handed_over(
        self, start: Start, program: Write, command: Command, workers: Command, fd: str, count: int
    ) -> None:
        program("hand_over.py", HAND_OVER)
        child = start("hand_over.py", ",".join(["listening"] * count), "own", *command, "--fd", fd, *workers)
        ports = [int(port) for port in child.wait_for(r"ports ([\d ]+)")[1].split()]
        child.wait_for("(?i)running on")
        assert [ask(("127.0.0.1", port)).split()[1] for port in ports] == ["one"] * count
        assert child.stop()[0] == 0

    def test_the_application_finds_nothing_handed_over(self, start: Start, program: Write, command: Command) -> None:
        program("hand_over.py", HAND_OVER)
        program("application.py", AIOHTTP.replace('"one"', 'os.environ.get("LISTEN_FDS")'))
        child = start("hand_over.py", "listening", "own", *command, "--fd", "systemd", "--workers", "1")
        assert Served(child).ask().endswith("None")

    def test_nobody_waits_for_a_worker_that_is_busy(
        self, start: Start, program: Write, command: Command, tmp_path: Path
    ) -> None:
        program("hand_over.py", HAND_OVER)
        served = Served(start("hand_over.py", "listening", "own", *command, "--fd", "systemd", "--workers", "2"))
        check_that_the_idle_one_serves(served, tmp_path)

    def test_sockets_of_another_process(self, start: Start, program: Write, command: Command) -> None:
        program("hand_over.py", HAND_OVER)
        child = start("hand_over.py", "listening", "1", *command, "--fd", "systemd")
        assert child.wait() == 1
        assert f"netloop serve: --fd systemd: LISTEN_PID is 1, but this is process {child.pid}\n" in child.output

    def test_nothing_was_handed_over(self, start: Start, command: Command) -> None:
        child = start(*command, "--fd", "systemd")
        assert child.wait() == 1
        expected = "netloop serve: --fd systemd: LISTEN_PID and LISTEN_FDS are not set, so nothing was handed over\n"
        assert child.output == expected

    @pytest.mark.parametrize("fd", ["3", "systemd"])
    @pytest.mark.parametrize(
        ("kind", "words"),
        [
            ("file", "descriptor 3 is no socket: socket operation on non-socket"),
            ("datagram", "descriptor 3 is no TCP or UNIX stream socket"),
            ("bound", "descriptor 3 is a socket that does not listen"),
        ],
    )
    def test_what_is_no_listening_socket(
        self, start: Start, program: Write, command: Command, kind: str, words: str, fd: str
    ) -> None:
        program("hand_over.py", HAND_OVER)
        child = start("hand_over.py", kind, "own", *command, "--fd", fd)
        assert child.wait() == 1
        assert child.output.endswith(f"netloop serve: --fd: {words}\n")

    def test_a_number_that_is_no_descriptor(self, start: Start, command: Command) -> None:
        child = start(*command, "--fd", "1000")
        assert child.wait() == 1
        assert child.output == "netloop serve: --fd: descriptor 1000 is no socket: bad file descriptor\n"


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A socket on which to be told, as systemd has it, and what NOTIFY_SOCKET says of it."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@netloop-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(name.replace("@", "\0"))
        sock.settimeout(SECONDS)
        yield sock, name


@pytest.mark.loops("netloop")
class TestNotifying:
    def test_one_process(self, start: Start, command: Command, manager: tuple[socket.socket, str]) -> None:
        sock, name = manager
        child = start(*command, "--port", "0", NOTIFY_SOCKET=name)
        assert sock.recv(1000) == b"READY=1"
        child.wait_for("Running on")
        os.kill(child.pid, signal.SIGTERM)
        assert sock.recv(1000) == b"STOPPING=1"
        assert child.wait() == 0

    def test_workers(self, start: Start, command: Command, manager: tuple[socket.socket, str]) -> None:
        sock, name = manager
        served = Served(start(*command, "--port", "0", "--workers", "2", NOTIFY_SOCKET=name))
        assert sock.recv(1000) == b"READY=1"
        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        served.reload()
        first, second = sock.recv(1000).decode().split("\n")
        assert first == "RELOADING=1"
        assert before <= int(second.removeprefix("MONOTONIC_USEC=")) <= time.monotonic_ns() // 1000
        assert sock.recv(1000) == b"READY=1"
        served.signal(signal.SIGTERM)
        assert sock.recv(1000) == b"STOPPING=1"
        assert served.program.wait() == 0
        sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            sock.recv(1000)

    def test_a_reload_that_fails_is_over_too(
        self, start: Start, program: Write, command: Command, manager: tuple[socket.socket, str]
    ) -> None:
        sock, name = manager
        served = Served(start(*command, "--port", "0", "--workers", "2", NOTIFY_SOCKET=name))
        assert sock.recv(1000) == b"READY=1"
        program("application.py", "1 / 0")
        served.signal(signal.SIGHUP)
        assert sock.recv(1000).startswith(b"RELOADING=1")
        assert sock.recv(1000) == b"READY=1"

    def test_nobody_is_there(self, start: Start, command: Command, tmp_path: Path) -> None:
        """That is told, and the server serves."""
        child = start(*command, "--port", "0", NOTIFY_SOCKET=str(tmp_path / "nowhere"))
        child.wait_for("READY=1 could not be told to NOTIFY_SOCKET .*nowhere: .*No such file or directory")
        assert child.stop()[0] == 0
