"""The programs in ``examples`` do what they say."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from apps.programs import Program, Server

README = Path(__file__).resolve().parents[2] / "README.md"
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

# What a program that serves on aiohttp's usual port begins with, to serve on a free one.
FREE_PORT = """
import functools, aiohttp.web
aiohttp.web.run_app = functools.partial(aiohttp.web.run_app, host="127.0.0.1", port=0)
"""

Serve = Callable[..., Server]


@pytest.fixture
def start_example(start: Callable[..., Program]) -> Iterator[Callable[..., Program]]:
    """Starts an example on a port of the kernel's choice."""
    yield lambda name: start(str(EXAMPLES / name), "--port", "0")


def test_echo_server(start_example: Callable[..., Program]) -> None:
    child = start_example("echo_server.py")
    port = int(child.wait_for(r"listening on \('127\.0\.0\.1', (\d+)\)")[1])
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(b"hello")
        assert client.recv(100) == b"hello"


def test_udp_echo(start_example: Callable[..., Program]) -> None:
    child = start_example("udp_echo.py")
    port = int(child.wait_for(r"listening on \('127\.0\.0\.1', (\d+)\)")[1])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(10)
        for datagram in (b"hello", b"world"):
            client.sendto(datagram, ("127.0.0.1", port))
            assert client.recvfrom(100) == (datagram, ("127.0.0.1", port))


@contextlib.contextmanager
def relayed(start: Callable[..., Program], port: int) -> Iterator[socket.socket]:
    """A client of the relay in front of a server."""
    child = start(str(EXAMPLES / "tcp_relay.py"), f"127.0.0.1:{port}", "--port", "0")
    relay = int(child.wait_for(r"listening on \('127\.0\.0\.1', (\d+)\)")[1])
    with socket.create_connection(("127.0.0.1", relay), timeout=10) as client:
        yield client


def test_tcp_relay(start: Callable[..., Program]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(10)
        with relayed(start, listening.getsockname()[1]) as client:
            client.sendall(b"question")
            server, _ = listening.accept()
            with server:
                server.settimeout(10)
                assert server.recv(100) == b"question"
                # The end of one direction leaves the other as it is.
                client.shutdown(socket.SHUT_WR)
                assert server.recv(100) == b""
                server.sendall(b"answer")
            assert client.makefile("rb").read() == b"answer"


def test_tcp_relay_reads_no_faster_than_the_other_side(start: Callable[..., Program]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(10)
        with relayed(start, listening.getsockname()[1]) as client:
            server, _ = listening.accept()
            with server:
                server.settimeout(10)
                client.settimeout(1)
                sent = 0
                # Until the relay, whose server reads nothing, takes no more.
                with pytest.raises(TimeoutError):
                    while sent < 1 << 30:
                        sent += client.send(bytes(1 << 16))
                received = 0
                while received < sent:
                    received += len(server.recv(1 << 20))
                client.settimeout(10)
                client.sendall(b"more")
                assert server.recv(100) == b"more"


def test_tcp_relay_without_a_server(start: Callable[..., Program]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    with relayed(start, port) as client:
        assert client.recv(100) == b""


def test_subprocess_pipeline(start: Callable[..., Program], tmp_path: Path) -> None:
    file = tmp_path / "lines"
    # More than fits into the pipes between the programs.
    file.write_text("b\na\nb\n" * 100_000)
    child = start(str(EXAMPLES / "subprocess_pipeline.py"), str(file))
    assert child.wait() == 0, child.output
    assert child.output.split() == ["100000", "a", "200000", "b"]


def test_subprocess_pipeline_without_a_file(start: Callable[..., Program]) -> None:
    child = start(str(EXAMPLES / "subprocess_pipeline.py"), "/nowhere")
    assert child.wait() == 1
    assert "FileNotFoundError" in child.output


def test_metrics_prometheus(serve: Serve) -> None:
    pytest.importorskip("aiohttp", reason="not installed: pip install aiohttp")
    parser = pytest.importorskip("prometheus_client.parser", reason="not installed: pip install prometheus-client")
    server = serve(str(EXAMPLES / "metrics_prometheus.py"), "--port", "0")
    assert server.ask("GET", "/")[2] == b"Hello, world!\n"

    def scrape() -> dict[str, float]:
        status, content_type, body = server.ask("GET", "/metrics")
        assert (status, content_type) == (200, "text/plain")
        families = parser.text_string_to_metric_families(body.decode())
        return {sample.name: sample.value for family in families for sample in family.samples if not sample.labels}

    first, second = scrape(), scrape()
    assert first["greetings_total"] == second["greetings_total"] == 1
    assert first["netloop_loops"] == 1
    assert first["netloop_connections_accepted_total"] == 2
    assert second["netloop_connections_accepted_total"] == 3
    assert 0 < first["netloop_turn_duration_seconds_count"] < second["netloop_turn_duration_seconds_count"]
    assert first["netloop_turn_duration_seconds_sum"] > 0


def test_the_metrics_of_the_readme(serve: Serve, tmp_path: Path) -> None:
    pytest.importorskip("aiohttp", reason="not installed: pip install aiohttp")
    pytest.importorskip("prometheus_client", reason="not installed: pip install prometheus-client")
    snippets = re.findall(r"^```python\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL)
    (snippet,) = [each for each in snippets if "prometheus" in each]
    (tmp_path / "snippet.py").write_text(f"{FREE_PORT}\n{snippet}")
    status, _, body = serve("snippet.py").ask("GET", "/metrics")
    assert status == 200
    assert b"netloop_loops 1.0" in body


def test_websocket_chat(serve: Serve) -> None:
    aiohttp = pytest.importorskip("aiohttp", reason="not installed: pip install aiohttp")
    server = serve(str(EXAMPLES / "websocket_chat.py"), "--port", "0")
    assert server.ask("GET", "/")[1] == "text/html"

    async def chat() -> None:
        address = f"http://127.0.0.1:{server.port}/room"
        async with aiohttp.ClientSession() as session, asyncio.timeout(20):
            one, other = await session.ws_connect(address), await session.ws_connect(address)
            # Both are in the room when both have heard something.
            await one.send_str("hello")
            assert await one.receive_str() == await other.receive_str() == "hello"
            server.interrupt()
            for client in (one, other):
                goodbye = await client.receive()
                assert goodbye.type is aiohttp.WSMsgType.CLOSE
                assert (goodbye.data, goodbye.extra) == (aiohttp.WSCloseCode.GOING_AWAY, "server shutdown")

    asyncio.run(chat())
    assert server.wait() == 0, server.output


def test_aiohttp_hello(serve: Serve) -> None:
    pytest.importorskip("aiohttp", reason="not installed: pip install aiohttp")
    server = serve(str(EXAMPLES / "aiohttp_hello.py"), "--port", "0")
    assert server.ask_json("/") == {"hello": "world"}
    assert server.ask_json("/netloop") == {"hello": "netloop"}


def test_fastapi_hello(serve: Serve) -> None:
    pytest.importorskip("uvicorn", reason="not installed: pip install uvicorn")
    pytest.importorskip("fastapi", reason="not installed: pip install fastapi")
    command = ("-m", "uvicorn", "--app-dir", str(EXAMPLES), "--loop", "netloop:new_event_loop", "--port", "0")
    server = serve(*command, "fastapi_hello:app")
    assert server.ask_json("/netloop") == {"hello": "netloop"}
    server.interrupt()
    server.wait()
    assert "goodbye after 1 greetings" in server.output


def test_stall_report(start: Callable[..., Program]) -> None:
    child = start(str(EXAMPLES / "stall_report.py"))
    assert child.wait() == 0, child.output
    # Where the machine is busy with other things, it may not be that one callback alone.
    kinds = "(blocked|saturated)"
    child.wait_for(f"The event loop is {kinds}: answer_request in the task 'a slow request'")
    child.wait_for(f"a slow request, in answer_request, {kinds} the loop for")
    assert "stall_report.py:" in child.output.partition("the line: ")[2]


class Upstream:
    """An echo server for the relay, on TCP or a UNIX socket, that notes what comes."""

    def __init__(self) -> None:
        self.received = hashlib.sha256()
        self.count = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1 << 18):
                self.received.update(data)
                self.count += len(data)
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()


async def through(port: int, data: bytes, slow: bool = False) -> bytes:
    """What comes back of what is sent on one connection; a slow one reads little at a time, and rests in between."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def send() -> None:
        writer.write(data)
        await writer.drain()
        writer.write_eof()

    sending = asyncio.ensure_future(send())
    back = bytearray()
    while piece := await reader.read(20_000 if slow else 1 << 18):
        back += piece
        if slow:
            await asyncio.sleep(0.001)
    await sending
    writer.close()
    await writer.wait_closed()
    return bytes(back)


async def leave(port: int) -> None:
    """Connections that send, read nothing, and end by a reset."""
    for _ in range(20):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(bytes(300_000))
        await asyncio.sleep(0.002)
        writer.transport.abort()


@pytest.mark.limit(60)
@pytest.mark.parametrize("unix", [False, True], ids=["tcp", "unix"])
def test_relay(start: Callable[..., Program], tmp_path: Path, unix: bool) -> None:
    """Every byte comes back in order, by connections fast and slow, while others die; the pool is small."""

    async def main() -> None:
        upstream = Upstream()
        if unix:
            path = str(tmp_path / "upstream")
            server = await asyncio.start_unix_server(upstream.serve, path)
            target = f"unix:{path}"
        else:
            server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0)
            target = "{}:{}".format(*server.sockets[0].getsockname())
        options = ("--buffers", "24", "--size", "16384")
        child = start(str(EXAMPLES / "relay.py"), "127.0.0.1:0", target, *options)
        port = int((await asyncio.to_thread(child.wait_for, r"listening on \('127\.0\.0\.1', (\d+)\)"))[1])
        data = random.Random(1).randbytes(8 << 20)
        ways = [through(port, data), through(port, data[: 1 << 20], slow=True), through(port, data[: 2 << 20])]
        leaving = asyncio.ensure_future(leave(port))
        back = await asyncio.gather(*ways)
        await leaving
        for piece, length in zip(back, (8 << 20, 1 << 20, 2 << 20), strict=True):
            assert hashlib.sha256(piece).digest() == hashlib.sha256(data[:length]).digest()
        server.close()
        child.stop()

    asyncio.run(main())


def test_relay_to_nobody(start: Callable[..., Program], tmp_path: Path) -> None:
    child = start(str(EXAMPLES / "relay.py"), "127.0.0.1:0", f"unix:{tmp_path / 'nobody'}")
    port = int(child.wait_for(r"listening on \('127\.0\.0\.1', (\d+)\)")[1])
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client, contextlib.suppress(ConnectionError):
        assert client.recv(1) == b""
    child.wait_for("cannot connect to unix:")
