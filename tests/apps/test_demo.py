"""The demo end to end on each loop, and proof that its checks would notice a server that gets something wrong."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("aiohttp", reason="the demo needs aiohttp: pip install 'netloop[demo]'")

from netloop.tools.cpu_time import cpu_seconds
from netloop.tools.demo import main
from netloop.tools.demo.client import HttpConnection, Traffic, WebsocketConnection, connect_once
from netloop.tools.demo.http import Exchange, ProtocolError, Response, ResponseReader, check
from netloop.tools.demo.rounds import Plan, measure
from netloop.tools.demo.script import PAGE, http_script, page, websocket_script
from netloop.tools.demo.system_calls import SystemCalls, TracingFailed, strace_missing
from netloop.tools.demo.websocket import TEXT, Frame, FrameReader, client_frame

GOOD_HEAD = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nDate: now\r\nServer: test\r\n"


@pytest.mark.limit(90)
def test_every_response_is_right_on_each_loop(tmp_path: Path, loop_name: str) -> None:
    (tmp_path / PAGE).write_bytes(page())
    plan = Plan([loop_name], 0.6, 10, tmp_path, rounds=2, traced_requests=0)
    (result,) = measure(plan, lambda what, fraction: None)
    assert result.errors == []
    assert result.error_count == 0
    assert result.requests > 100
    assert result.p50 is not None
    assert result.p99 is not None
    assert 0 < result.p50 <= result.p99


@pytest.mark.limit(90)
def test_system_calls_are_counted(tmp_path: Path, loop_name: str) -> None:
    if strace_missing():
        pytest.skip("strace is not installed: apt install strace")
    (tmp_path / PAGE).write_bytes(page())
    plan = Plan([loop_name], 0.2, 10, tmp_path, rounds=1, traced_requests=300)
    (result,) = measure(plan, lambda what, fraction: None)
    if "cannot attach" in result.uncounted:
        pytest.skip(f"processes may not be traced here: {result.uncounted}")
    assert result.errors == []
    assert result.system_calls_per_request is not None
    assert result.system_calls_per_request > 0


@pytest.mark.limit(90)
def test_the_command_prints_one_object_and_succeeds(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, loop_name: str
) -> None:
    monkeypatch.setenv("PATH", "")
    assert main(["--loops", loop_name, "--seconds", "0.4", "--connections", "5", "--json"]) == 0
    (result,) = json.loads(capsys.readouterr().out)["results"]
    assert (result["loop"], result["error_count"]) == (loop_name, 0)
    assert (result["system_calls_per_request"], result["uncounted"]) == (None, "strace is not installed")


def test_an_unknown_loop_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--loops", "asyncio,epoll"]) == 2
    assert "no loop called 'epoll'" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_leaves_no_process_behind(number: signal.Signals) -> None:
    command = [sys.executable, "-m", "netloop", "demo", "--loops", "asyncio", "--seconds", "60"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as demo:
        assert demo.stderr is not None
        while "round 1" not in demo.stderr.readline():
            assert demo.poll() is None
        children = children_of(demo.pid)
        assert children
        demo.send_signal(number)
        assert "interrupted" in demo.stderr.read()
        assert demo.wait(10) == 1
    wait_until_gone(children)


def test_killed_it_leaves_no_process_behind(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "netloop", "demo", "--loops", "asyncio", "--seconds", "60"]
    # Killed, it cannot remove the directory with its static file.
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as demo:
        assert demo.stderr is not None
        while "round 1" not in demo.stderr.readline():
            assert demo.poll() is None
        children = children_of(demo.pid)
        demo.kill()
    wait_until_gone(children)


def children_of(pid: int) -> list[int]:
    """The ids of a process's children, after giving it a moment to start them."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        if len(found) > 1:
            return [int(child) for child in found]
        time.sleep(0.02)
    return []


def wait_until_gone(pids: list[int]) -> None:
    """Processes may outlive the one that started them by the moment it takes them to notice."""
    deadline = time.monotonic() + 10
    while any(is_running(pid) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_running(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class TestChecks:
    def test_a_right_response_passes(self) -> None:
        assert check(hello(), response(b'{"hello": "you"}')) is None

    @pytest.mark.parametrize(
        ("answer", "words"),
        [
            (Response(500, {}, b""), "status 500 instead of 200"),
            (Response(200, {"content-type": "text/html"}, b""), "Content-Type 'text/html'"),
            (Response(200, {"content-type": "application/json"}, b""), "Date or Server header is missing"),
        ],
    )
    def test_a_wrong_head_is_named(self, answer: Response, words: str) -> None:
        assert words in (check(hello(), answer) or "")

    def test_a_wrong_body_is_named(self) -> None:
        assert "a body of 2 bytes instead of 16" in (check(hello(), response(b"{}")) or "")
        assert "differs from byte 11 on" in (check(hello(), response(b'{"hello": "You"}')) or "")

    def test_responses_come_out_of_a_stream_cut_anywhere(self) -> None:
        stream = (GOOD_HEAD + "Content-Length: 3\r\n\r\nabc" + GOOD_HEAD + "Content-Length: 0\r\n\r\n").encode()
        for cut in range(len(stream)):
            reader = ResponseReader()
            found = []
            for piece in (stream[:cut], stream[cut:]):
                reader.feed(piece)
                while (one := reader.next()) is not None:
                    found.append(one.body)
            assert found == [b"abc", b""]
            assert reader.rest() == b""

    @pytest.mark.parametrize("stream", [b"SSH-2.0\r\n\r\n", GOOD_HEAD.encode() + b"\r\n", b"x" * 20_000])
    def test_what_is_no_response_is_an_error(self, stream: bytes) -> None:
        reader = ResponseReader()
        reader.feed(stream)
        with pytest.raises(ProtocolError):
            reader.next()

    @pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536])
    def test_frames_come_out_of_a_stream_cut_anywhere(self, size: int) -> None:
        frame = Frame(TEXT, b"x" * size)
        masked = client_frame(frame, b"\0\0\0\0")
        head = len(masked) - size - 4
        stream = bytes((masked[0], masked[1] & 0x7F)) + masked[2:head] + masked[head + 4 :]
        for cut in {0, 1, len(stream) // 2, len(stream) - 1}:
            reader = FrameReader()
            reader.feed(stream[:cut])
            assert reader.next() is None
            reader.feed(stream[cut:])
            assert reader.next() == frame
            assert reader.next() is None

    def test_a_mask_is_undone_by_itself(self) -> None:
        mask = b"\x01\x80\xff\x3c"
        sent = client_frame(Frame(TEXT, b"hello, hello"), mask)
        assert bytes(byte ^ mask[index % 4] for index, byte in enumerate(sent[6:])) == b"hello, hello"

    def test_a_masked_frame_from_a_server_is_an_error(self) -> None:
        reader = FrameReader()
        reader.feed(client_frame(Frame(TEXT, b""), b"mask"))
        with pytest.raises(ProtocolError):
            reader.next()

    def test_no_two_connections_say_the_same(self) -> None:
        assert http_script(1) != http_script(2)
        assert http_script(1) == http_script(1)
        assert websocket_script(4) != websocket_script(9)


class TestErrorsAreNoticed:
    """A server that misbehaves in one way each, and what the client reports."""

    def errors_of(
        self,
        run: Callable[[Coroutine[Any, Any, None]], None],
        answers: Callable[[bytes], bytes | None],
        kind: type[HttpConnection | WebsocketConnection] = HttpConnection,
    ) -> list[str]:
        traffic = Traffic(5)

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while data := await reader.read(1 << 20):
                answer = answers(data)
                if answer is None:
                    break
                writer.write(answer)
            writer.close()

        async def scenario() -> None:
            server = await asyncio.start_server(talk, "127.0.0.1", 0)
            async with server:
                await asyncio.wait_for(connect_once(kind, 4, traffic, server.sockets[0].getsockname()[1], 0), 10)
                await asyncio.sleep(0.01)

        run(scenario())
        assert traffic.error_count == len(traffic.errors)
        return traffic.errors

    @pytest.fixture
    def run(self) -> Callable[[Coroutine[Any, Any, None]], None]:
        return asyncio.run

    def test_a_wrong_body(self, run: Callable[..., None]) -> None:
        (error,) = self.errors_of(run, lambda data: (GOOD_HEAD + "Content-Length: 2\r\n\r\n{}").encode())
        assert "a body of 2 bytes" in error

    def test_more_than_the_response(self, run: Callable[..., None]) -> None:
        body = '{"hello": "last-of-4"}'
        (error,) = self.errors_of(run, lambda data: f"{GOOD_HEAD}Content-Length: {len(body)}\r\n\r\n{body}x".encode())
        assert "more data" in error

    def test_a_close_without_an_answer(self, run: Callable[..., None]) -> None:
        (error,) = self.errors_of(run, lambda data: None)
        assert "closed while waiting for json" in error

    def test_something_else_than_http(self, run: Callable[..., None]) -> None:
        (error,) = self.errors_of(run, lambda data: b"what?\r\n\r\n")
        assert "not the first line of a response" in error

    def test_a_websocket_that_is_refused(self, run: Callable[..., None]) -> None:
        answer = (GOOD_HEAD + "Content-Length: 0\r\n\r\n").encode()
        (error,) = self.errors_of(run, lambda data: answer, WebsocketConnection)
        assert "status 200 instead of 101" in error

    def test_a_websocket_with_the_wrong_key(self, run: Callable[..., None]) -> None:
        answer = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: no\r\n\r\n"
        (error,) = self.errors_of(run, lambda data: answer, WebsocketConnection)
        assert "key does not belong" in error

    def test_nobody_listens(self) -> None:
        async def scenario() -> list[str]:
            traffic = Traffic()
            server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
            port = server.sockets[0].getsockname()[1]
            server.close()
            await server.wait_closed()
            await connect_once(HttpConnection, 0, traffic, port, 0)
            return traffic.errors

        (error,) = asyncio.run(scenario())
        assert "could not be opened" in error

    def test_a_server_that_says_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("netloop.tools.demo.client._LONGEST_WAIT", 0.05)

        async def scenario() -> list[str]:
            traffic = Traffic(1)
            closed = asyncio.Event()

            async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                await closed.wait()
                writer.close()

            async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
                port = server.sockets[0].getsockname()[1]
                waiting = asyncio.ensure_future(connect_once(HttpConnection, 0, traffic, port, 0))
                while not traffic.errors:
                    await asyncio.sleep(0.02)
                    traffic.fail_stalled()
                closed.set()
                await asyncio.wait_for(waiting, 10)
                await asyncio.sleep(0.01)
            return traffic.errors

        (error,) = asyncio.run(scenario())
        assert "nothing came for" in error


class TestMeasure:
    def test_cpu_time_grows_with_work(self) -> None:
        before = cpu_seconds(os.getpid())
        if before is None:
            pytest.skip("this kernel keeps no schedstat: it is built without CONFIG_SCHED_INFO")
        sum(range(2_000_000))
        after = cpu_seconds(os.getpid())
        assert after is not None
        assert after > before

    def test_a_process_that_is_gone_has_no_cpu_time(self) -> None:
        gone = subprocess.Popen([sys.executable, "-c", ""])
        gone.wait()
        assert cpu_seconds(gone.pid) is None

    def test_a_process_that_is_gone_cannot_be_traced(self) -> None:
        if strace_missing():
            pytest.skip("strace is not installed: apt install strace")
        gone = subprocess.Popen([sys.executable, "-c", ""])
        gone.wait()
        with pytest.raises(TracingFailed, match="cannot attach"):
            SystemCalls(gone.pid)


def hello() -> Exchange:
    """An exchange that must be answered with a greeting."""
    return Exchange("json", b"", 200, "application/json", b'{"hello": "you"}')


def response(body: bytes) -> Response:
    """A response that is right but for, perhaps, its body."""
    headers = {"content-type": "application/json; charset=utf-8", "date": "now", "server": "test"}
    return Response(200, headers, body)
