"""Arguments that create_connection, create_server and their kin cannot take, and what asyncio says to each."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket

import pytest

from .helpers import HOST, unused_port
from .parity import answer_of_running_loop, compare, expressions

# asyncio's words are the standard here, and uvloop has words of its own throughout.
pytestmark = pytest.mark.loops("asyncio", "netloop")

CONNECT = expressions("""
    loop.create_connection(Protocol)
    loop.create_connection(Protocol, 'localhost')
    loop.create_connection(Protocol, port=1)
    loop.create_connection(Protocol, HOST, 1, sock=tcp)
    loop.create_connection(Protocol, HOST, sock=tcp)
    loop.create_connection(Protocol, port=1, sock=tcp)
    loop.create_connection(Protocol, sock=udp)
    loop.create_connection(Protocol, sock=unix_packets)
    loop.create_connection(Protocol, sock=closed)
    loop.create_connection(Protocol, sock=tls_socket)
    loop.create_connection(Protocol, sock=tcp)
    loop.create_connection(Protocol, sock=blocking)
    loop.create_connection(Protocol, sock=1)
    loop.create_connection(Protocol, HOST, unused)
    loop.create_connection(Protocol, HOST, -1)
    loop.create_connection(Protocol, HOST, 70000)
    loop.create_connection(Protocol, HOST, 'no such service')
    loop.create_connection(Protocol, 5, 1)
    loop.create_connection(Protocol, HOST, unused, family=socket.AF_INET6)
    loop.create_connection(Protocol, HOST, unused, family=socket.AF_UNIX)
    loop.create_connection(Protocol, HOST, unused, family=99)
    loop.create_connection(Protocol, HOST, unused, proto=socket.IPPROTO_UDP)
    loop.create_connection(Protocol, HOST, unused, flags=-1)
    loop.create_connection(None, HOST, port)
    loop.create_connection(Protocol, HOST, unused, all_errors=True)
    loop.create_connection(Protocol, HOST, unused, local_addr=1)
    loop.create_connection(Protocol, HOST, unused, local_addr=(HOST,))
    loop.create_connection(Protocol, HOST, unused, local_addr=('::1', 0))
    loop.create_connection(Protocol, HOST, unused, local_addr=(HOST, port))
    loop.create_connection(Protocol, HOST, unused, local_addr=('192.0.2.1', 0))
    loop.create_connection(Protocol, HOST, unused, local_addr=(HOST, port), all_errors=True)
    loop.create_connection(Protocol, HOST, unused, server_hostname='name')
    loop.create_connection(Protocol, HOST, unused, ssl=False, server_hostname='name')
    loop.create_connection(Protocol, HOST, unused, ssl_handshake_timeout=1)
    loop.create_connection(Protocol, HOST, unused, ssl_shutdown_timeout=1)
    loop.create_connection(Protocol, sock=tcp, ssl=client_tls)
    loop.create_connection(Protocol, '', unused, ssl=client_tls)
    loop.create_connection(Protocol, HOST, port, ssl='context')
    loop.create_connection(Protocol, HOST, port, ssl=client_tls, server_hostname=1)
    loop.create_connection(Protocol, HOST, port, ssl=client_tls, server_hostname='')
    loop.create_connection(Protocol, HOST, port, ssl=server_tls, server_hostname='name')
    loop.create_connection(Protocol, HOST, port, ssl=client_tls, ssl_handshake_timeout=0)
    loop.create_connection(Protocol, HOST, port, ssl=client_tls, ssl_handshake_timeout=-1)
    loop.create_connection(Protocol, HOST, port, ssl=client_tls, ssl_shutdown_timeout=0)
    loop.create_connection(Protocol, HOST, port, ssl=client_tls, ssl_handshake_timeout='1')
    loop.create_connection(Protocol, HOST, unused, happy_eyeballs_delay=0.1)
    loop.create_connection(Protocol, HOST, unused, happy_eyeballs_delay=-1)
    loop.create_connection(Protocol, HOST, unused, happy_eyeballs_delay=0.1, interleave=0)
    loop.create_connection(Protocol, HOST, unused, interleave=2)
    loop.create_connection(Protocol, HOST, unused, interleave=-1)
    loop.create_connection(Protocol, HOST, unused, interleave='1')
    loop.create_connection(Protocol, HOST, unused, happy_eyeballs_delay=0.1, all_errors=True)
    loop.connect_accepted_socket(Protocol, udp)
    loop.connect_accepted_socket(Protocol, unix_packets)
    loop.connect_accepted_socket(Protocol, closed)
    loop.connect_accepted_socket(Protocol, None)
    loop.connect_accepted_socket(Protocol, tcp, ssl_handshake_timeout=1)
    loop.connect_accepted_socket(Protocol, tcp, ssl_shutdown_timeout=1)
    loop.connect_accepted_socket(Protocol, tls_socket)
    loop.connect_accepted_socket(Protocol, tcp, ssl=1)
    asyncio.open_connection(HOST, unused)
    asyncio.open_connection(HOST, port, limit=0)
    asyncio.open_connection(HOST, port, limit=-1)
    asyncio.open_connection(HOST, port, limit='1')
""")

SERVE = expressions("""
    loop.create_server(Protocol)
    loop.create_server(Protocol, HOST, 0, sock=tcp)
    loop.create_server(Protocol, HOST, sock=tcp)
    loop.create_server(Protocol, port=0, sock=tcp)
    loop.create_server(Protocol, sock=udp)
    loop.create_server(Protocol, sock=unix_packets)
    loop.create_server(Protocol, sock=closed)
    loop.create_server(Protocol, sock=tls_socket)
    loop.create_server(Protocol, sock=1)
    loop.create_server(Protocol, HOST, port)
    loop.create_server(Protocol, HOST, -1)
    loop.create_server(Protocol, HOST, 70000)
    loop.create_server(Protocol, HOST, 'no such service')
    loop.create_server(Protocol, 1, 0)
    loop.create_server(Protocol, [], 0)
    loop.create_server(Protocol, [1], 0)
    loop.create_server(Protocol, [HOST, HOST], 0)
    loop.create_server(Protocol, [HOST, None], 0)
    loop.create_server(Protocol, '192.0.2.1', 0)
    loop.create_server(Protocol, HOST, 0, family=socket.AF_INET6)
    loop.create_server(Protocol, HOST, 0, family=socket.AF_UNIX)
    loop.create_server(Protocol, HOST, 0, ssl=True)
    loop.create_server(Protocol, HOST, 0, ssl=False)
    loop.create_server(Protocol, HOST, 0, ssl=1)
    loop.create_server(Protocol, HOST, 0, ssl_handshake_timeout=1)
    loop.create_server(Protocol, HOST, 0, ssl_shutdown_timeout=1)
    loop.create_server(Protocol, HOST, 0, ssl=server_tls, ssl_handshake_timeout=0)
    loop.create_server(Protocol, HOST, 0, backlog=-1)
    loop.create_server(Protocol, HOST, 0, backlog=0)
    loop.create_server(Protocol, HOST, 0, backlog='1')
    loop.create_server(Protocol, HOST, 0, backlog=None)
    loop.create_server(Protocol, HOST, 0, reuse_port=1)
    loop.create_server(Protocol, HOST, 0, reuse_address=1)
    loop.create_server(Protocol, sock=unix, reuse_port=True)
    loop.create_server(None, HOST, 0)
    asyncio.start_server(None, HOST, 0)
    asyncio.start_server(print, HOST, 0, limit=0)
    asyncio.start_server(print, HOST, port)
    (s := await loop.create_server(Protocol, HOST, 0), s.close(), await s.start_serving())
    (s := await loop.create_server(Protocol, HOST, 0), s.close(), await s.serve_forever())
    (s := await loop.create_server(Protocol, HOST, 0), s.close(), s.close(), s.sockets, s.is_serving())
    (s := await loop.create_server(Protocol, HOST, 0), s.sockets[0].accept())
    (s := await loop.create_server(Protocol, HOST, 0), s.sockets[0].setblocking(True))
    (s := await loop.create_server(Protocol, HOST, 0), s.sockets[0].settimeout(1))
    (s := await loop.create_server(Protocol, HOST, 0), s.sockets[0].recv(1))
    (s := await loop.create_server(Protocol, HOST, 0), s.sockets[0].close())
    (s := await loop.create_server(Protocol, HOST, 0, start_serving=False), s.is_serving(), repr(s))
    (s := await loop.create_server(Protocol, HOST, 0), s.close(), repr(s))
""")

UNIX = expressions("""
    loop.create_unix_connection(Protocol)
    loop.create_unix_connection(Protocol, path, sock=unix)
    loop.create_unix_connection(Protocol, sock=tcp)
    loop.create_unix_connection(Protocol, sock=udp)
    loop.create_unix_connection(Protocol, sock=unix_datagram)
    loop.create_unix_connection(Protocol, sock=unix_packets)
    loop.create_unix_connection(Protocol, sock=closed)
    loop.create_unix_connection(Protocol, sock=tls_socket)
    loop.create_unix_connection(Protocol, sock=1)
    loop.create_unix_connection(Protocol, path)
    loop.create_unix_connection(Protocol, 1)
    loop.create_unix_connection(Protocol, 'x' * 200)
    loop.create_unix_connection(Protocol, 'with\\0zero')
    loop.create_unix_connection(Protocol, '')
    loop.create_unix_connection(Protocol, path, ssl=client_tls)
    loop.create_unix_connection(Protocol, path, server_hostname='name')
    loop.create_unix_connection(Protocol, path, server_hostname=1)
    loop.create_unix_connection(Protocol, path, ssl_handshake_timeout=1)
    loop.create_unix_connection(Protocol, path, ssl_shutdown_timeout=1)
    loop.create_unix_connection(Protocol, path, ssl=client_tls, server_hostname=1)
    loop.create_unix_server(Protocol)
    loop.create_unix_server(Protocol, path, sock=unix)
    loop.create_unix_server(Protocol, sock=tcp)
    loop.create_unix_server(Protocol, sock=unix_datagram)
    loop.create_unix_server(Protocol, sock=unix_packets)
    loop.create_unix_server(Protocol, sock=closed)
    loop.create_unix_server(Protocol, sock=1)
    loop.create_unix_server(Protocol, sock=unix)
    loop.create_unix_server(Protocol, 1)
    loop.create_unix_server(Protocol, 'x' * 200)
    loop.create_unix_server(Protocol, folder)
    loop.create_unix_server(Protocol, folder + '/missing/socket')
    loop.create_unix_server(Protocol, path, ssl=True)
    loop.create_unix_server(Protocol, path, ssl=1)
    loop.create_unix_server(Protocol, path, ssl_handshake_timeout=1)
    loop.create_unix_server(Protocol, path, ssl_shutdown_timeout=1)
    loop.create_unix_server(Protocol, path, backlog=-1)
    asyncio.open_unix_connection(path)
    asyncio.start_unix_server(None, path)
""")

DATAGRAM = expressions("""
    loop.create_datagram_endpoint(DatagramProtocol)
    loop.create_datagram_endpoint(DatagramProtocol, sock=tcp)
    loop.create_datagram_endpoint(DatagramProtocol, sock=closed)
    loop.create_datagram_endpoint(DatagramProtocol, sock=1)
    loop.create_datagram_endpoint(DatagramProtocol, sock=udp, local_addr=(HOST, 0))
    loop.create_datagram_endpoint(DatagramProtocol, (HOST, 0), sock=udp, reuse_port=True, allow_broadcast=True)
    loop.create_datagram_endpoint(DatagramProtocol, remote_addr=(HOST, 1), sock=udp, family=1, proto=2, flags=3)
    loop.create_datagram_endpoint(DatagramProtocol, 'address')
    loop.create_datagram_endpoint(DatagramProtocol, (HOST,))
    loop.create_datagram_endpoint(DatagramProtocol, (HOST, 0, 0))
    loop.create_datagram_endpoint(DatagramProtocol, [HOST, 0])
    loop.create_datagram_endpoint(DatagramProtocol, HOST)
    loop.create_datagram_endpoint(DatagramProtocol, (HOST, 70000))
    loop.create_datagram_endpoint(DatagramProtocol, (1, 0))
    loop.create_datagram_endpoint(DatagramProtocol, ('192.0.2.1', 0))
    loop.create_datagram_endpoint(DatagramProtocol, (HOST, 0), ('::1', 1))
    loop.create_datagram_endpoint(DatagramProtocol, remote_addr=(HOST, 0))
    loop.create_datagram_endpoint(DatagramProtocol, remote_addr=(HOST, -1))
    loop.create_datagram_endpoint(DatagramProtocol, remote_addr='name')
    loop.create_datagram_endpoint(DatagramProtocol, (HOST, 0), family=socket.AF_INET6)
    loop.create_datagram_endpoint(DatagramProtocol, family=socket.AF_INET)
    loop.create_datagram_endpoint(DatagramProtocol, family=99)
    loop.create_datagram_endpoint(DatagramProtocol, path, family=socket.AF_INET)
    loop.create_datagram_endpoint(DatagramProtocol, (HOST, 0), family=socket.AF_UNIX)
    loop.create_datagram_endpoint(DatagramProtocol, 1, family=socket.AF_UNIX)
    loop.create_datagram_endpoint(DatagramProtocol, remote_addr=path, family=socket.AF_UNIX)
    loop.create_datagram_endpoint(DatagramProtocol, folder, family=socket.AF_UNIX)
    loop.create_datagram_endpoint(DatagramProtocol, (HOST, 0), proto=socket.IPPROTO_TCP)
    loop.create_datagram_endpoint(DatagramProtocol, (HOST, 0), reuse_port=1)
    loop.create_datagram_endpoint(DatagramProtocol, (HOST, 0), reuse_address=True)
    loop.create_datagram_endpoint(DatagramProtocol, (HOST, udp_port))
    loop.create_datagram_endpoint(None, (HOST, 0))
    loop.create_datagram_endpoint(lambda: 1 / 0, (HOST, 0))
""")


@contextlib.asynccontextmanager
async def connection_scene(loop, folder):
    """A listening port, a UDP port in use, a port where nobody listens, and paths."""
    with socket.create_server((HOST, 0)) as listening, socket.socket(type=socket.SOCK_DGRAM) as udp:
        udp.bind((HOST, 0))
        yield {
            "HOST": HOST,
            "port": listening.getsockname()[1],
            "udp_port": udp.getsockname()[1],
            "unused": unused_port(),
            "folder": str(folder),
            "path": os.path.join(folder, "socket"),
        }


@pytest.fixture
def check(new_loop, tmp_path):
    """Evaluates an expression on asyncio and on the loop under test, each amid files of its own, and compares."""

    def function(expression):
        answers = []
        for number, factory in enumerate((asyncio.SelectorEventLoop, None)):
            folder = tmp_path / str(number)
            folder.mkdir()
            loop = new_loop(factory)
            answer = answer_of_running_loop(
                loop, lambda loop, folder=folder: connection_scene(loop, folder), expression
            )
            answers.append([line.replace(str(folder), "") for line in answer])
        compare(answers[1], answers[0])

    return function


@pytest.mark.parametrize("expression", CONNECT)
def test_connecting(check, expression):
    check(expression)


@pytest.mark.parametrize("expression", SERVE)
def test_serving(check, expression):
    check(expression)


@pytest.mark.parametrize("expression", UNIX)
def test_unix_sockets(check, expression):
    check(expression)


@pytest.mark.parametrize("expression", DATAGRAM)
def test_datagram_endpoints(check, expression):
    check(expression)
