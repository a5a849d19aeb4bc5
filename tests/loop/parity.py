"""One expression, evaluated on asyncio's own loop and on the loop under test: do they answer alike?

asyncio's answer is computed when the test runs, so that each version of Python is its own standard. An answer has the
exception with its text, or what was returned, and after it all that reached the exception handler and asyncio's log.
What differs from run to run (addresses, descriptors, ports) and how each loop writes its own objects is left out.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import functools
import inspect
import logging
import multiprocessing
import os
import re
import signal
import socket
import ssl
import subprocess
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pytest

from .helpers import in_thread

__all__ = ["Names", "Scene", "answer_of_closed_loop", "answer_of_idle_loop", "answer_of_running_loop", "expressions"]

Names = dict[str, Any]
Scene = Callable[[asyncio.AbstractEventLoop], contextlib.AbstractAsyncContextManager[Names]]

# How long an awaitable may take; where it takes longer, that is the answer.
SECONDS = 2.0

# What is written differently from run to run, or by each loop in its own way, and what stands for it.
VARIABLE = [
    (re.compile(r" at 0x[0-9a-f]+"), ""),
    (re.compile(r"\bfd=\d+"), "fd=N"),
    (re.compile(r"127\.0\.0\.1:\d+"), "127.0.0.1:N"),
    # An accepted connection is described differently where it has no descriptor.
    (re.compile(r"<(?:socket\.socket|netloop\.FixedSocket) [^<>]*>"), "<socket>"),
    (re.compile(r"File descriptor \d+"), "File descriptor N"),
    (re.compile(r"<Process \d+>"), "<Process N>"),
    (re.compile(r"\bpid[ =]\d+"), "pid N"),
    (re.compile(r"('(?:127\.0\.0\.1|::1|0\.0\.0\.0|::)'), \d+"), r"\1, N"),
    (re.compile(r"<[\w.]*Transport [^<>]*(?:<[^<>]*>)?[^<>]*>"), "<transport>"),
    (re.compile(r"<[\w.]*Transport>"), "<transport>"),
    (re.compile(r"'[\w.]*Transport' object"), "'Transport' object"),
    (re.compile(r"<[\w.]*(?:EventLoop|uvloop\.Loop) [^<>]*>"), "<loop>"),
    # The interpreter's own words for a call without an argument, different for compiled functions.
    (re.compile(r"TypeError: [\w.]*\(\) (?:missing|takes) .*"), "TypeError: wrong arguments"),
    (re.compile(r"created at [^>\s]+:\d+"), "created at N"),
    (re.compile(r"\b\d+\.\d+ seconds"), "N seconds"),
]


def expressions(text: str) -> list[str]:
    """The expressions of a text, one a line; lines that begin with # are left out."""
    lines = [line.strip() for line in text.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def plain(text: str) -> str:
    """A text without what differs from run to run."""
    for pattern, replacement in VARIABLE:
        text = pattern.sub(replacement, text)
    return text


def answer_of_running_loop(loop: asyncio.AbstractEventLoop, scene: Scene, expression: str) -> list[str]:
    """What becomes of an expression in a coroutine on ``loop``, amid what the scene has made."""
    with noting(loop) as notes:
        notes[:0] = [loop.run_until_complete(evaluate(loop, scene, expression, notes))]
    return notes


def answer_of_idle_loop(loop: asyncio.AbstractEventLoop, expression: str) -> list[str]:
    """What becomes of an expression while ``loop`` does not run."""
    with noting(loop) as notes, names_for(loop) as names:
        try:
            answer = describe(eval(expression, names))
        except Exception as error:
            answer = describe_error(error)
        loop.run_until_complete(asyncio.sleep(0))
        notes[:0] = [answer]
    return notes


def answer_of_closed_loop(loop: asyncio.AbstractEventLoop, expression: str) -> list[str]:
    """What becomes of an expression once ``loop`` is closed; a coroutine is driven to its first wait."""
    with noting(loop) as notes, names_for(loop) as names:
        loop.close()
        try:
            result = eval(expression, names)
            if inspect.iscoroutine(result):
                try:
                    result.send(None)
                except StopIteration as end:
                    result = end.value
                else:
                    result.close()
                    result = "waits"
            answer = describe(result)
        except Exception as error:
            answer = describe_error(error)
        notes[:0] = [answer]
    return notes


async def evaluate(loop: asyncio.AbstractEventLoop, scene: Scene, expression: str, notes: list[str]) -> str:
    """The first line of the answer; ``expression`` may await. What is noted while the scene is ended is left out."""
    code = compile(expression, "<expression>", "eval", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    with names_for(loop) as common:
        async with scene(loop) as names:
            known = {**common, **names}
            result = None
            try:
                result = eval(code, known)
                if inspect.isawaitable(result):
                    async with asyncio.timeout(SECONDS):
                        result = await result
                answer = describe(result)
            except Exception as error:
                answer = describe_error(error)
            if isinstance(result, asyncio.Handle):
                result.cancel()  # before it can do harm
            for _ in range(4):
                await asyncio.sleep(0)
            noted = len(notes)
            await dispose(result, *known.values())
            for _ in range(4):
                await asyncio.sleep(0)
    del notes[noted:]
    return answer


def describe(result: Any) -> str:
    """A result by its value where that is comparable, by its kind otherwise."""
    if isinstance(result, tuple):
        return f"({', '.join(describe(item) for item in result)})"
    if result is None or isinstance(result, (bool, int, float, str, bytes, list, dict)):
        return plain(repr(result))
    for kind in (
        asyncio.Handle,
        asyncio.BaseTransport,
        asyncio.BaseProtocol,
        asyncio.Future,
        asyncio.subprocess.Process,
    ):
        if isinstance(result, kind):
            return kind.__name__
    return plain(repr(result))


def describe_error(error: BaseException) -> str:
    """An exception's type and text, and those of the exceptions in a group."""
    members = "".join(f" [{describe_error(member)}]" for member in getattr(error, "exceptions", ()))
    return plain(f"{type(error).__name__}: {error}{members}")


async def dispose(*made: Any) -> None:
    """Close what the expression has made, and returned or given a name."""
    for item in made:
        if isinstance(item, tuple):
            await dispose(*item)
        elif isinstance(item, asyncio.AbstractServer):
            item.close()
            await item.wait_closed()
        elif isinstance(item, asyncio.subprocess.Process):
            item._transport.close()  # type: ignore[attr-defined]
            await item.wait()
        elif isinstance(item, asyncio.BaseTransport):
            item.close()


@contextlib.contextmanager
def noting(loop: asyncio.AbstractEventLoop) -> Iterator[list[str]]:
    """A list that at the end holds what reached the exception handler, asyncio's log and the warnings."""
    notes: list[str] = []

    def report(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        exception = context.get("exception")
        cause = f" ({describe_error(exception)})" if exception else ""
        keys = ", ".join(sorted(key for key in context if key != "source_traceback"))
        notes.append(f"reported: {plain(context['message'])}{cause} with {keys}")

    class Log(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            # "Executing": a callback took long, which is the machine's affair.
            if not record.getMessage().startswith(
                ("Using selector", "poll ", "Get address info", "Getting address", "Executing ")
            ):
                notes.append(f"logged: {record.levelname} {plain(record.getMessage())}")

    logger, log = logging.getLogger("asyncio"), Log()
    level, propagate = logger.level, logger.propagate
    logger.addHandler(log)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    loop.set_exception_handler(report)
    try:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            yield notes
        notes += [
            f"warned: {item.category.__name__} {plain(str(item.message).partition(chr(10))[0])}" for item in warned
        ]
    finally:
        logger.removeHandler(log)
        logger.setLevel(level)
        logger.propagate = propagate


@contextlib.contextmanager
def names_for(loop: asyncio.AbstractEventLoop) -> Iterator[Names]:
    """What every expression may use; closed at the end."""

    async def work() -> str:
        return "worked"

    with contextlib.ExitStack() as stack:
        coroutine = work()
        stack.callback(coroutine.close)
        closed = socket.socket()
        closed.close()

        def opened(*kind: Any, blocking: bool = False) -> socket.socket:
            sock = stack.enter_context(socket.socket(*kind))
            sock.setblocking(blocking)
            return sock

        wrapped = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).wrap_socket(
            socket.socket(), server_hostname="localhost", do_handshake_on_connect=False
        )
        stack.callback(wrapped.close)
        yield {
            "asyncio": asyncio,
            "os": os,
            "signal": signal,
            "socket": socket,
            "subprocess": subprocess,
            # Other ways to start processes leave a helper of theirs behind, and the pipe to it.
            "ProcessPool": functools.partial(ProcessPoolExecutor, mp_context=multiprocessing.get_context("fork")),
            "Protocol": asyncio.Protocol,
            "DatagramProtocol": asyncio.DatagramProtocol,
            "SubprocessProtocol": asyncio.SubprocessProtocol,
            "loop": loop,
            "work": work,
            "coroutine": coroutine,
            "in_thread": in_thread,
            "tcp": opened(socket.AF_INET, socket.SOCK_STREAM),
            "udp": opened(socket.AF_INET, socket.SOCK_DGRAM),
            "unix": opened(socket.AF_UNIX, socket.SOCK_STREAM),
            "unix_packets": opened(socket.AF_UNIX, socket.SOCK_SEQPACKET),
            "unix_datagram": opened(socket.AF_UNIX, socket.SOCK_DGRAM),
            "blocking": opened(socket.AF_INET, socket.SOCK_STREAM, blocking=True),
            "blocking_udp": opened(socket.AF_INET, socket.SOCK_DGRAM, blocking=True),
            "closed": closed,
            "tls_socket": wrapped,
            "client_tls": ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
            "server_tls": ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER),
            "text": stack.enter_context(open(__file__, encoding="utf-8")),
            "binary": stack.enter_context(open(__file__, "rb")),
        }


@contextlib.asynccontextmanager
async def nothing(loop: asyncio.AbstractEventLoop) -> AsyncIterator[Names]:
    """The scene in which nothing has been made."""
    yield {}


def compare(given: list[str], wanted: list[str]) -> None:
    """Fail with both answers where they differ."""
    if given != wanted:
        pytest.fail("\n".join(("it says", *given, "asyncio says", *wanted)), pytrace=False)
