"""create_server and the Server object."""

from __future__ import annotations

import asyncio
import errno
import socket
import sys

import pytest

from .helpers import (
    HOST,
    Echo,
    Recorder,
    address_of,
    connected,
    eventually,
    finish,
    first,
    peer_of,
    serving,
    stop,
    turns,
)


async def answers(address) -> bool:
    """Whether an echo server at the address answers."""
    loop = asyncio.get_running_loop()
    _, client = await loop.create_connection(Recorder, *address)
    client.transport.write(b"ping")
    answer = await client.until_received(4)
    await finish(client)
    return answer == b"ping"


async def test_port_zero_gives_a_free_port(loop):
    async with serving(Echo) as (server, _):
        host, port = address_of(server)
        assert host == HOST and port > 0
        assert await answers((host, port))


async def test_a_socket_of_ones_own(loop):
    sock = socket.socket()
    sock.bind((HOST, 0))
    async with serving(Echo, sock=sock) as (server, _):
        assert address_of(server) == sock.getsockname()
        assert await answers(sock.getsockname())


async def test_a_listening_socket_of_ones_own(loop):
    sock = socket.create_server((HOST, 0))
    async with serving(Echo, sock=sock) as (server, _):
        assert await answers(address_of(server))


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
async def test_hosts(loop, host):
    async with serving(Echo, host=host) as (server, _):
        for sock in server.sockets:
            assert await answers(sock.getsockname()[:2])


@pytest.mark.parametrize("host", [None, ""])
async def test_no_host_means_every_interface(loop, host):
    async with serving(Echo, host=host) as (server, _):
        families = {sock.family: sock.getsockname()[1] for sock in server.sockets}
        assert await answers(("127.0.0.1", families[socket.AF_INET]))
        assert await answers(("::1", families[socket.AF_INET6]))


async def test_several_hosts(loop):
    async with serving(Echo, host=["127.0.0.1", "127.0.0.2", "::1"]) as (server, _):
        assert {sock.getsockname()[0] for sock in server.sockets} == {"127.0.0.1", "127.0.0.2", "::1"}
        for sock in server.sockets:
            assert await answers(sock.getsockname()[:2])


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
async def test_family_limits_the_addresses(loop, family):
    async with serving(host=None, family=family) as (server, _):
        assert {sock.family for sock in server.sockets} == {family}


async def test_an_ipv6_server_does_not_take_the_ipv4_port(loop):
    async with serving(Echo, host="::") as (server, _):
        port = address_of(server)[1]
        with pytest.raises(ConnectionRefusedError):
            await loop.create_connection(Recorder, HOST, port)


async def test_reuse_port_lets_two_servers_share_a_port(loop):
    async with serving(Echo, reuse_port=True) as (server, _):
        port = address_of(server)[1]
        async with serving(Echo, port=port, reuse_port=True):
            assert await answers((HOST, port))


async def test_a_port_in_use(loop):
    async with serving() as (server, _):
        with pytest.raises(OSError) as caught:
            await loop.create_server(Recorder, *address_of(server))
        assert caught.value.errno == errno.EADDRINUSE
        assert str(address_of(server)[1]) in str(caught.value)


async def test_a_small_backlog(loop):
    async with serving(backlog=7) as (server, _):
        with peer_of(server), peer_of(server):
            await turns()


async def test_start_serving_false_waits_for_start_serving(loop):
    async with serving(Echo, start_serving=False) as (server, _):
        assert not server.is_serving()
        with pytest.raises(ConnectionRefusedError):
            await loop.create_connection(Recorder, *address_of(server))
        await server.start_serving()
        await server.start_serving()
        assert server.is_serving()
        assert await answers(address_of(server))


@pytest.mark.parametrize(
    "options",
    [{"host": HOST, "port": 0, "sock": True}, {}, {"host": HOST, "port": 0, "ssl_handshake_timeout": 1}],
    ids=["host and sock", "neither", "handshake timeout without ssl"],
)
async def test_options_that_contradict(loop, options):
    with socket.socket() as sock, pytest.raises(ValueError):
        await loop.create_server(Recorder, **{**options, **({"sock": sock} if "sock" in options else {})})


async def test_a_datagram_socket_is_refused(loop):
    with socket.socket(type=socket.SOCK_DGRAM) as sock, pytest.raises(ValueError, match=r"[Ss]tream"):
        await loop.create_server(Recorder, sock=sock)


async def test_ssl_must_be_a_context(loop):
    with pytest.raises(TypeError):
        await loop.create_server(Recorder, HOST, 0, ssl=True)


async def test_sockets_and_states(loop):
    server = await loop.create_server(Recorder, HOST, 0)
    assert server.get_loop() is loop
    assert server.is_serving()
    [sock] = server.sockets
    assert sock.family == socket.AF_INET
    assert sock.type == socket.SOCK_STREAM
    assert sock.getsockname()[0] == HOST
    assert sock.fileno() >= 0
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR) == 1
    server.close()
    assert not server.is_serving()
    assert not server.sockets
    server.close()
    await server.wait_closed()


async def test_a_closed_server_accepts_nobody(loop):
    server = await loop.create_server(Recorder, HOST, 0)
    address = address_of(server)
    await stop(server)
    await turns()
    with pytest.raises(ConnectionRefusedError):
        await loop.create_connection(Recorder, *address)


@pytest.mark.parametrize("before", ["nothing", "a connection", "a connection closed by the client"])
async def test_the_port_can_be_bound_again_at_once(loop, before):
    port = 0
    for _ in range(5):
        async with serving(Echo, port=port) as (server, protocols):
            port = address_of(server)[1]
            if before != "nothing":
                _, client = await loop.create_connection(Recorder, HOST, port)
                await first(protocols)
                if before == "a connection closed by the client":
                    client.transport.close()
                    await client.lost
        if before == "a connection":
            await finish(client)
    server = await loop.create_server(Echo, HOST, port)
    await stop(server)


async def test_closing_the_server_keeps_its_connections(loop):
    async with serving(Echo) as (server, protocols):
        _, client = await loop.create_connection(Recorder, *address_of(server))
        await first(protocols)
        server.close()
        client.transport.write(b"still")
        assert await client.until_received(5) == b"still"
        await finish(client)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="wait_closed waits for connections from Python 3.12 on")
async def test_wait_closed_waits_for_the_connections(loop):
    async with serving(Echo) as (server, protocols):
        _, client = await loop.create_connection(Recorder, *address_of(server))
        await first(protocols)
        server.close()
        waiting = asyncio.create_task(server.wait_closed())
        await asyncio.sleep(0.01)
        assert not waiting.done()
        client.transport.close()
        await client.lost
        await waiting


@pytest.mark.skipif(sys.version_info < (3, 13), reason="Server.close_clients is new in Python 3.13")
@pytest.mark.parametrize("how", ["close_clients", "abort_clients"])
async def test_a_server_can_end_its_connections(loop, how):
    async with serving(Echo) as (server, protocols):
        clients = [(await loop.create_connection(Recorder, *address_of(server)))[1] for _ in range(5)]
        await eventually(lambda: len(protocols) == 5)
        server.close()
        getattr(server, how)()
        await server.wait_closed()
        for client in clients:
            await client.lost
        for protocol in protocols:
            await protocol.lost


@pytest.mark.skipif(sys.version_info < (3, 13), reason="create_server takes keep_alive from Python 3.13 on")
async def test_keep_alive(loop):
    async with serving(keep_alive=True) as (server, _):
        assert server.sockets[0].getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    async with serving(keep_alive=False) as (server, _):
        assert server.sockets[0].getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 0


async def test_serve_forever_ends_with_its_task(loop):
    server = await loop.create_server(Echo, HOST, 0, start_serving=False)
    task = asyncio.create_task(server.serve_forever())
    await turns()
    assert server.is_serving()
    assert await answers(address_of(server))
    with pytest.raises(RuntimeError, match="already"):
        await server.serve_forever()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not server.is_serving()
    with pytest.raises(RuntimeError, match="closed"):
        await server.serve_forever()


async def test_a_server_is_a_context_manager(loop):
    async with await loop.create_server(Echo, HOST, 0) as server:
        assert await answers(address_of(server))
    assert not server.is_serving()


async def test_two_hundred_connections_at_once(loop):
    async with serving(Echo) as (server, protocols):
        made = await asyncio.gather(*[loop.create_connection(Recorder, *address_of(server)) for _ in range(200)])
        clients = [client for _, client in made]
        for number, client in enumerate(clients):
            client.transport.write(b"%05d" % number)
        for number, client in enumerate(clients):
            assert await client.until_received(5) == b"%05d" % number
        assert len(protocols) == 200
        assert len({protocol.transport.get_extra_info("peername") for protocol in protocols}) == 200
        await finish(*clients)


async def test_connections_made_before_serving_began_are_served(loop):
    with socket.create_server((HOST, 0), backlog=50) as listening:
        peers = [socket.create_connection(listening.getsockname()) for _ in range(20)]
        for number, peer in enumerate(peers):
            peer.sendall(b"%d" % number)
        async with serving(Echo, sock=listening.dup()) as (_, protocols):
            await eventually(lambda: len(protocols) == 20)
            for number, peer in enumerate(peers):
                assert await asyncio.to_thread(peer.recv, 10) == b"%d" % number
        for peer in peers:
            peer.close()


async def test_nodelay_is_on_both_ends(loop):
    async with connected() as (client, server):
        for protocol in (client, server):
            sock = protocol.transport.get_extra_info("socket")
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
