# cython: language_level=3, boundscheck=False, wraparound=False
"""Capsules by which arrays of other libraries lie on the memory of leases and pools (DLPack).

A capsule holds an export of the buffer protocol, as a memoryview does. Whoever takes it over calls its deleter when the
array is gone, once and in any thread, with the interpreter lock or without; a capsule that nobody has taken does it
itself. When the interpreter is at its end the export is left to the end of the process: nothing of Python may be called
then, and nobody waits for the buffer.

What a consumer asks for: numpy and torch name the newest version that they understand, jax names none and gets the
struct without a version, which cannot say that it is read-only. numpy keeps to that flag, torch and cupy give arrays
that can be written to. No device's stream is waited for, because none has work to do on memory that the kernel fills.
"""

import operator

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from netloop.core cimport cext as c


cdef extern from "Python.h":
    ctypedef struct PyObject
    int Py_IsInitialized() nogil
    object PyCapsule_New(void *pointer, const char *name, void (*destructor)(PyObject *) noexcept)
    bint PyCapsule_IsValid(PyObject *capsule, const char *name)
    void *PyCapsule_GetPointer(PyObject *capsule, const char *name)
    void PyErr_Fetch(PyObject **kind, PyObject **value, PyObject **traceback)
    void PyErr_Restore(PyObject *kind, PyObject *value, PyObject *traceback)

cdef struct Export:
    c.nl_dl_row row
    Py_buffer view

cdef char *PLAIN = "dltensor"
cdef char *VERSIONED = "dltensor_versioned"

cdef dict _HOST_DEVICES = {
    c.NL_DL_CPU: "kDLCPU", c.NL_DL_CUDA_HOST: "kDLCUDAHost", c.NL_DL_ROCM_HOST: "kDLROCMHost",
    c.NL_DL_CUDA_MANAGED: "kDLCUDAManaged",
}
cdef tuple CPU_DEVICE = (c.NL_DL_CPU, 0)


cdef tuple checked_device(object device):
    """The device that a caller says memory is on, which the processor must be able to reach."""
    if device is None:
        return CPU_DEVICE
    try:
        kind, number = map(operator.index, device)
    except (TypeError, ValueError):
        raise TypeError(f"dlpack_device must be two numbers, a device type and a device's number, not {device!r}"
                        ) from None
    if kind not in _HOST_DEVICES:
        known = ", ".join(f"{each} ({name})" for each, name in _HOST_DEVICES.items())
        raise ValueError(f"a pool's memory cannot be on a device of type {kind}; its types are {known}")
    if not 0 <= number <= 0x7FFFFFFF:
        raise ValueError(f"a device's number must be from 0 to {0x7FFFFFFF}, not {number}")
    return kind, number


cdef object make_capsule(Py_buffer *view, tuple device, object max_version, object dl_device, object copy):
    """A capsule of the bytes of a buffer, whose export it takes over, whether it succeeds or not."""
    cdef Export *export = NULL
    cdef bint copied = False
    try:
        device = _asked_device(device, dl_device)
        versioned = max_version is not None and _major(max_version) >= c.NL_DL_MAJOR
        if copy:
            copied = True
            _copy(view)
        export = <Export *>malloc(sizeof(Export))
        if export == NULL:
            raise MemoryError
        memset(export, 0, sizeof(Export))
        export.view = view[0]
        _describe(export, versioned, device[0], device[1], copied)
        if versioned:
            return PyCapsule_New(&export.row.versioned, VERSIONED, destroy_versioned)
        return PyCapsule_New(&export.row.plain, PLAIN, destroy_plain)
    except BaseException:
        free(export)
        PyBuffer_Release(view)
        raise


cdef tuple _asked_device(tuple device, object asked):
    """The device to name. What is on any of the host's can be read by the processor as well."""
    if asked is None:
        return device
    asked = tuple(asked)
    if asked == device or asked[:1] == (c.NL_DL_CPU,):
        return asked
    raise BufferError(f"this memory is on device {device} of DLPack, and cannot be moved to {asked}")


cdef object _major(object max_version):
    try:
        major, _ = map(operator.index, max_version)
    except (TypeError, ValueError):
        raise TypeError(f"max_version must be two numbers, not {max_version!r}") from None
    return major


cdef int _copy(Py_buffer *view) except -1:
    """Put a copy of the bytes, in memory of its own, in the place of the export."""
    cdef Py_buffer original = view[0]
    cdef Py_buffer fresh
    PyObject_GetBuffer(bytearray((<unsigned char *>view.buf)[:view.len]), &fresh, PyBUF_SIMPLE | PyBUF_WRITABLE)
    view[0] = fresh
    PyBuffer_Release(&original)
    return 0


cdef int _describe(Export *export, bint versioned, int32_t device_type, int32_t number, bint copied) except -1:
    cdef c.nl_dl_row *row = &export.row
    if not versioned:
        c.nl_dl_describe(row, &row.plain.tensor, export.view.buf, export.view.len, device_type, number)
        row.plain.context = export
        row.plain.deleter = delete_plain
        return 0
    c.nl_dl_describe(row, &row.versioned.tensor, export.view.buf, export.view.len, device_type, number)
    row.versioned.major = c.NL_DL_MAJOR
    row.versioned.minor = c.NL_DL_MINOR
    row.versioned.context = export
    row.versioned.deleter = delete_versioned
    row.versioned.flags = c.NL_DL_IS_COPIED if copied else c.NL_DL_READ_ONLY
    return 0


# The end of a capsule, or of the array that has taken it over ---------------------------------------------------

cdef void delete_plain(c.nl_dl_plain *plain) noexcept nogil:
    let_go(<Export *>plain.context)


cdef void delete_versioned(c.nl_dl_versioned *versioned) noexcept nogil:
    let_go(<Export *>versioned.context)


cdef void let_go(Export *export) noexcept nogil:
    """End the export, in whatever thread."""
    if Py_IsInitialized():
        with gil:
            release(export)


cdef int release(Export *export) except -1:
    # An array may go while an exception passes through the function that had it.
    cdef PyObject *kind
    cdef PyObject *value
    cdef PyObject *traceback
    PyErr_Fetch(&kind, &value, &traceback)
    PyBuffer_Release(&export.view)
    free(export)
    PyErr_Restore(kind, value, traceback)
    return 0


cdef void destroy_plain(PyObject *capsule) noexcept:
    """A capsule has another name once it was taken over."""
    if PyCapsule_IsValid(capsule, PLAIN):
        delete_plain(<c.nl_dl_plain *>PyCapsule_GetPointer(capsule, PLAIN))


cdef void destroy_versioned(PyObject *capsule) noexcept:
    if PyCapsule_IsValid(capsule, VERSIONED):
        delete_versioned(<c.nl_dl_versioned *>PyCapsule_GetPointer(capsule, VERSIONED))
