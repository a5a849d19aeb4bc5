"""Which of CPython's tests are run, and the few of them that netloop is not expected to pass.

Tests of other things than an event loop's behaviour are left out by class, each with the reason. What is left is run,
and what asyncio's own loop passes there netloop must pass, but for the lines of EXPECTED_FAILURES. Each of those says
why the test speaks of the selector loop's insides and not of what a program would notice; one that passes after all is
an error, and so is one that no longer exists.
"""

from __future__ import annotations

import sys
from typing import NamedTuple

__all__ = ["EXPECTED_FAILURES", "LEFT_OUT", "MODULES", "Expectation", "expected_failures"]

MODULES = (
    "test_base_events", "test_buffered_proto", "test_context", "test_eager_task_factory", "test_events",
    "test_free_threading", "test_futures", "test_futures2", "test_graph", "test_locks", "test_pep492", "test_protocols",
    "test_queues", "test_runners", "test_sendfile", "test_server", "test_server_context", "test_sock_lowlevel",
    "test_ssl", "test_sslproto", "test_staggered", "test_streams", "test_subprocess", "test_taskgroups", "test_tasks",
    "test_threads", "test_timeouts", "test_tools", "test_transports", "test_unix_events", "test_waitfor",
)  # fmt: skip

_SAME_LOOP = "the same tests with another selector, of which netloop has none"
_SIGNAL = "puts a mock in place of what asyncio.unix_events imports, and counts the calls"
_SOCKET = "puts mocks in place of sockets, which the kernel does not take"
_ACCEPT = "calls the method by which the selector loop accepts"
_WATCHER = "looks into the child watcher of asyncio's own loop; netloop has none"
_PAUSED = "waits for an attribute of the selector loop's transports, for ever where it is not there"
_SENDFILE = "calls the method by which the selector loop calls os.sendfile()"

# module → class or test → why it is left out
LEFT_OUT: dict[str, dict[str, str]] = {
    "test_events": {"SelectEventLoopTests": _SAME_LOOP, "PollEventLoopTests": _SAME_LOOP},
    "test_sendfile": {"SelectEventLoopTests": _SAME_LOOP, "PollEventLoopTests": _SAME_LOOP},
    "test_sock_lowlevel": {"SelectEventLoopTests": _SAME_LOOP, "PollEventLoopTests": _SAME_LOOP},
    # What it is about is asked of every loop by tests/loop/test_context.py.
    "test_server_context": {"AsyncioEventLoopTests.test_gh140947": _PAUSED},
    "test_sslproto": {"SslProtoHandshakeTests.test_connection_lost_when_busy": _SOCKET},
    "test_subprocess": {
        "SubprocessPidfdWatcherTests.test_watcher_implementation": _WATCHER,
        "SubprocessThreadedWatcherTests.test_pid_not_reaped_before_exit_published": _WATCHER,
        "SubprocessThreadedWatcherTests.test_watcher_implementation": _WATCHER,
    },
    "test_unix_events": {
        "SelectorEventLoopSignalTests": _SIGNAL,
        "SelectorEventLoopUnixSocketTests.test_create_unix_server_bind_error": _SIGNAL,
        "SelectorEventLoopUnixSockSendfileTests.test_sock_sendfile_not_available": _SENDFILE,
        "SelectorEventLoopUnixSockSendfileTests.test_sock_sendfile_cancel1": _SENDFILE,
        "SelectorEventLoopUnixSockSendfileTests.test_sock_sendfile_cancel2": _SENDFILE,
        "SelectorEventLoopUnixSockSendfileTests.test_sock_sendfile_blocking_error": _SENDFILE,
        "SelectorEventLoopUnixSockSendfileTests.test_sock_sendfile_os_error_first_call": _SENDFILE,
        "SelectorEventLoopUnixSockSendfileTests.test_sock_sendfile_os_error_next_call": _SENDFILE,
        "SelectorEventLoopUnixSockSendfileTests.test_sock_sendfile_exception": _SENDFILE,
    },
    "test_base_events": {
        "BaseEventLoopWithSelectorTests.test_accept_connection_exception": _ACCEPT,
        "BaseEventLoopWithSelectorTests.test_accept_connection_retry": _ACCEPT,
        "BaseEventLoopWithSelectorTests.test_create_connection_bluetooth": _SOCKET,
        "BaseEventLoopWithSelectorTests.test_create_connection_happy_eyeballs_empty_exceptions": _SOCKET,
        "BaseEventLoopWithSelectorTests.test_create_connection_ip_addr": _SOCKET,
        "BaseEventLoopWithSelectorTests.test_create_connection_ipv6_scope": _SOCKET,
        "BaseEventLoopWithSelectorTests.test_create_connection_no_inet_pton": _SOCKET,
        "BaseEventLoopWithSelectorTests.test_create_connection_service_name": _SOCKET,
        "BaseEventLoopWithSelectorTests.test_create_server_soreuseport_only_defined": _SOCKET,
    },
}


class Expectation(NamedTuple):
    """A test that may fail: ``MODULE.CLASS.TEST``, in the versions of Python that are named."""

    test: str
    versions: tuple[tuple[int, int], ...]
    reason: str


EXPECTED_FAILURES = (
    Expectation(
        "test_events.EPollEventLoopTests.test_internal_fds",
        ((3, 11), (3, 12), (3, 13), (3, 14), (3, 15)),
        "it looks into the socket pair by which the selector loop is woken, and skips itself on every other loop",
    ),
    Expectation(
        "test_subprocess.GenericWatcherTests.test_create_subprocess_fails_with_inactive_watcher",
        ((3, 11), (3, 12), (3, 13)),
        "netloop needs no child watcher, so one that is not active is no obstacle",
    ),
)


def expected_failures(module: str) -> dict[str, str]:
    """The tests of a module that are expected to fail on this version of Python, and why."""
    prefix = module + "."
    return {
        line.test.removeprefix(prefix): line.reason
        for line in EXPECTED_FAILURES
        if line.test.startswith(prefix) and sys.version_info[:2] in line.versions
    }
