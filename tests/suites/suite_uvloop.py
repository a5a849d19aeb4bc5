"""uvloop's tests of an event loop: TCP, TLS, UDP, UNIX sockets, pipes, processes, signals, contexts.

Most are classes of tests that uvloop runs twice: on asyncio's loop, made by ``asyncio.new_event_loop()``, and on its
own, made by a method that injected/uvloop_plugin.py replaces. Both run here on the loop under test. Those that look
into uvloop's insides fail on every other loop, and so say nothing of netloop.
"""

from __future__ import annotations

from suites.suite import Suite

__all__ = ["SUITE"]

SUITE = Suite(
    name="uvloop",
    version="0.23.0",
    requirements=("aiohttp==3.14.5", "psutil==7.2.2", "pyOpenSSL==26.4.0", "pytest==9.2.0"),
    content=("tests", "pyproject.toml"),
    modules=("tests/test_*.py",),
    options=("-p", "uvloop_plugin"),
    left_out={
        "tests/test_sockets.py::TestUVSockets::test_socket_connect_and_close": "hangs on asyncio's loop",
        "tests/test_tcp.py::Test_UV_TCPSSL::test_shutdown_timeout_handler_not_set": "hangs on asyncio's loop",
        "tests/test_tcp.py::Test_UV_TCPSSL::test_start_tls_client_buf_proto_1": "hangs on asyncio's loop",
        "tests/test_cython.py": "of uvloop's sources",
        "tests/test_libuv_api.py": "of libuv",
        "tests/test_runner.py": "of uvloop.run()",
        "tests/test_sourcecode.py": "of the style of uvloop's sources",
        "tests/test_testbase.py": "of what the other tests are made with",
    },
    expected={
        "tests/test_tcp.py::Test_UV_TCP::test_transport_get_extra_info": (
            "it reads private attributes of asyncio's transport, _paused and _closing, beside is_reading()"
        ),
    },
)
