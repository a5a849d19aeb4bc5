"""What netloop overrides, calls and reads of asyncio that has no public name, held against the Python that runs.

A version of Python may change any of it. Then a line of this list fails, and not a program of somebody's.
"""

from __future__ import annotations

import asyncio
import inspect
import operator
import ssl
import sys
from asyncio import (
    base_subprocess,
    constants,
    events,
    sslproto,
    transports,
    unix_events,
)
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import netloop
from netloop.hosted.subprocesses import _SubprocessTransport
from netloop.hosted.tls import TLSProtocol
from netloop.transports.tls import SSLTransport

BEFORE_313 = sys.version_info < (3, 13)

# netloop's class → asyncio's, and the private methods it has in place of asyncio's.
OVERRIDDEN: dict[type[Any], tuple[type[Any], set[str]]] = {
    netloop.EventLoop: (
        unix_events._UnixSelectorEventLoop,
        {
            "_check_signal",
            "_make_datagram_transport",
            "_make_read_pipe_transport",
            "_make_socket_transport",
            "_make_ssl_transport",
            "_make_subprocess_transport",
            "_make_write_pipe_transport",
            "_run_once",
            "_sendfile_fallback",
            "_sendfile_native",
            "_sock_sendfile_native",
            "_start_serving",
            "_stop_serving",
        }
        | ({"_do_shutdown"} if BEFORE_313 else set()),
    ),
    TLSProtocol: (
        sslproto.SSLProtocol,
        {
            "_do_read",
            "_get_app_transport",
            "_process_outgoing",
            "_set_app_protocol",
            "_set_read_buffer_limits",
            "_set_write_buffer_limits",
        },
    ),
    SSLTransport: (sslproto._SSLProtocolTransport, set()),
    _SubprocessTransport: (base_subprocess.BaseSubprocessTransport, {"_connect_pipes", "_start"}),
}

# Methods that asyncio.BaseEventLoop leaves to its heirs, which netloop's way of running has no use for.
NOT_NEEDED = {"_add_callback", "_process_events", "_write_to_self"}

# What netloop calls, with so many arguments by position, the object itself included, and these by keyword.
CALLED: list[tuple[str, int, tuple[str, ...]]] = [
    ("base_events.BaseEventLoop._check_callback", 3, ()),
    ("base_events.BaseEventLoop._check_closed", 1, ()),
    ("base_events.BaseEventLoop._check_running", 1, ()),
    ("base_events.BaseEventLoop._check_sendfile_params", 5, ()),
    ("base_events.BaseEventLoop._check_thread", 1, ()),
    ("base_events.BaseEventLoop._connect_sock", 4, ()),
    (
        "base_events.BaseEventLoop._create_connection_transport",
        5,
        ("ssl_handshake_timeout", "ssl_shutdown_timeout"),
    ),
    ("base_events.BaseEventLoop._ensure_resolved", 2, ("family", "type", "proto", "flags", "loop")),
    ("base_events.BaseEventLoop._sendfile_fallback", 5, ()),
    ("base_events.Server", 7, ()),
    ("base_events.Server._attach", 1 if BEFORE_313 else 2, ()),
    ("base_events.Server._detach", 1 if BEFORE_313 else 2, ()),
    ("base_events.Server._start_serving", 1, ()),
    ("base_events._check_ssl_socket", 1, ()),
    ("base_events._interleave_addrinfos", 2, ()),
    ("base_subprocess.BaseSubprocessTransport", 8, ("waiter", "extra")),
    ("base_subprocess.BaseSubprocessTransport._connect_pipes", 2, ()),
    ("base_subprocess.BaseSubprocessTransport._process_exited", 2, ()),
    ("format_helpers._format_callback_source", 2, ()),
    ("format_helpers.extract_stack", 1, ()),
    ("futures._set_result_unless_cancelled", 2, ()),
    ("sslproto.SSLProtocol", 6, ("ssl_handshake_timeout", "ssl_shutdown_timeout")),
    ("sslproto.SSLProtocol", 4, ("server_side", "ssl_handshake_timeout", "ssl_shutdown_timeout")),
    ("sslproto.SSLProtocol._call_eof_received", 1, ()),
    ("sslproto.SSLProtocol._control_app_writing", 1, ()),
    ("sslproto.SSLProtocol._control_ssl_reading", 1, ()),
    ("sslproto.SSLProtocol._do_flush", 1, ()),
    ("sslproto.SSLProtocol._do_handshake", 1, ()),
    ("sslproto.SSLProtocol._do_shutdown", 1, ()),
    ("sslproto.SSLProtocol._do_write", 1, ()),
    ("sslproto.SSLProtocol._fatal_error", 3, ()),
    ("sslproto.SSLProtocol._get_app_transport", 1, ()),
    ("sslproto.SSLProtocol._set_read_buffer_limits", 3, ()),
    ("sslproto.SSLProtocol._set_state", 2, ()),
    ("sslproto.SSLProtocol._set_write_buffer_limits", 3, ()),
    ("sslproto.SSLProtocol._start_shutdown", 1, ()),
    ("sslproto.SSLProtocol._write_appdata", 2, ()),
    ("sslproto._SSLProtocolTransport", 2, ()),
    ("trsock.TransportSocket", 1, ()),
]

# Fields that netloop reads or has in place of asyncio's.
LOOP_FIELDS = {
    "_clock_resolution",
    "_closed",
    "_current_handle",
    "_debug",
    "_default_executor",
    "_executor_shutdown_called",
    "_stopping",
    "_thread_id",
    "slow_callback_duration",
}
TLS_FIELDS = {
    "_app_protocol",
    "_app_protocol_is_buffer",
    "_app_reading_paused",
    "_app_state",
    "_app_transport",
    "_app_transport_created",
    "_app_writing_paused",
    "_extra",
    "_incoming",
    "_incoming_high_water",
    "_incoming_low_water",
    "_loop",
    "_outgoing",
    "_outgoing_high_water",
    "_outgoing_low_water",
    "_ssl_buffer",
    "_ssl_buffer_view",
    "_ssl_reading_paused",
    "_ssl_writing_paused",
    "_sslobj",
    "_state",
    "_transport",
    "_write_backlog",
    "_write_buffer_size",
}
# Of tasks and futures, by who looks at them from outside.
WAITING_FIELDS = {"_callbacks", "_fut_waiter"}
PROCESS_FIELDS = {"_closed", "_pending_calls", "_pipes", "_proc"}


@pytest.fixture
def asyncios_loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.SelectorEventLoop()
    yield loop
    loop.close()


def private_methods(kind: type[Any]) -> set[str]:
    """The names of a class's private methods that are its own or those of its bases but object's."""
    return {
        name
        for base in kind.__mro__
        if base is not object
        for name, value in vars(base).items()
        if name.startswith("_") and not name.startswith("__") and (callable(value) or isinstance(value, staticmethod))
    }


def defined_by_netloop(kind: type[Any]) -> set[str]:
    return {name for base in kind.__mro__ if base.__module__.startswith("netloop") for name in vars(base)}


def signature_of(function: Callable[..., Any]) -> inspect.Signature:
    """A method's signature without the object itself."""
    signature = inspect.signature(function)
    found = [parameter for parameter in signature.parameters.values() if parameter.name != "self"]
    return signature.replace(parameters=found)


def name_of(value: Any) -> str:
    return value if isinstance(value, str) else str(getattr(value, "__name__", ""))


@pytest.mark.parametrize("kind", OVERRIDDEN, ids=name_of)
def test_what_is_overridden_is_in_the_list(kind: type[Any]) -> None:
    """A name of netloop's own that a version of asyncio begins to use shows here as well."""
    theirs, names = OVERRIDDEN[kind]
    assert defined_by_netloop(kind) & private_methods(theirs) == names


@pytest.mark.parametrize(
    ("kind", "name"),
    [(kind, name) for kind, (_, names) in OVERRIDDEN.items() for name in sorted(names)],
    ids=name_of,
)
def test_what_is_overridden_takes_what_asyncios_takes(kind: type[Any], name: str) -> None:
    ours, theirs = signature_of(getattr(kind, name)), signature_of(getattr(OVERRIDDEN[kind][0], name))
    parameters = [one for one in theirs.parameters.values() if one.kind is not inspect.Parameter.VAR_KEYWORD]
    positional = [one for one in parameters if one.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
    required = [one for one in positional if one.default is inspect.Parameter.empty]
    # What has a default may be given by name or by position, and both must mean the same.
    ours.bind(*required, **{one.name: None for one in parameters if one not in required})
    bound = ours.bind(*positional, **{one.name: None for one in parameters if one not in positional})
    for parameter in positional[len(required) :]:
        assert bound.arguments[parameter.name] == parameter


@pytest.mark.parametrize(("path", "positional", "keywords"), CALLED, ids=name_of)
def test_what_is_called_takes_what_it_is_given(path: str, positional: int, keywords: tuple[str, ...]) -> None:
    function = operator.attrgetter(path)(asyncio)
    inspect.signature(function).bind(*[None] * positional, **dict.fromkeys(keywords))


def test_what_asyncio_leaves_to_a_loop_is_there() -> None:
    left = {
        name
        for name, value in vars(asyncio.BaseEventLoop).items()
        if inspect.isfunction(value) and "NotImplementedError" in value.__code__.co_names
    }
    assert left - defined_by_netloop(netloop.EventLoop) <= NOT_NEEDED


def test_the_fields_of_a_loop(asyncios_loop: asyncio.AbstractEventLoop) -> None:
    assert set(vars(asyncios_loop)) >= LOOP_FIELDS


def test_the_fields_of_a_tls_protocol(asyncios_loop: asyncio.AbstractEventLoop) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    waiter: Any = None
    protocol: Any = sslproto.SSLProtocol(asyncios_loop, asyncio.Protocol(), context, waiter, False, "name")
    protocol._get_app_transport().abort()
    assert {*vars(protocol), *vars(sslproto.SSLProtocol)} >= TLS_FIELDS


def test_the_fields_of_a_subprocess() -> None:
    assigned = inspect.getsource(base_subprocess.BaseSubprocessTransport.__init__)
    assert {name for name in PROCESS_FIELDS if f"self.{name} = " not in assigned} == set()


def test_the_fields_by_which_tasks_wait(asyncios_loop: asyncio.AbstractEventLoop) -> None:
    async def gather() -> None:
        task = asyncio.create_task(asyncio.sleep(0))
        assert set(dir(task)) >= WAITING_FIELDS
        gathered = asyncio.gather(task, asyncio.sleep(0))
        assert getattr(gathered, "_children")[0] is task  # noqa: B009 - typeshed has no such name
        await gathered

    asyncios_loop.run_until_complete(gather())
    assert "self._parent_task = " in inspect.getsource(asyncio.TaskGroup)


def test_the_names_that_are_only_looked_at() -> None:
    assert issubclass(transports._FlowControlMixin, asyncio.Transport)
    assert constants._SendfileMode.TRY_NATIVE
    assert asyncio._get_running_loop() is None
    assert sys.version_info < (3, 14) or issubclass(events._ThreadSafeHandle, asyncio.Handle)
    states = sslproto.SSLProtocolState.__members__
    assert {"WRAPPED", "UNWRAPPED", "FLUSHING", "DO_HANDSHAKE", "SHUTDOWN"} <= set(states)
    assert "STATE_CON_MADE" in sslproto.AppProtocolState.__members__
