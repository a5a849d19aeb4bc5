"""The public methods of a loop and of its transports take the arguments that asyncio's take, with the same defaults."""

from __future__ import annotations

import asyncio
import inspect
import os
import socket

import pytest

from .helpers import connected

LOOP_METHODS = sorted(
    name
    for name in dir(asyncio.SelectorEventLoop)
    if not name.startswith("_") and inspect.isfunction(getattr(asyncio.SelectorEventLoop, name))
)


def parameters_of(function):
    """Those that can be given by position, in their order, and those by keyword, each with its default."""
    found = [one for one in inspect.signature(function).parameters.values() if one.name != "self"]
    ordered = [(one.name, one.default) for one in found if one.kind is not inspect.Parameter.KEYWORD_ONLY]
    keywords = {(one.name, one.default) for one in found if one.kind is inspect.Parameter.KEYWORD_ONLY}
    return ordered, keywords


def takes_the_same(ours, theirs):
    """Is every call that one takes taken by the other? Ours may know more keywords."""
    (ordered, keywords), (wanted, wanted_keywords) = parameters_of(ours), parameters_of(theirs)
    return ordered == wanted and wanted_keywords <= keywords


@pytest.mark.parametrize("method", LOOP_METHODS)
def test_methods_of_a_loop(loop, loop_class, method):
    ours, theirs = getattr(loop_class, method), getattr(asyncio.SelectorEventLoop, method)
    assert takes_the_same(ours, theirs), f"{inspect.signature(ours)} is not {inspect.signature(theirs)}"


def test_no_public_attribute_is_missing(loop_class):
    theirs = {name for name in dir(asyncio.SelectorEventLoop) if not name.startswith("_")}
    assert theirs <= set(dir(loop_class))


def compare_methods(ours, theirs):
    """What a transport's class has, its counterpart has, with the same parameters."""
    public = [name for name in dir(theirs) if not name.startswith("_") and inspect.isfunction(getattr(theirs, name))]
    assert [name for name in public if not hasattr(ours, name)] == []
    assert [name for name in public if not takes_the_same(getattr(type(ours), name), getattr(theirs, name))] == []


async def test_methods_of_a_stream(loop):
    async with connected() as (client, _):
        compare_methods(client.transport, asyncio.selector_events._SelectorSocketTransport)


async def test_methods_of_a_datagram_transport(loop):
    transport, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, ("127.0.0.1", 0))
    try:
        methods = asyncio.selector_events._SelectorDatagramTransport
        compare_methods(transport, asyncio.DatagramTransport)
        assert takes_the_same(type(transport).sendto, methods.sendto)
    finally:
        transport.close()


async def test_methods_of_pipes(loop):
    reading, writing = os.pipe()
    with open(reading, "rb", 0) as source, open(writing, "wb", 0) as target:
        r, _ = await loop.connect_read_pipe(asyncio.Protocol, source)
        w, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, target)
        try:
            compare_methods(r, asyncio.ReadTransport)
            compare_methods(w, asyncio.WriteTransport)
        finally:
            w.close()
            r.close()
            await asyncio.sleep(0.01)


async def test_methods_of_a_transports_socket(loop):
    async with connected() as (client, server):
        for protocol in (client, server):
            sock = protocol.transport.get_extra_info("socket")
            assert isinstance(sock, asyncio.trsock.TransportSocket)
            assert {sock.family, sock.type} == {socket.AF_INET, socket.SOCK_STREAM}


@pytest.mark.parametrize("name", ["create_connection", "create_server", "create_unix_server", "create_unix_connection"])
async def test_an_unknown_argument_is_refused(loop, name):
    with pytest.raises(TypeError, match="no_such_argument"):
        await getattr(loop, name)(asyncio.Protocol, no_such_argument=1)
