"""Really refuses system calls to this process, as a container's seccomp profile does."""

from __future__ import annotations

import ctypes
import os
import re
import struct
import subprocess
from collections.abc import Iterator, Mapping
from typing import Any

# io_uring's numbers are the same on every architecture that got them after the numbers were unified.
CALLS = {"setup": 425, "enter": 426, "register": 427}

_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _SECCOMP_MODE_FILTER = 22, 38, 2
_LOAD_WORD, _AND, _RETURN = 0x20, 0x54, 0x06
_JUMP_IF_EQUAL, _JUMP_IF_AT_LEAST = 0x15, 0x35
_NUMBER_OFFSET, _ARGUMENTS_OFFSET = 0, 16
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_DOCKERS_NAMES = {"x86_64": "amd64", "aarch64": "arm64"}


class _Program(ctypes.Structure):
    """``struct sock_fprog`` of seccomp(2)."""

    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p)]


def refuse(errno: int, *calls: str) -> None:
    """Let the given io_uring calls of this thread, and all it starts, fail with ``errno`` from now on.

    Raises:
        OSError: the kernel takes no filter.
    """
    numbers = [CALLS[call] for call in calls or CALLS]
    code = [_instruction(_LOAD_WORD, _NUMBER_OFFSET)]
    for number in numbers:
        code += [_instruction(_JUMP_IF_EQUAL, number, otherwise=1), _instruction(_RETURN, _ERRNO | errno)]
    _install([*code, _instruction(_RETURN, _ALLOW)])


def refuse_registration(errno: int, opcode: int) -> None:
    """Let this thread, and all it starts, not register one kind of thing with a ring: fail with ``errno`` from now on.

    Raises:
        OSError: the kernel takes no filter.
    """
    rule = {
        "action": "SCMP_ACT_ERRNO",
        "errnoRet": errno,
        "args": [{"index": 1, "value": opcode, "op": "SCMP_CMP_EQ"}],
    }
    load = _instruction(_LOAD_WORD, _NUMBER_OFFSET)
    _install([load, *_call(CALLS["register"], rule), _instruction(_RETURN, _ALLOW)])


def confine(profile: Mapping[str, Any], capabilities: frozenset[str] = frozenset()) -> None:
    """Apply a container's seccomp profile to this thread, and all it starts, as a container's runtime does.

    Args:
        profile: in Docker's format or that of the OCI runtime specification.
        capabilities: what the container was given, which the conditions of Docker's format are about.

    Raises:
        OSError: the kernel takes no filter.
    """
    numbers = system_calls()
    code = [_instruction(_LOAD_WORD, _NUMBER_OFFSET)]
    for rule in profile["syscalls"]:
        if _applies(rule, capabilities):
            # A name that this kernel or processor does not have is left out by libseccomp too.
            for name in filter(numbers.__contains__, rule["names"]):
                code += _call(numbers[name], rule)
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
    _install([*code, _instruction(_RETURN, _ERRNO | profile["defaultErrnoRet"])])


def system_calls() -> dict[str, int]:
    """The numbers of the system calls on this machine, from the C library's headers."""
    command = ["gcc", "-E", "-dM", "-include", "sys/syscall.h", "-x", "c", os.devnull]
    defined = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return {name: int(number) for name, number in re.findall(r"#define __NR_(\w+) (\d+)$", defined, re.MULTILINE)}


def _applies(rule: Mapping[str, Any], capabilities: frozenset[str]) -> bool:
    included, excluded = rule.get("includes", {}), rule.get("excludes", {})
    machine = _DOCKERS_NAMES[os.uname().machine]
    if not capabilities.issuperset(included.get("caps", [])) or machine not in included.get("arches", [machine]):
        return False
    return not capabilities.intersection(excluded.get("caps", [])) and machine not in excluded.get("arches", [])


def _call(number: int, rule: Mapping[str, Any]) -> Iterator[bytes]:
    """The instructions that answer one system call as a rule says, and go on if it is another one."""
    answer = _ALLOW if rule["action"] == "SCMP_ACT_ALLOW" else _ERRNO | rule["errnoRet"]
    body = [_instruction(_RETURN, answer)]
    for argument in rule.get("args", []):
        body = [*_compare(argument), *body]
    if "args" in rule:
        body.append(_instruction(_LOAD_WORD, _NUMBER_OFFSET))
    return iter([_instruction(_JUMP_IF_EQUAL, number, otherwise=len(body)), *body])


def _compare(argument: Mapping[str, Any]) -> list[bytes]:
    """The instructions that jump over the answer unless an argument, of which 32 bits matter, is as a rule says."""
    load = _instruction(_LOAD_WORD, _ARGUMENTS_OFFSET + 8 * argument["index"])
    match argument["op"]:
        case "SCMP_CMP_EQ":
            return [load, _instruction(_JUMP_IF_EQUAL, argument["value"], otherwise=1)]
        case "SCMP_CMP_LT":
            return [load, _instruction(_JUMP_IF_AT_LEAST, argument["value"], then=1)]
        case "SCMP_CMP_MASKED_EQ":
            masked = _instruction(_AND, argument["value"])
            return [load, masked, _instruction(_JUMP_IF_EQUAL, argument.get("valueTwo", 0), otherwise=1)]
    raise ValueError(f"no such comparison: {argument['op']}")


def _instruction(code: int, operand: int, then: int = 0, otherwise: int = 0) -> bytes:
    """``struct sock_filter``: what to do, with what, and how many instructions to jump over in either case."""
    return struct.pack("HBBI", code, then, otherwise, operand)


def _install(code: list[bytes]) -> None:
    program = _Program(len(code), b"".join(code))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "PR_SET_NO_NEW_PRIVS")
    if libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0):
        raise OSError(ctypes.get_errno(), "PR_SET_SECCOMP")
