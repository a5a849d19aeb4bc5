"""``examples/relay.py`` between real programs: what it carries both ways, slow and dying peers, and what it holds.

How much it carries is for a quick test; ``NETLOOP_RELAY_MIB=1024`` makes it a GiB each way.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import socket
import struct
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from loop.helpers import HOST, unused_port

from apps.programs import Program
from apps.servers import RedisServer, find
from apps.test_examples import EXAMPLES

MIB = 1 << 20
VOLUME = int(os.environ.get("NETLOOP_RELAY_MIB", "24"))
SECONDS = 30.0 + VOLUME
BUFFERS, SIZE = 64, 64 * 1024

pytestmark = pytest.mark.limit(60 + 3 * VOLUME)

Start = Callable[..., Program]


def address_of(target: str) -> str | tuple[str, int]:
    """What connect() takes of an address as the relay has it."""
    if target.startswith("unix:"):
        return target.removeprefix("unix:")
    host, _, port = target.rpartition(":")
    return host, int(port)


def new_socket(target: str) -> socket.socket:
    """A socket of the address's family that does not wait for ever."""
    made = socket.socket(socket.AF_UNIX if target.startswith("unix:") else socket.AF_INET)
    made.settimeout(SECONDS)
    return made


def connected(target: str) -> socket.socket:
    """A connection to an address."""
    made = new_socket(target)
    made.connect(address_of(target))
    return made


@contextlib.contextmanager
def listening(way: str = "tcp") -> Iterator[tuple[str, socket.socket]]:
    """A server's socket, TCP or UNIX, and its address as the relay has it."""
    with tempfile.TemporaryDirectory() as directory, new_socket(f"{way}:") as server:
        server.bind(f"{directory}/server" if way == "unix" else (HOST, 0))
        server.listen()
        name = server.getsockname()
        yield (f"unix:{name}" if way == "unix" else f"{HOST}:{name[1]}"), server


def started(start: Start, target: str, *options: str, listen: str = f"{HOST}:0") -> tuple[Program, str]:
    """A relay in front of an address, and its own."""
    pool = options or ("--buffers", str(BUFFERS), "--size", str(SIZE))
    relay = start(str(EXAMPLES / "relay.py"), listen, target, *pool)
    said = relay.wait_for(r"listening on (?:\('127\.0\.0\.1', (\d+)\)|(\S+))")
    return relay, f"unix:{said[2]}" if said[2] else f"{HOST}:{said[1]}"


def blocks(seed: int, mib: int = VOLUME) -> Iterator[bytes]:
    """Data by the MiB, no two of them the same."""
    block = random.Random(seed).randbytes(MIB)
    for number in range(mib):
        yield number.to_bytes(8, "big") + block[8:]


class Sending(threading.Thread):
    """Sends data and then its end, in a thread of its own."""

    def __init__(self, to: socket.socket, seed: int, mib: int = VOLUME) -> None:
        super().__init__()
        self._to, self._seed, self._mib = to, seed, mib
        self.sum = hashlib.sha1(usedforsecurity=False)
        self.error: OSError | None = None
        self.start()

    def run(self) -> None:
        """Send all of it."""
        try:
            for block in blocks(self._seed, self._mib):
                self.sum.update(block)
                self._to.sendall(block)
            self._to.shutdown(socket.SHUT_WR)
        except OSError as error:
            self.error = error


def received(connection: socket.socket, pause: float = 0.0) -> str:
    """The checksum of all until the peer's end."""
    got = hashlib.sha1(usedforsecurity=False)
    while data := connection.recv(MIB):
        got.update(data)
        time.sleep(pause)
    return got.hexdigest()


def resident(relay: Program) -> int:
    """Bytes of memory that a program has at most had, of its own and of libraries."""
    status = Path(f"/proc/{relay.pid}/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def reset(connection: socket.socket) -> None:
    """Close a connection as a program does that dies."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def carries(target: str, server: socket.socket, mib: int = VOLUME, pause: float = 0.0) -> None:
    """Have so much go both ways at once over one connection, the server being slow if there is a pause."""
    server.settimeout(SECONDS)
    with connected(target) as client, server.accept()[0] as far:
        far.settimeout(SECONDS)
        there, back = Sending(client, 1, mib), Sending(far, 2, mib)
        at_client: list[str] = []
        reading = threading.Thread(target=lambda: at_client.append(received(client)))
        reading.start()
        at_server = received(far, pause)
        for thread in (reading, there, back):
            thread.join(SECONDS)
        assert (there.error, back.error) == (None, None)
        assert at_server == there.sum.hexdigest()
        assert at_client == [back.sum.hexdigest()]


@pytest.mark.parametrize(("listen", "way"), [("tcp", "tcp"), ("tcp", "unix"), ("unix", "tcp")])
def test_both_ways_at_once(start: Start, tmp_path: Path, listen: str, way: str) -> None:
    with listening(way) as (address, server):
        place = f"unix:{tmp_path / 'relay'}" if listen == "unix" else f"{HOST}:0"
        relay, target = started(start, address, listen=place)
        before = resident(relay)
        carries(target, server)
        assert resident(relay) - before < BUFFERS * SIZE + 16 * MIB


def test_a_slow_peer_bounds_what_is_held(start: Start) -> None:
    """What one does not read the other cannot send, and the memory for it is the pool's."""
    with listening() as (address, server):
        relay, target = started(start, address)
        before = resident(relay)
        with connected(target) as client, server.accept()[0] as far:
            far.settimeout(SECONDS)
            sending = Sending(client, 3)
            sending.join(2.0)
            assert received(far, pause=0.001) == sending.sum.hexdigest()
            sending.join(SECONDS)
        assert resident(relay) - before < BUFFERS * SIZE + 16 * MIB
        carries(target, server, mib=2, pause=0.01)


def test_dying_peers_leave_their_buffers_to_the_others(start: Start) -> None:
    """With a pool that so many connections would have used up many times over."""
    with listening() as (address, server):
        relay, target = started(start, address, "--buffers", "8", "--size", str(SIZE))
        server.settimeout(SECONDS)
        for number in range(60):
            client = connected(target)
            far = server.accept()[0]
            sending = [Sending(client, 4, 4), Sending(far, 5, 4)]
            far.recv(1000)
            first, last = (client, far) if number % 2 else (far, client)
            reset(first)
            with contextlib.suppress(ConnectionError):
                last.settimeout(SECONDS)
                received(last)
            last.close()
            for each in sending:
                each.join(SECONDS)
        carries(target, server, mib=4)
        assert "Traceback" not in relay.output


def socat(address: str, put: Path, get: Path) -> subprocess.Popen[bytes]:
    """Start socat between an address and two files; if it is to listen, it does."""
    program = find("socat", "socat")
    log = get.with_suffix(".log")
    with put.open("rb") as source, get.open("wb") as sink:
        # It waits for the other direction's end, and not only half a second.
        command = [program, "-d", "-d", "-lf", str(log), "-b", "65536", "-t", str(SECONDS), "-", address]
        started = subprocess.Popen(command, stdin=source, stdout=sink)
    deadline = time.monotonic() + SECONDS
    while "LISTEN" in address and not (log.exists() and "listening on" in log.read_text(encoding="utf-8")):
        assert time.monotonic() < deadline, "socat does not listen"
        time.sleep(0.01)
    return started


def file_of(path: Path, seed: int) -> str:
    """Write a file; its checksum."""
    data = hashlib.sha1(usedforsecurity=False)
    with path.open("wb") as file:
        for block in blocks(seed):
            data.update(block)
            file.write(block)
    return data.hexdigest()


def checksum(path: Path) -> str:
    """That of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha1").hexdigest()


@pytest.mark.parametrize("way", ["tcp", "unix"])
def test_socat_to_socat(start: Start, tmp_path: Path, way: str) -> None:
    port, path = unused_port(), tmp_path / "server"
    there, back = file_of(tmp_path / "there", 6), file_of(tmp_path / "back", 7)
    place = f"UNIX-LISTEN:{path}" if way == "unix" else f"TCP-LISTEN:{port},bind={HOST}"
    target = f"unix:{path}" if way == "unix" else f"{HOST}:{port}"
    with socat(place, put=tmp_path / "back", get=tmp_path / "at-server") as server:
        _, relay = started(start, target)
        with socat(f"TCP:{relay}", put=tmp_path / "there", get=tmp_path / "at-client") as client:
            assert client.wait(SECONDS) == 0
        assert server.wait(SECONDS) == 0
    assert checksum(tmp_path / "at-server") == there
    assert checksum(tmp_path / "at-client") == back


def test_files_of_nginx(start: Start, tmp_path: Path) -> None:
    program = find("nginx", "nginx", ["/usr/sbin"])
    port = unused_port()
    (tmp_path / "www").mkdir()
    expected = file_of(tmp_path / "www" / "file", 8)
    tmp_path.chmod(0o755)
    configuration = tmp_path / "nginx.conf"
    configuration.write_text(f"""
        daemon off; master_process off; pid {tmp_path}/pid; error_log stderr;
        events {{}}
        http {{ access_log off; client_body_temp_path {tmp_path}/body; proxy_temp_path {tmp_path}/proxy;
                fastcgi_temp_path {tmp_path}/fastcgi; uwsgi_temp_path {tmp_path}/uwsgi; scgi_temp_path {tmp_path}/scgi;
                server {{ listen {HOST}:{port}; root {tmp_path}/www; }} }}
    """)
    with subprocess.Popen([program, "-p", str(tmp_path), "-e", "stderr", "-c", str(configuration)]) as nginx:
        try:
            _, relay = started(start, f"{HOST}:{port}")
            for _attempt in range(100):
                with contextlib.suppress(OSError), socket.create_connection((HOST, port)):
                    break
                time.sleep(0.05)
            with connected(relay) as client:
                client.sendall(b"GET /file HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
                with client.makefile("rb") as reply:
                    assert b" 200 " in reply.readline()
                    while reply.readline().strip():
                        pass
                    got = hashlib.sha1(usedforsecurity=False)
                    while data := reply.read(MIB):
                        got.update(data)
            assert got.hexdigest() == expected
        finally:
            nginx.terminate()


def test_redis_benchmark(start: Start, redis_server: RedisServer) -> None:
    """Fifty clients with sixteen requests under way each, to the server's UNIX socket; an error ends the program."""
    program = find("redis-benchmark", "redis-tools")
    _, relay = started(start, f"unix:{redis_server.path}")
    port = relay.rpartition(":")[2]
    arguments = ["-h", HOST, "-p", port, "-n", "5000", "-c", "50", "-P", "16", "-d", "1000", "-r", "100", "--csv"]
    done = subprocess.run([program, *arguments, "-t", "set,get,lpush,lrange_100"], capture_output=True, timeout=SECONDS)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {line.split(b",")[0].strip(b'"')[:3] for line in done.stdout.splitlines()[1:]} >= {b"SET", b"GET", b"LPU"}
    assert b"rror" not in done.stdout + done.stderr
