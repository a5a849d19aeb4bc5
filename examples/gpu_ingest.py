"""Receives a stream of tensors into page-locked memory, and copies them to the GPU while more arrive.

``python examples/gpu_ingest.py receive`` listens, and ``python examples/gpu_ingest.py send 127.0.0.1:8008`` sends to
it. The network writes straight to where the device copies from: memory that torch or cupy has page-locked, which is
that of a netloop.BufferPool. Without CUDA the same program runs over ordinary memory, and says so.

On the wire a tensor is its length in bytes and the CRC-32 of its bytes, both in network order, and then these bytes.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib
import mmap
import os
import signal
import socket
import struct
import time
import zlib
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol, cast

import netloop

HEADER = struct.Struct("!QI")
ACCEPTED = b"ok\n"
#: Seconds after which it is asked again whether copies are done.
PATIENCE = 0.0002


class Device(Protocol):
    """Where tensors go. ``memory`` is what is received into."""

    name: str
    memory: Any

    def tensor(self, length: int) -> Any:
        """Make a tensor of so many bytes."""

    def copy(self, tensor: Any, at: int, offset: int, length: int) -> Callable[[], bool]:
        """Begin to copy from the memory to a place of a tensor; what is returned tells whether that is done."""


class Ordinary:
    """No device: ordinary memory, from which is copied to other ordinary memory."""

    def __init__(self, size: int, reason: str) -> None:
        self.name = f"ordinary memory, because {reason}"
        self.memory = mmap.mmap(-1, size)

    def tensor(self, length: int) -> Any:
        return memoryview(bytearray(length))

    def copy(self, tensor: Any, at: int, offset: int, length: int) -> Callable[[], bool]:
        tensor[at : at + length] = memoryview(self.memory)[offset : offset + length]
        return lambda: True


class Torch:
    """A GPU by torch."""

    def __init__(self, size: int) -> None:
        self.torch: Any = importlib.import_module("torch")
        if not self.torch.cuda.is_available():
            raise RuntimeError("torch finds no CUDA")
        self.name = f"{self.torch.cuda.get_device_name()}, by torch"
        self.pinned = self.torch.empty(size, dtype=self.torch.uint8, pin_memory=True)
        self.memory = self.pinned.numpy()
        self.stream = self.torch.cuda.Stream()

    def tensor(self, length: int) -> Any:
        with self.torch.cuda.stream(self.stream):
            return self.torch.empty(length, dtype=self.torch.uint8, device="cuda")

    def copy(self, tensor: Any, at: int, offset: int, length: int) -> Callable[[], bool]:
        with self.torch.cuda.stream(self.stream):
            tensor[at : at + length].copy_(self.pinned[offset : offset + length], non_blocking=True)
            done: Callable[[], bool] = self.stream.record_event().query
        return done


class Cupy:
    """A GPU by cupy."""

    def __init__(self, size: int) -> None:
        self.cupy: Any = importlib.import_module("cupy")
        # Raises where there is no device or no driver.
        device = self.cupy.cuda.runtime.getDeviceProperties(self.cupy.cuda.runtime.getDevice())
        self.name = f"{device['name'].decode()}, by cupy"
        self.memory = importlib.import_module("cupyx").empty_pinned(size, "uint8")
        self.stream = self.cupy.cuda.Stream(non_blocking=True)

    def tensor(self, length: int) -> Any:
        with self.stream:
            return self.cupy.empty(length, "uint8")

    def copy(self, tensor: Any, at: int, offset: int, length: int) -> Callable[[], bool]:
        tensor[at : at + length].set(self.memory[offset : offset + length], stream=self.stream)
        event = self.stream.record()
        return lambda: cast(bool, event.done)


LIBRARIES: dict[str, Callable[[int], Device]] = {"torch": Torch, "cupy": Cupy}


def find_device(size: int, libraries: list[str]) -> Device:
    """The first device that one of these libraries can use, or ordinary memory."""
    reasons = []
    for name in libraries:
        try:
            return LIBRARIES[name](size)
        except ModuleNotFoundError:
            reasons.append(f"{name} is not installed")
        except Exception as error:  # each library has errors of its own for a driver that is not there
            reasons.append(f"{name}: {error}")
    return Ordinary(size, " and ".join(reasons) or "nothing else is wanted")


class Ingest(netloop.LeaseProtocol):
    """One connection. Nothing of what arrives is copied on its way to the device.

    ``arrived`` is called with each tensor that is complete; its last copies may still be under way.
    """

    def __init__(
        self,
        device: Device,
        pool: netloop.BufferPool,
        largest: int,
        arrived: Callable[[Any], None] | None = None,
    ) -> None:
        self.device = device
        self.pool = pool
        self.largest = largest
        self.arrived = arrived
        self.head = bytearray()
        self.tensor: Any = None
        self.length = self.filled = self.expected = self.crc = 0
        self.tensors = self.bytes = 0
        self.error = ""
        # Leases from which copies are under way, the oldest first: the device does them in their order.
        self.copying: deque[tuple[Callable[[], bool], netloop.Lease]] = deque()
        self.waiting: asyncio.TimerHandle | None = None
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def receive_pool(self) -> netloop.BufferPool:
        return self.pool

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.begun = time.perf_counter()

    def lease_received(self, lease: netloop.Lease) -> None:
        """Take a buffer apart: headers, and the bytes of tensors."""
        done = None
        with memoryview(lease) as view:
            at = 0
            while at < len(view) and not self.error:
                if self.tensor is None:
                    at += self.take_header(view[at : at + HEADER.size - len(self.head)])
                else:
                    part = view[at : at + self.length - self.filled]
                    done = self.device.copy(self.tensor, self.filled, lease.offset + at, len(part))
                    self.crc = zlib.crc32(part, self.crc)
                    self.filled += len(part)
                    at += len(part)
                self.finish_tensor()
        if done is None:
            lease.release()
        else:
            self.copying.append((done, lease))
        self.give_back()

    def take_header(self, part: memoryview) -> int:
        """Collect a header, and make a tensor when it is complete."""
        self.head += part
        if len(self.head) == HEADER.size:
            self.length, self.expected = HEADER.unpack(self.head)
            self.head.clear()
            self.filled = self.crc = 0
            if self.length > self.largest:
                self.refuse(f"a tensor of {self.length} bytes is announced, and {self.largest} is the most")
            else:
                self.tensor = self.device.tensor(self.length)
        return len(part)

    def finish_tensor(self) -> None:
        """If all of a tensor is there, check it."""
        if self.tensor is None or self.filled < self.length:
            return
        if self.crc != self.expected:
            self.refuse(f"tensor {self.tensors} has the checksum {self.crc:08x}, and not {self.expected:08x}")
        else:
            self.tensors += 1
            self.bytes += self.length
            if self.arrived is not None:
                self.arrived(self.tensor)
        self.tensor = None

    def refuse(self, error: str) -> None:
        """What follows in the stream means nothing."""
        self.error = error
        self.transport.abort()

    def give_back(self) -> None:
        """Release what the device has copied, and look again soon if it is not done."""
        while self.copying and self.copying[0][0]():
            self.copying.popleft()[1].release()
        if self.copying and self.waiting is None:
            self.waiting = asyncio.get_running_loop().call_later(PATIENCE, self.look_again)
        elif not self.copying and self.transport.is_closing() and not self.ended.done():
            self.ended.set_result(None)

    def look_again(self) -> None:
        self.waiting = None
        self.give_back()

    def eof_received(self) -> None:
        if self.tensor is not None or self.head:
            self.error = "the stream ends in the middle of a tensor"
        else:
            self.transport.write(ACCEPTED)

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None and not self.error:
            self.error = f"the connection is lost: {exc}"
        self.give_back()

    def summary(self) -> str:
        seconds = time.perf_counter() - self.begun
        said = f"{self.tensors} tensors, {self.bytes} bytes in {seconds:.3f} s, {self.bytes / seconds / 1e9:.2f} GB/s"
        return f"{said}; {self.error}" if self.error else said


async def receive(options: argparse.Namespace) -> None:
    """Serve until interrupted, and tell what each connection has brought."""
    loop = asyncio.get_running_loop()
    device = find_device(options.buffers * options.size, options.library)
    pool = netloop.BufferPool(options.buffers, options.size, memory=device.memory)
    serving = set()

    async def tell(ingest: Ingest) -> None:
        await ingest.ended
        print(ingest.summary(), flush=True)

    def factory() -> Ingest:
        ingest = Ingest(device, pool, options.largest)
        task = loop.create_task(tell(ingest))
        serving.add(task)
        task.add_done_callback(serving.discard)
        return ingest

    print(f"copying to {device.name}", flush=True)
    server = await loop.create_server(factory, options.host, options.port)
    print(f"listening on {server.sockets[0].getsockname()}", flush=True)
    loop.add_signal_handler(signal.SIGTERM, server.close)
    with contextlib.suppress(asyncio.CancelledError):
        await server.serve_forever()


def send(options: argparse.Namespace) -> None:
    """Send tensors of random bytes, and wait until they are accepted."""
    host, _, port = options.address.rpartition(":")
    content = os.urandom(options.bytes)
    head = HEADER.pack(len(content), zlib.crc32(content))
    try:
        with socket.create_connection((host, int(port))) as connection:
            for _ in range(options.tensors):
                connection.sendall(head)
                connection.sendall(content)
            connection.shutdown(socket.SHUT_WR)
            answer = connection.makefile("rb").read()
    except OSError as error:
        raise SystemExit(f"cannot send to {options.address}: {error}") from None
    if answer != ACCEPTED:
        raise SystemExit("the receiver has not accepted them")
    print(f"{options.tensors} tensors of {options.bytes} bytes are accepted", flush=True)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    receiving = commands.add_parser("receive", help="listen, and copy what arrives to the GPU")
    receiving.set_defaults(call=lambda options: netloop.run(receive(options)))
    receiving.add_argument("--host", default="127.0.0.1")
    receiving.add_argument("--port", type=int, default=8008)
    receiving.add_argument("--buffers", type=int, default=64, help="how many buffers are page-locked")
    receiving.add_argument("--size", type=int, default=1 << 20, help="bytes in each")
    receiving.add_argument("--largest", type=int, default=1 << 30, help="bytes in a tensor at most")
    receiving.add_argument(
        "--library", nargs="*", choices=LIBRARIES, default=[*LIBRARIES], help="which to try for the GPU, in this order"
    )
    sending = commands.add_parser("send", help="send random tensors to a receiver")
    sending.set_defaults(call=send)
    sending.add_argument("address", help="HOST:PORT")
    sending.add_argument("--tensors", type=int, default=64, help="how many")
    sending.add_argument("--bytes", type=int, default=16 << 20, help="bytes in each")
    return parser.parse_args()


if __name__ == "__main__":
    options = parse()
    with contextlib.suppress(KeyboardInterrupt):
        options.call(options)
