"""Arrays of other libraries that lie on leases and pools, by DLPack."""

from __future__ import annotations

import ctypes
import gc
import importlib
import subprocess
import sys
import textwrap
import threading
from typing import Any

import pytest

import netloop

from .helpers import FREE, LEASED, Keeper, joined, pattern

CPU, CUDA, CUDA_HOST, CUDA_MANAGED = 1, 2, 3, 13
PLAIN, VERSIONED = b"dltensor", b"dltensor_versioned"
READ_ONLY, IS_COPIED = 1, 2


class Tensor(ctypes.Structure):
    """What the standard calls DLTensor."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device", ctypes.c_int32 * 2),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


class Plain(ctypes.Structure):
    """DLManagedTensor."""

    _fields_ = (("tensor", Tensor), ("context", ctypes.c_void_p), ("deleter", ctypes.c_void_p))


class Versioned(ctypes.Structure):
    """DLManagedTensorVersioned."""

    _fields_ = (
        ("version", ctypes.c_uint32 * 2),
        ("context", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
        ("flags", ctypes.c_uint64),
        ("tensor", Tensor),
    )


def _function(name: str, result: Any, *arguments: Any) -> Any:
    return ctypes.PYFUNCTYPE(result, *arguments)((name, ctypes.pythonapi))


name_of = _function("PyCapsule_GetName", ctypes.c_char_p, ctypes.py_object)
pointer_of = _function("PyCapsule_GetPointer", ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)
rename = _function("PyCapsule_SetName", ctypes.c_int, ctypes.py_object, ctypes.c_char_p)
Deleter = ctypes.CFUNCTYPE(None, ctypes.c_void_p)  # without the interpreter lock, as a library may call it
USED = ctypes.create_string_buffer(b"used")


def managed(capsule: Any) -> Any:
    """The struct in a capsule, which stays as long as the struct."""
    name = name_of(capsule)
    struct = {PLAIN: Plain, VERSIONED: Versioned}[name].from_address(pointer_of(capsule, name))
    struct.capsule = capsule
    return struct


def take_over(capsule: Any) -> Any:
    """The same, which is the caller's from now on."""
    struct = managed(capsule)
    assert not rename(capsule, USED)
    del struct.capsule
    return struct


def delete(struct: Any) -> None:
    Deleter(struct.deleter)(ctypes.addressof(struct))


def filled(pool: netloop.BufferPool, data: bytes) -> netloop.Lease:
    lease = pool.take(len(data))
    with lease.writable() as view:
        view[:] = data
    return lease


# What a capsule says --------------------------------------------------------------------------------------------


def test_a_versioned_capsule_is_read_only_and_a_row_of_bytes():
    lease = filled(netloop.BufferPool(2, 100), b"hello")
    capsule = lease.__dlpack__(max_version=(1, 0))
    assert name_of(capsule) == VERSIONED
    struct = managed(capsule)
    tensor = struct.tensor
    assert (tuple(struct.version), struct.flags) == ((1, 0), READ_ONLY)
    assert (tensor.ndim, tensor.shape[0], tensor.strides[0], tensor.byte_offset) == (1, 5, 1, 0)
    assert (tensor.code, tensor.bits, tensor.lanes, tuple(tensor.device)) == (1, 8, 1, (CPU, 0))
    assert ctypes.string_at(tensor.data, 5) == b"hello"


@pytest.mark.parametrize("version", [None, (0, 8)])
def test_who_knows_no_version_gets_the_struct_without_one(version):
    lease = filled(netloop.BufferPool(2, 100), b"hello")
    capsule = lease.__dlpack__(max_version=version, stream=1)
    assert name_of(capsule) == PLAIN
    tensor = managed(capsule).tensor
    assert ctypes.string_at(tensor.data, tensor.shape[0]) == b"hello"


def test_newer_versions_than_ours_are_answered_with_ours():
    struct = managed(netloop.BufferPool(1, 10).__dlpack__(max_version=(7, 3)))
    assert tuple(struct.version) == (1, 0)


def test_the_device_is_what_the_caller_says():
    memory = bytearray(100)
    with pytest.raises(TypeError, match="dlpack_device must be two numbers"):
        netloop.BufferPool(1, 100, memory=memory, dlpack_device=3)
    with pytest.raises(ValueError, match="cannot be on a device of type 2; its types are 1 \\(kDLCPU\\), 3"):
        netloop.BufferPool(1, 100, memory=memory, dlpack_device=(CUDA, 0))
    with pytest.raises(ValueError, match="a device's number must be from 0"):
        netloop.BufferPool(1, 100, memory=memory, dlpack_device=(CUDA_HOST, -1))
    pool = netloop.BufferPool(1, 100, memory=memory, dlpack_device=(CUDA_HOST, 2))
    lease = pool.take()
    for each in (pool, lease):
        assert each.__dlpack_device__() == (CUDA_HOST, 2)
        assert tuple(managed(each.__dlpack__()).tensor.device) == (CUDA_HOST, 2)
        assert tuple(managed(each.__dlpack__(dl_device=(CUDA_HOST, 2))).tensor.device) == (CUDA_HOST, 2)
        # The processor reads page-locked memory as any other.
        assert tuple(managed(each.__dlpack__(dl_device=(CPU, 0))).tensor.device) == (CPU, 0)
        for device in ((CUDA, 2), (CUDA_MANAGED, 2), (CUDA_HOST, 0)):
            with pytest.raises(BufferError, match="cannot be moved to"):
                each.__dlpack__(dl_device=device)
    assert netloop.BufferPool(1, 1).__dlpack_device__() == (CPU, 0)


def test_a_copy_is_the_consumers_own():
    pool = netloop.BufferPool(1, 10)
    lease = filled(pool, b"0123456789")
    struct = take_over(lease.__dlpack__(max_version=(1, 0), copy=True))
    assert struct.flags == IS_COPIED
    lease.release()
    assert pool._states() == bytes([FREE])
    with pool.take().writable() as view:
        view[:] = bytes(10)
    assert ctypes.string_at(struct.tensor.data, 10) == b"0123456789"
    delete(struct)


def test_what_is_refused_leaves_nothing_behind():
    pool = netloop.BufferPool(1, 10)
    lease = pool.take()
    for refused, error in (({"max_version": "new"}, TypeError), ({"dl_device": (CUDA, 0)}, BufferError)):
        with pytest.raises(error):
            lease.__dlpack__(**refused)
    lease.release()
    assert pool._states() == bytes([FREE])
    for use in (lease.__dlpack__, lease.__dlpack_device__):
        with pytest.raises(ValueError, match="this lease was released"):
            use()


# How long it holds ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [None, (1, 0)])
def test_the_buffer_is_held_until_the_deleter_is_called(version):
    pool = netloop.BufferPool(1, 10)
    lease = filled(pool, b"0123456789")
    capsule = lease.__dlpack__(max_version=version)
    struct = take_over(capsule)
    lease.release()
    del capsule, lease
    gc.collect()
    assert pool._states() == bytes([LEASED])
    assert ctypes.string_at(struct.tensor.data, 10) == b"0123456789"
    delete(struct)
    assert pool._states() == bytes([FREE])


@pytest.mark.parametrize("version", [None, (1, 0)])
def test_a_capsule_that_nobody_takes_over_holds_the_buffer_as_long_as_it_is_there(version):
    pool = netloop.BufferPool(1, 10)
    capsule = pool.take().__dlpack__(max_version=version)
    assert pool._states() == bytes([LEASED])
    del capsule
    assert pool._states() == bytes([FREE])


def test_a_pools_memory_lives_as_long_as_an_array_over_it():
    memory = bytearray(b"0123456789")
    struct = take_over(netloop.BufferPool(1, 10, memory=memory).__dlpack__(max_version=(1, 0)))
    assert ctypes.string_at(struct.tensor.data, struct.tensor.shape[0]) == b"0123456789"
    with pytest.raises(BufferError):
        memory.clear()  # still exported to the pool
    delete(struct)
    memory.clear()


def test_the_deleter_may_be_called_by_any_thread():
    """One of a thread's own destructors calls it, when the thread is no longer one of Python's."""
    library = ctypes.CDLL(None)
    pool = netloop.BufferPool(8, 10)
    keys = []

    def leave_to_the_end(struct):
        key = ctypes.c_uint()
        assert not library.pthread_key_create(ctypes.byref(key), ctypes.c_void_p(struct.deleter))
        assert not library.pthread_setspecific(key, ctypes.byref(struct))
        keys.append(key)

    structs = [take_over(pool.take().__dlpack__(max_version=(1, 0))) for _ in range(8)]
    gc.collect()
    assert pool._states() == bytes([LEASED] * 8)
    threads = [threading.Thread(target=leave_to_the_end, args=(struct,)) for struct in structs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Joined is a thread of Python's before its own destructors have run.
    for _ in range(1000):
        if pool._states() == bytes([FREE] * 8):
            break
        threading.Event().wait(0.01)
    assert pool._states() == bytes([FREE] * 8)
    for key in keys:
        library.pthread_key_delete(key)


async def test_a_dry_pool_goes_on_when_another_thread_calls_the_deleter(loop):
    pool = netloop.BufferPool(1, 10)
    keeper = Keeper(pool, keeps=True)
    data = pattern(0, 20)
    async with joined(loop, keeper) as far:
        far.send(data)
        await keeper.until_received(10)
        struct = take_over(keeper.leases[0].__dlpack__())
        keeper.release_all()
        thread = threading.Thread(target=delete, args=(struct,))
        thread.start()
        assert await keeper.until_received(20) == data
        thread.join()
        keeper.release_all()


def test_a_deleter_that_is_called_while_an_exception_passes_leaves_it_alone():
    pool = netloop.BufferPool(1, 10)

    def fail():
        capsule = pool.take().__dlpack__()
        raise ZeroDivisionError(capsule)

    with pytest.raises(ZeroDivisionError):
        fail()
    gc.collect()
    assert pool._states() == bytes([FREE])


def test_a_lease_is_sent_while_an_array_lies_on_it_and_its_buffer_held_until_that_goes():
    pool = netloop.BufferPool(1, 10)
    lease = filled(pool, b"0123456789")
    head = lease.split(4)
    struct = take_over(head.__dlpack__())
    assert (struct.tensor.shape[0], ctypes.string_at(struct.tensor.data, 4)) == (4, b"0123")
    head.release()
    lease.release()
    assert pool._states() == bytes([LEASED])
    delete(struct)
    assert pool._states() == bytes([FREE])


@pytest.mark.parametrize("version", [None, (1, 0)])
def test_arrays_that_outlive_the_interpreter(version):
    """A deleter that is called while it ends, and after that, does no harm."""
    program = f"""
        import ctypes, sys
        sys.path[:0] = {sys.path!r}
        import netloop
        from leases import test_dlpack as it
        pool = netloop.BufferPool(3, 10)
        early, late, never = (it.take_over(pool.take().__dlpack__(max_version={version})) for _ in range(3))

        class Ending:
            def __del__(self, delete=it.delete, struct=early):
                delete(struct)

        left = [Ending()]
        it.keeps = left
        del left
        ctypes.CDLL(None).__cxa_atexit(ctypes.c_void_p(late.deleter), ctypes.byref(late), None)
        capsule = pool.__dlpack__(max_version={version})
        print("so far")
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "so far\n", "")


# Libraries ------------------------------------------------------------------------------------------------------


def library(name: str) -> Any:
    """Import a library of arrays; the test is skipped where it is not installed."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        pytest.skip(f"{name} is not installed")


def test_numpy_reads_what_has_arrived_where_it_lies():
    numpy = library("numpy")
    pool = netloop.BufferPool(4, 100)
    lease = filled(pool, b"hello")
    array = numpy.from_dlpack(lease)
    assert (array.dtype, array.shape, array.flags.writeable, array.tobytes()) == (numpy.uint8, (5,), False, b"hello")
    memory = numpy.from_dlpack(pool)
    assert memory.shape == (400,)
    part = memory[lease.offset : lease.offset + len(lease)]
    assert part.ctypes.data == array.ctypes.data
    assert part.tobytes() == b"hello"
    with lease.writable() as view:
        numpy.frombuffer(view, numpy.uint8)[:] = numpy.arange(5)
    assert array.tolist() == [0, 1, 2, 3, 4]
    tail = array[3:]
    lease.release()
    del array
    assert pool._states().count(LEASED) == 1
    del tail
    assert pool._states().count(LEASED) == 0
    del lease, memory, part
    assert numpy.from_dlpack(netloop.BufferPool(1, 10).take(0)).shape == (0,)


def test_numpy_takes_every_device_and_copies():
    numpy = library("numpy")
    for device in ((CPU, 0), (CUDA_HOST, 0), (CUDA_MANAGED, 0)):
        pool = netloop.BufferPool(1, 5, dlpack_device=device)
        lease = filled(pool, b"hello")
        assert numpy.from_dlpack(lease).tobytes() == b"hello"
    copy = numpy.from_dlpack(lease, copy=True)
    lease.release()
    filled(pool, bytes(5))
    assert copy.tobytes() == b"hello"


def test_torch_reads_what_has_arrived_where_it_lies():
    torch = library("torch")
    pool = netloop.BufferPool(2, 100)
    lease = filled(pool, b"hello")
    tensor = torch.from_dlpack(lease)
    assert (tensor.dtype, tuple(tensor.shape), tensor.device.type) == (torch.uint8, (5,), "cpu")
    assert bytes(tensor.tolist()) == b"hello"
    memory = torch.from_dlpack(pool)
    assert memory[lease.offset :].data_ptr() == tensor.data_ptr()
    lease.release()
    assert pool._states().count(LEASED) == 1
    del tensor
    assert pool._states().count(LEASED) == 0
    with pytest.raises(BufferError):
        torch.from_dlpack(netloop.BufferPool(1, 100, dlpack_device=(CUDA_HOST, 0)))


def test_jax_reads_what_has_arrived_where_it_lies():
    jax = library("jax")
    pool = netloop.BufferPool(2, 128)
    lease = filled(pool, b"hello")
    array = jax.dlpack.from_dlpack(lease)
    assert (array.dtype, array.shape) == ("uint8", (5,))
    assert bytes(array.tolist()) == b"hello"
    assert pool._states().count(LEASED) == 1
    lease.release()
    del array
    gc.collect()
    assert pool._states().count(LEASED) == 0
