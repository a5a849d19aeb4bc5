"""What client and server say to each other in a row: files for the load generator, arguments for the server.

The files are made once per run, in its scratch directory, and the load generator compares what comes back with them.
"""

import json
import random
import shutil
import struct
import subprocess
from pathlib import Path

from harness.errors import BenchError
from harness.rows import Row

HELLO = b"Hello, world"
ACKNOWLEDGEMENT = b"\x06"
_ORDER = {"name": "a customer", "prices": [3, 14, 15, 92, 65], "note": "n" * 60}
_OPENSSL_TIMEOUT = 30.0
_BINARY_FRAME, _MASKED = 0x82, 0x80


def _file(scratch: Path, name: str, content: bytes) -> str:
    path = scratch / name
    if not path.exists():
        path.write_bytes(content)
    return str(path)


def random_file(scratch: Path, size: int) -> str:
    """Return the path of a file of that size, with the same bytes in every run."""
    path = scratch / f"random-{size}"
    if not path.exists():
        path.write_bytes(random.Random(size).randbytes(size))
    return str(path)


def _request(method: str, target: str, head: str = "", body: bytes = b"") -> bytes:
    return f"{method} {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: */*\r\n{head}\r\n".encode() + body


def _http(scratch: Path, name: str, request: bytes, reply: str) -> list[str]:
    return ["--request", _file(scratch, f"{name}.request", request), "--reply", reply]


def _json(scratch: Path) -> list[str]:
    body = json.dumps(_ORDER).encode()
    prices = [3, 14, 15, 92, 65]
    reply = json.dumps({"name": _ORDER["name"], "total": sum(prices), "count": len(prices)}).encode()
    head = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return _http(scratch, "json", _request("POST", "/json", head, body), _file(scratch, "json.reply", reply))


def frame(payload: bytes, mask: bool) -> bytes:
    """Return a binary websocket frame (RFC 6455, section 5.2). The mask is zero, so that the payload stays readable."""
    flag = _MASKED if mask else 0
    if len(payload) < 126:
        head = struct.pack("!BB", _BINARY_FRAME, flag | len(payload))
    elif len(payload) < 65536:
        head = struct.pack("!BBH", _BINARY_FRAME, flag | 126, len(payload))
    else:
        head = struct.pack("!BBQ", _BINARY_FRAME, flag | 127, len(payload))
    return head + (bytes(4) if mask else b"") + payload


def _websocket(scratch: Path, row: Row) -> list[str]:
    target = "/websocket" if row.kind == "websocket" else "/websocket-broadcast"
    head = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    head += "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    payload = random.Random(row.size).randbytes(row.size)
    return [
        *("--upgrade", _file(scratch, f"{row.kind}.upgrade", _request("GET", target, head))),
        *("--request", _file(scratch, f"frame-{row.size}.request", frame(payload, mask=True))),
        *("--reply", _file(scratch, f"frame-{row.size}.reply", frame(payload, mask=False))),
    ]


def load_arguments(scratch: Path, row: Row) -> list[str]:
    """Return what the load generator is told of the messages and of what must come back."""
    match row.kind:
        case "aiohttp" | "saturate" | "tls" | "fastapi":
            return _http(scratch, "hello", _request("GET", "/"), _file(scratch, "hello.reply", HELLO))
        case "json":
            return _json(scratch)
        case "static":
            path = random_file(scratch, row.size)
            return _http(scratch, f"static-{row.size}", _request("GET", f"/files/{Path(path).name}"), path)
        case "websocket" | "wsbroadcast":
            return _websocket(scratch, row)
        case "packet_send":
            return ["--reply", random_file(scratch, row.size)]
        case "packet_receive":
            return ["--request", random_file(scratch, row.size)]
        case "upload" | "upload_buffered" | "upload_leases" | "ingest":
            acknowledgement = _file(scratch, "acknowledgement", ACKNOWLEDGEMENT)
            return ["--request", random_file(scratch, row.size), "--reply", acknowledgement]
        case "download":
            return ["--request", _file(scratch, "ask", b"?"), "--reply", random_file(scratch, row.size)]
        case _:
            return ["--size", str(row.size or 64)]


def server_arguments(scratch: Path, row: Row) -> list[str]:
    """Return what the server program is told beside its loop.

    Raises:
        BenchError: TLS needs a certificate, and none can be made.
    """
    match row.kind:
        case "upload" | "upload_buffered" | "upload_leases" | "packet_receive" | "ingest":
            return ["--size", str(row.size)]
        case "download" | "packet_send":
            return ["--content", random_file(scratch, row.size)]
        case "static":
            random_file(scratch, row.size)
            return ["--files", str(scratch)]
        case "tls":
            certificate, key = _certificate(scratch)
            return ["--certificate", certificate, "--key", key]
        case "http3":
            certificate, key = _certificate(scratch)
            return ["--content", random_file(scratch, row.size), "--certificate", certificate, "--key", key]
        case _:
            return list(row.program.words)


def _certificate(scratch: Path) -> tuple[str, str]:
    """Make a certificate and its key with the openssl command, once per run."""
    certificate, key = scratch / "certificate.pem", scratch / "key.pem"
    if not certificate.exists():
        if shutil.which("openssl") is None:
            raise BenchError("TLS needs a certificate, and there is no openssl command to make one (Debian: openssl)")
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        command += ["-days", "2", "-subj", "/CN=localhost", "-keyout", str(key), "-out", str(certificate)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_OPENSSL_TIMEOUT, check=False)
        if done.returncode != 0:
            raise BenchError(f"openssl makes no certificate: {done.stderr.strip()[-200:]}")
    return str(certificate), str(key)
