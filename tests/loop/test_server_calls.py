"""What a Server can be asked and told, and the less common arguments of create_connection."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys

import pytest

from .helpers import (
    HOST,
    Echo,
    Recorder,
    address_of,
    finish,
    first,
    listener,
    pattern,
    serving,
    unused_port,
)


async def test_a_server_knows_its_loop(loop):
    async with serving() as (server, _):
        assert server.get_loop() is loop


async def test_sockets_are_a_copy_and_gone_after_close(loop):
    async with serving(host=[HOST, "::1"]) as (server, _):
        found = server.sockets
        assert len(found) == 2
        assert all(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) for sock in found)
        server.close()
        assert tuple(server.sockets) == ()
        assert len(found) == 2


async def test_start_serving_twice_does_nothing(loop):
    async with serving(Echo, start_serving=False) as (server, _):
        assert not server.is_serving()
        await server.start_serving()
        await server.start_serving()
        assert server.is_serving()
        _, client = await loop.create_connection(Recorder, *address_of(server))
        await finish(client)


async def test_closing_ends_serve_forever(loop):
    server = await loop.create_server(Echo, HOST, 0)
    serving_task = asyncio.create_task(server.serve_forever())
    await asyncio.sleep(0.01)
    server.close()
    with pytest.raises(asyncio.CancelledError):
        await serving_task
    await server.wait_closed()


async def test_many_may_wait_for_a_server_to_be_closed(loop):
    async with serving() as (server, _):
        waiting = [asyncio.create_task(server.wait_closed()) for _ in range(5)]
        await asyncio.sleep(0)
        server.close()
        await asyncio.gather(*waiting)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="wait_closed waits from Python 3.12 on")
async def test_waiting_for_a_server_that_is_not_closed_waits(loop):
    async with serving() as (server, _):
        waiting = asyncio.create_task(server.wait_closed())
        await asyncio.sleep(0.01)
        assert not waiting.done()
        server.close()
        await waiting


@pytest.mark.skipif(sys.version_info < (3, 13), reason="Server.close_clients is new in Python 3.13")
async def test_close_clients_sends_what_was_written_and_abort_clients_does_not(loop):
    size = 4_000_000
    for how, whole in (("close_clients", True), ("abort_clients", False)):
        async with serving() as (server, protocols):
            _, client = await loop.create_connection(Recorder, *address_of(server))
            client.transport.pause_reading()
            protocol = await first(protocols)
            protocol.transport.write(pattern(size))
            server.close()
            getattr(server, how)()
            await asyncio.sleep(0.01)
            client.transport.resume_reading()
            await client.lost
            assert (client.data == pattern(size)) is whole
            await server.wait_closed()


async def test_a_server_on_many_hosts_has_one_socket_for_each(loop):
    async with serving(Echo, host=(HOST, "127.0.0.2", "127.0.0.3")) as (server, _):
        hosts = sorted(sock.getsockname()[0] for sock in server.sockets)
        assert hosts == [HOST, "127.0.0.2", "127.0.0.3"]
        for sock in server.sockets:
            _, client = await loop.create_connection(Recorder, *sock.getsockname())
            await finish(client)


@pytest.mark.parametrize("reuse", [True, False, None])
async def test_reuse_address_is_what_was_asked_for(loop, reuse):
    async with serving(reuse_address=reuse) as (server, _):
        found = server.sockets[0].getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
        assert bool(found) is (reuse is not False)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="all_errors is new in Python 3.12")
@pytest.mark.parametrize("options", [{}, {"happy_eyeballs_delay": 0.01}])
async def test_all_errors_are_told_in_a_group(loop, options):
    ports = [unused_port(), unused_port()]

    async def two_addresses(*args, **kwargs):
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (HOST, port)) for port in ports]

    loop.getaddrinfo = two_addresses
    with pytest.raises(ExceptionGroup) as caught:
        await loop.create_connection(Recorder, "two.example", 80, all_errors=True, **options)
    assert [type(error) for error in caught.value.exceptions] == [ConnectionRefusedError] * 2
    assert [str(port) in str(error) for port, error in zip(ports, caught.value.exceptions, strict=True)] == [True] * 2


async def test_happy_eyeballs_does_not_wait_for_an_address_that_hangs(loop):
    with contextlib.ExitStack() as stack:
        hanging = stack.enter_context(listener(backlog=0))
        for _ in range(4):  # fill the backlog, so that a further connection does not come about
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(hanging.getsockname())
        async with serving(Echo) as (server, _):
            addresses = [hanging.getsockname(), address_of(server)]

            async def two_addresses(*args, **kwargs):
                return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in addresses]

            loop.getaddrinfo = two_addresses
            _, client = await loop.create_connection(Recorder, "two.example", 80, happy_eyeballs_delay=0.02)
            assert client.transport.get_extra_info("peername") == address_of(server)
            await finish(client)


@pytest.mark.parametrize(("interleave", "order"), [(0, "4466"), (1, "4646"), (2, "4466")])
async def test_addresses_of_both_families_are_tried_in_turn(loop, interleave, order):
    port = unused_port()
    tried = []

    async def four_addresses(*args, **kwargs):
        four = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (HOST, port))] * 2
        six = [(socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", port, 0, 0))] * 2
        return four + six

    connect = loop.sock_connect

    async def noting(sock, address):
        tried.append("4" if sock.family == socket.AF_INET else "6")
        await connect(sock, address)

    loop.getaddrinfo = four_addresses
    loop.sock_connect = noting
    with pytest.raises(OSError):
        await loop.create_connection(Recorder, "four.example", port, interleave=interleave)
    assert "".join(tried) == order


async def test_a_local_address_of_the_wrong_family_is_passed_over(loop):
    async with serving(Echo) as (server, _):
        port = address_of(server)[1]

        async def both(host, *args, **kwargs):
            if host == "near.example":
                return [
                    (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", 0, 0, 0)),
                    (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.2", 0)),
                ]
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (HOST, port))]

        loop.getaddrinfo = both
        local = ("near.example", 0)
        _, client = await loop.create_connection(Recorder, "far.example", port, local_addr=local)
        assert client.transport.get_extra_info("sockname")[0] == "127.0.0.2"
        await finish(client)


def failing_once():
    """A factory of protocols that fails when it is called first."""
    calls = []

    def factory():
        calls.append(1)
        if len(calls) == 1:
            raise ZeroDivisionError("no protocol")
        return Echo()

    return factory


async def test_a_factory_that_fails_costs_one_connection(loop, exceptions):
    async with serving(failing_once()) as (server, protocols):
        _, client = await loop.create_connection(Recorder, *address_of(server))
        await client.lost
        _, client = await loop.create_connection(Recorder, *address_of(server))
        client.transport.write(b"next")
        assert await client.until_received(4) == b"next"
        assert len(protocols) == 1
        await finish(client)
    exceptions.take()


async def test_a_factory_that_fails_is_reported(loop, exceptions):
    async with serving(failing_once()) as (server, _):
        _, client = await loop.create_connection(Recorder, *address_of(server))
        await client.lost
    assert exceptions.take_types() == [ZeroDivisionError]
