"""HTTP/3 by aioquic over packet endpoints: the examples with each other, with aioquic's own, and over a bad network."""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import random
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from loop import certificates

import netloop
from apps.lossy_relay import LossyRelay
from apps.programs import Program

configuration: Any = pytest.importorskip("aioquic.quic.configuration", reason="not installed: pip install aioquic")

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
MIB = 1 << 20
#: What ``--loop`` chooses: netloop's packet endpoints, or aioquic's own way of receiving and sending.
WAYS = ("netloop", "asyncio")
DOWNLOAD_SECONDS = 240.0

Start = Callable[..., Program]


@pytest.fixture
def serve_files(start: Start, tmp_path: Path) -> Callable[..., tuple[Program, int]]:
    """Starts the server, which serves ``tmp_path``; with its port."""
    certificate, key = certificates.certificate()
    (tmp_path / "certificate.pem").write_bytes(certificate)
    (tmp_path / "key.pem").write_bytes(key)

    def serve_on(way: str, *words: str) -> tuple[Program, int]:
        command = (str(EXAMPLES / "http3_server.py"), "certificate.pem", "key.pem", "--port", "0")
        server = start(*command, "--directory", str(tmp_path), "--loop", way, *words)
        return server, int(server.wait_for(r"listening on \('[\d.]+', (\d+)\)")[1])

    return serve_on


@pytest.fixture
def fetch(start: Start) -> Callable[..., Program]:
    """Starts a client that fetches a path from a port, and expects localhost's certificate there."""

    def fetch_from(port: int, path: str, *words: str, address: str = "127.0.0.1") -> Program:
        url = f"https://localhost:{port}{path}"
        command = (str(EXAMPLES / "http3_client.py"), url, "--ca", "certificate.pem", "--connect-to", address)
        return start(*command, *words)

    return fetch_from


def said(size: int, content: bytes) -> str:
    return rf"status 200, {size} bytes, .* SHA-256 {hashlib.sha256(content).hexdigest()}"


@pytest.mark.parametrize("client_way", WAYS)
@pytest.mark.parametrize("server_way", WAYS)
@pytest.mark.limit(60)
def test_a_file_arrives_whole(
    serve_files: Callable[..., tuple[Program, int]],
    fetch: Callable[..., Program],
    tmp_path: Path,
    server_way: str,
    client_way: str,
) -> None:
    content = random.Random(1).randbytes(MIB + 1)
    (tmp_path / "file").write_bytes(content)
    server, port = serve_files(server_way)
    client = fetch(port, "/file", "--output", "fetched", "--loop", client_way)
    assert client.wait() == 0, client.output
    client.wait_for(said(len(content), content))
    assert (tmp_path / "fetched").read_bytes() == content
    for program, way in ((server, server_way), (client, client_way)):
        assert ("has no packet endpoints" in program.output) == (way == "asyncio")


def test_a_client_that_reaches_another_address_is_answered_from_there(
    serve_files: Callable[..., tuple[Program, int]], fetch: Callable[..., Program]
) -> None:
    _, port = serve_files("netloop", "--host", "0.0.0.0")
    client = fetch(port, "/", address="127.0.0.2")
    assert client.wait() == 0, client.output
    client.wait_for(said(18, b"Hello over HTTP/3\n"))


def test_what_is_not_there_is_not_found(
    serve_files: Callable[..., tuple[Program, int]], fetch: Callable[..., Program], tmp_path: Path
) -> None:
    (tmp_path.parent / "outside").write_text("not to be served")
    _, port = serve_files("netloop")
    for path in ("/nothing", "/../outside", "/%00"):
        client = fetch(port, path)
        assert client.wait() == 1
        client.wait_for("status 404, 10 bytes")


@pytest.mark.limit(120)
def test_packets_leave_by_segmentation_offload_and_marks_of_congestion_are_counted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Both in one process, which can look at what is inside."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    quic_packets = importlib.import_module("quic_packets")
    http3_client, http3_server = map(importlib.import_module, ("http3_client", "http3_server"))
    certificate, key = certificates.certificate()
    both = tmp_path / "both.pem"
    both.write_bytes(certificate + key)
    (tmp_path / "file").write_bytes(bytes(MIB))
    http3_server.HttpServer.directory = tmp_path
    served = configuration.QuicConfiguration(is_client=False, alpn_protocols=["h3"])
    served.load_cert_chain(str(both))
    asked = configuration.QuicConfiguration(alpn_protocols=["h3"], cadata=certificate, server_name="localhost")

    async def main() -> tuple[Any, Any, int]:
        loop: Any = asyncio.get_running_loop()
        server, address = await quic_packets.serve("127.0.0.1", 0, served, http3_server.HttpServer)
        async with quic_packets.connect(*address, asked, http3_client.HttpClient) as client:
            fetched = await client.fetch(urlsplit(f"https://localhost:{address[1]}/file"), None)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as marked:
            marked.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, quic_packets.CONGESTION_EXPERIENCED)
            marked.sendto(b"not QUIC", address)
            async with asyncio.timeout(10):
                while not server._transport.congestion_marks:
                    await asyncio.sleep(0.01)
        counters = loop.statistics()
        marks = server._transport.congestion_marks
        server.close()
        return fetched, counters, marks

    fetched, counters, marks = netloop.run(main())
    assert fetched == (200, MIB, hashlib.sha256(bytes(MIB)).hexdigest())
    # What was to be sent at once was one submission, and was not refused.
    assert counters.packets_sent > MIB / 1200
    assert counters.submissions < counters.packets_sent
    assert counters.segmentation_refused == 0
    assert marks == 1


@pytest.mark.limit(DOWNLOAD_SECONDS + 30)
def test_a_hundred_mebibytes_arrive_whole_over_a_bad_network(
    serve_files: Callable[..., tuple[Program, int]], fetch: Callable[..., Program], tmp_path: Path
) -> None:
    content = random.Random(2).randbytes(MIB) * 100
    (tmp_path / "file").write_bytes(content)
    _, port = serve_files("netloop")
    with LossyRelay(port, loss=0.005, reordering=0.005) as relay:
        client = fetch(relay.port, "/file")
        assert client.wait(DOWNLOAD_SECONDS) == 0, client.output
    client.wait_for(said(len(content), content))
    assert relay.dropped > 100
    assert relay.reordered > 100
