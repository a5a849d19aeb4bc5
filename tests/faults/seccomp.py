"""Really refuses system calls to this process, as a container's seccomp profile does."""

from __future__ import annotations

import ctypes
import struct

# io_uring's numbers are the same on every architecture that got them after the numbers were unified.
CALLS = {"setup": 425, "enter": 426, "register": 427}

_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _SECCOMP_MODE_FILTER = 22, 38, 2
_LOAD_WORD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_NUMBER_OFFSET = 0
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000


class _Program(ctypes.Structure):
    """``struct sock_fprog`` of seccomp(2)."""

    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p)]


def refuse(errno: int, *calls: str) -> None:
    """Let the given io_uring calls of this thread, and all it starts, fail with ``errno`` from now on.

    Raises:
        OSError: the kernel takes no filter.
    """
    numbers = [CALLS[call] for call in calls or CALLS]
    code = [struct.pack("HBBI", _LOAD_WORD, 0, 0, _NUMBER_OFFSET)]
    for index, number in enumerate(numbers):
        to_refusal = len(numbers) - index  # over the remaining comparisons and the return that allows
        code.append(struct.pack("HBBI", _JUMP_IF_EQUAL, to_refusal, 0, number))
    code.append(struct.pack("HBBI", _RETURN, 0, 0, _ALLOW))
    code.append(struct.pack("HBBI", _RETURN, 0, 0, _ERRNO | errno))
    program = _Program(len(code), b"".join(code))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "PR_SET_NO_NEW_PRIVS")
    if libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0):
        raise OSError(ctypes.get_errno(), "PR_SET_SECCOMP")
