"""The example that receives tensors for a GPU: what arrives is checked, and without CUDA it says so and works."""

from __future__ import annotations

import contextlib
import re
import socket
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from apps.programs import Program

EXAMPLE = str(Path(__file__).resolve().parents[2] / "examples" / "gpu_ingest.py")

Start = Callable[..., Program]


def receiver(start: Start, *options: str) -> tuple[Program, int]:
    """A receiver without a library for a GPU, and its port."""
    program = start(EXAMPLE, "receive", "--port", "0", "--library", *options)
    return program, int(program.wait_for(r"listening on \('127\.0\.0\.1', (\d+)\)")[1])


def tensor(content: bytes, checksum: int | None = None) -> bytes:
    return struct.pack("!QI", len(content), zlib.crc32(content) if checksum is None else checksum) + content


def ask(port: int, *pieces: bytes) -> bytes:
    """Send a stream and its end; what is answered."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        for piece in pieces:
            client.sendall(piece)
        client.shutdown(socket.SHUT_WR)
        return client.makefile("rb").read()


def test_the_example_sends_to_itself_and_says_where_it_copies_to(start: Start) -> None:
    program, port = receiver(start)
    assert "copying to ordinary memory, because nothing else is wanted" in program.output
    sender = start(EXAMPLE, "send", f"127.0.0.1:{port}", "--tensors", "5", "--bytes", "1000003")
    assert sender.wait() == 0, sender.output
    assert "5 tensors of 1000003 bytes are accepted" in sender.output
    program.wait_for(r"5 tensors, 5000015 bytes in \d+\.\d+ s, \d+\.\d\d GB/s\n")


def test_it_says_which_libraries_it_has_not_found(start: Start) -> None:
    program = start(EXAMPLE, "receive", "--port", "0")
    program.wait_for(r"copying to (.*, by (torch|cupy)|ordinary memory, because torch.* and cupy.*)\n")


def test_small_buffers_carry_large_tensors_and_headers_in_pieces(start: Start) -> None:
    program, port = receiver(start, "--buffers", "2", "--size", "100")
    stream = b"".join(tensor(bytes([number]) * length) for number, length in enumerate((0, 1, 99, 100, 5000, 0, 3)))
    assert ask(port, *(stream[at : at + 7] for at in range(0, len(stream), 7))) == b"ok\n"
    program.wait_for(r"7 tensors, 5203 bytes")


@pytest.mark.parametrize(
    ("stream", "said"),
    [
        (
            tensor(b"good") + tensor(b"bad", 1) + tensor(b"more"),
            r"1 tensors, 4 bytes .*; tensor 1 has the checksum \w+",
        ),
        (tensor(b"good")[:-1], r"0 tensors, 0 bytes .*; the stream ends in the middle of a tensor"),
        (tensor(b"good") + b"12", r"1 tensors, 4 bytes .*; the stream ends in the middle of a tensor"),
        (struct.pack("!QI", 10**6, 0), r"a tensor of 1000000 bytes is announced, and 1000 is the most"),
    ],
    ids=["checksum", "cut tensor", "cut header", "too large"],
)
def test_a_bad_stream_is_refused_with_its_reason_and_the_next_is_served(start: Start, stream: bytes, said: str) -> None:
    program, port = receiver(start, "--largest", "1000")
    with contextlib.suppress(ConnectionResetError):
        assert ask(port, stream) == b""
    program.wait_for(said)
    assert ask(port, tensor(b"good")) == b"ok\n"
    program.wait_for(r"\n1 tensors, 4 bytes in [^;\n]*\n")


def test_a_sender_that_is_refused_says_so(start: Start) -> None:
    program, port = receiver(start, "--largest", "1000")
    sender = start(EXAMPLE, "send", f"127.0.0.1:{port}", "--tensors", "100", "--bytes", "100000")
    assert sender.wait() == 1
    assert re.search(r"cannot send to 127.0.0.1:\d+|has not accepted them", sender.output)
    program.wait_for("a tensor of 100000 bytes is announced")
