"""Pools over page-locked memory: what the network writes is what a GPU copies, and at which rate.

``pytest -rs tests/device`` prints the rates, and what is skipped for want of a device or a library.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import itertools
import os
import socket
import struct
import threading
import time
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import netloop

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "gpu_ingest.py"
MIB = 1 << 20
CPU, CUDA_HOST, CUDA_MANAGED = 1, 3, 13


def _example() -> Any:
    specification = importlib.util.spec_from_file_location("gpu_ingest", EXAMPLE)
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


example = _example()
Ingest: Any = example.Ingest
everywhere = pytest.mark.parametrize("name", ["ordinary", "torch", "cupy"])


def device(name: str, size: int) -> Any:
    """Ordinary memory, or a GPU by the library of that name; without one the test is skipped."""
    found = example.find_device(size, [] if name == "ordinary" else [name])
    if name != "ordinary" and isinstance(found, example.Ordinary):
        pytest.skip(found.name.removeprefix("ordinary memory, because "))
    return found


def library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        pytest.skip(f"{name} is not installed")


def fetched(name: str, tensor: Any) -> bytes:
    """What a tensor on the device holds, when all copies to it are done."""
    if name == "torch":
        tensor = tensor.cpu().numpy()
    elif name == "cupy":
        tensor = tensor.get()
    return bytes(tensor)


@asynccontextmanager
async def sending(loop: Any, protocol: Any, pieces: Iterator[bytes]) -> AsyncIterator[None]:
    """Have a thread send to a protocol, by TCP."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        far = listener.accept()[0]

    def send() -> None:
        with far:
            for piece in pieces:
                far.sendall(piece)

    sender = threading.Thread(target=send)
    await loop.create_connection(lambda: protocol, sock=near)
    sender.start()
    yield
    await protocol.ended
    await asyncio.to_thread(sender.join)


@everywhere
async def test_tensors_arrive_on_the_device_as_they_were_sent(loop: Any, name: str) -> None:
    target = device(name, 8 * MIB)
    pool = netloop.BufferPool(8, MIB, memory=target.memory)
    contents = [os.urandom(length) for length in (1, 100, 3 * MIB + 5, 0, 700_000, 2 * MIB)]
    arrived: list[Any] = []
    ingest = example.Ingest(target, pool, 4 * MIB, arrived.append)
    stream = (struct.pack("!QI", len(each), zlib.crc32(each)) + each for each in contents)
    async with sending(loop, ingest, stream):
        pass
    assert ingest.error == ""
    assert [fetched(name, each) for each in arrived] == contents
    assert not loop.statistics().pools[0].leased


@everywhere
async def test_the_memory_can_be_registered_with_the_ring(loop: Any, name: str) -> None:
    target = device(name, 2 * MIB)
    assert netloop.BufferPool(2, MIB, memory=target.memory, register=True).registered


class Filling(Ingest):  # type: ignore[misc]
    """Copies all that arrives to one tensor, from its beginning again and again, and looks at nothing."""

    def __init__(self, target: Any, pool: netloop.BufferPool) -> None:
        super().__init__(target, pool, largest=0)
        self.row = target.tensor(64 * MIB)
        self.at = 0

    def lease_received(self, lease: netloop.Lease) -> None:
        length = min(len(lease), 64 * MIB - self.at)
        self.copying.append((self.device.copy(self.row, self.at, lease.offset, length), lease))
        self.at = (self.at + length) % (64 * MIB)
        self.bytes += len(lease)
        self.give_back()


@everywhere
@pytest.mark.limit(120)
async def test_rates(loop: Any, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    target = device(name, 64 * MIB)
    pieces = 128
    rates = []
    for _ in range(3):
        filling = Filling(target, netloop.BufferPool(64, MIB, memory=target.memory))
        begun = time.perf_counter()
        async with sending(loop, filling, itertools.repeat(bytes(MIB), pieces)):
            pass
        assert filling.bytes == pieces * MIB
        rates.append(filling.bytes / (time.perf_counter() - begun) / 1e9)
        del filling
    with capsys.disabled():
        print(f"\nto {target.name}: {sorted(rates)[1]:.2f} GB/s, of {min(rates):.2f} to {max(rates):.2f}")


# Arrays that lie on page-locked memory, without a copy ----------------------------------------------------------


def leased(target: Any, kind: int) -> netloop.Lease:
    """A lease of page-locked memory, with something in it."""
    lease = netloop.BufferPool(2, MIB, memory=target.memory, dlpack_device=(kind, 0)).take(5)
    with lease.writable() as view:
        view[:] = b"hello"
    return lease


def test_torch_takes_it_as_the_processors_memory() -> None:
    lease = leased(device("torch", 2 * MIB), CPU)
    torch = library("torch")
    tensor = torch.from_dlpack(lease)
    lease.release()
    assert tensor.device.type == "cpu"
    assert bytes(tensor.to("cuda").cpu().tolist()) == b"hello"


def test_cupy_takes_it_through_numpy_and_as_managed_memory() -> None:
    target = device("cupy", 2 * MIB)
    cupy, numpy = library("cupy"), library("numpy")
    lease = leased(target, CPU)
    assert bytes(cupy.asarray(numpy.from_dlpack(lease)).get()) == b"hello"
    lease.release()
    del lease
    lease = leased(target, CUDA_MANAGED)
    array = cupy.from_dlpack(lease)
    assert array.data.ptr == numpy.from_dlpack(lease).ctypes.data
    assert bytes(array.get()) == b"hello"


def test_jax_takes_it_as_an_array_on_the_device() -> None:
    target = device("torch", 2 * MIB)
    jax = library("jax")
    if jax.default_backend() != "gpu":
        pytest.skip("jax finds no CUDA")
    lease = leased(target, CUDA_HOST)
    array = jax.dlpack.from_dlpack(lease)
    assert {each.platform for each in array.devices()} == {"gpu"}
    assert bytes(array.tolist()) == b"hello"
