"""getaddrinfo and getnameinfo answer as the socket module does."""

from __future__ import annotations

import asyncio
import concurrent.futures
import socket

import pytest

from .helpers import Recorder, address_of, finish, serving

STREAM = socket.SOCK_STREAM
QUERIES = [
    (("127.0.0.1", 80), {}),
    (("127.0.0.1", 80), {"type": STREAM}),
    (("127.0.0.1", "80"), {"type": STREAM, "proto": socket.IPPROTO_TCP}),
    ((b"127.0.0.1", b"80"), {"type": STREAM}),
    (("127.0.0.1", None), {"type": STREAM}),
    (("127.0.0.1", 0), {"type": socket.SOCK_DGRAM}),
    (("127.0.0.1", "http"), {"type": STREAM}),
    (("127.1", 80), {"type": STREAM}),
    (("0.0.0.0", 80), {"family": socket.AF_INET, "type": STREAM}),
    (("::1", 80), {"type": STREAM}),
    (("::1", 80), {"family": socket.AF_INET6, "type": STREAM}),
    (("fe80::1%lo", 80), {"type": STREAM}),
    (("::ffff:127.0.0.1", 80), {"type": STREAM}),
    ((None, 80), {"type": STREAM}),
    ((None, 80), {"type": STREAM, "flags": socket.AI_PASSIVE}),
    (("", 80), {"type": STREAM, "flags": socket.AI_PASSIVE}),
    (("localhost", 80), {"type": STREAM, "family": socket.AF_INET}),
    (("127.0.0.1", 80), {"type": STREAM, "flags": socket.AI_CANONNAME}),
    (("127.0.0.1", 65536), {"type": STREAM}),
    (("127.0.0.1", 80), {"family": socket.AF_INET6, "type": STREAM}),
    (("not.a.number", 80), {"flags": socket.AI_NUMERICHOST}),
    (("127.0.0.1", "no-such-service"), {"type": STREAM}),
    ((None, None), {}),
]


def answer_of(function, *args, **kwargs):
    """What a look-up gives: its result, or the type and number of its error."""
    try:
        return sorted(function(*args, **kwargs))
    except OSError as error:
        return type(error), error.errno


@pytest.mark.parametrize(("args", "options"), QUERIES, ids=lambda value: str(value).replace(" ", ""))
async def test_getaddrinfo(loop, args, options):
    expected = answer_of(socket.getaddrinfo, *args, **options)
    try:
        found = sorted(await loop.getaddrinfo(*args, **options))
    except OSError as error:
        found = type(error), error.errno
    assert found == expected


@pytest.mark.parametrize(
    ("address", "flags"),
    [
        (("127.0.0.1", 80), 0),
        (("127.0.0.1", 80), socket.NI_NUMERICHOST | socket.NI_NUMERICSERV),
        (("::1", 80), socket.NI_NUMERICHOST | socket.NI_NUMERICSERV),
        (("::1", 80, 0, 0), socket.NI_NUMERICHOST),
        (("127.0.0.1", 53), socket.NI_DGRAM | socket.NI_NUMERICHOST),
    ],
    ids=str,
)
async def test_getnameinfo(loop, address, flags):
    assert await loop.getnameinfo(address, flags) == socket.getnameinfo(address, flags)


async def test_getnameinfo_needs_a_numeric_address(loop):
    with pytest.raises(OSError):
        await loop.getnameinfo(("not a host", 80))


async def test_many_look_ups_at_once(loop):
    results = await asyncio.gather(*[loop.getaddrinfo("127.0.0.1", port, type=STREAM) for port in range(1, 101)])
    assert [result[0][4] for result in results] == [("127.0.0.1", port) for port in range(1, 101)]


class NoThreads(concurrent.futures.ThreadPoolExecutor):
    """Refuses all work."""

    def submit(self, *args, **kwargs):
        raise AssertionError("a numeric host must not be looked up in a thread")


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_a_numeric_host_is_connected_to_without_a_thread(loop, host):
    loop.set_default_executor(NoThreads())
    async with serving(host=host) as (server, _):
        _, client = await loop.create_connection(Recorder, *address_of(server))
        await finish(client)
