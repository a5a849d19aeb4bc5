"""Calls that a transport of any kind cannot serve, and what asyncio says to each."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket

import pytest

from .certificates import NAME, client_context, server_context
from .helpers import HOST, address_of, serving
from .parity import answer_of_running_loop, compare, expressions, nothing

# asyncio's words are the standard here, and uvloop has words of its own throughout.
pytestmark = pytest.mark.loops("asyncio", "netloop")

STREAM = expressions("""
    t.write('text')
    t.write(None)
    t.write(1)
    t.write([b'list'])
    t.write(object())
    t.write()
    t.writelines(None)
    t.writelines(1)
    t.writelines('text')
    t.writelines(['text'])
    t.writelines([b'one', None])
    t.writelines(b'bytes')
    t.writelines([])
    t.writelines(iter(()))
    (t.write_eof(), t.write(b'late'))
    (t.write_eof(), t.write(b''))
    (t.write_eof(), t.write('text'))
    (t.write_eof(), t.writelines([b'late']))
    (t.write_eof(), t.writelines([]))
    (t.write_eof(), t.write_eof(), t.can_write_eof())
    (t.close(), t.write(b'late'), t.writelines([b'late']), t.write_eof())
    (t.close(), t.write('text'))
    (t.close(), t.close(), t.abort(), t.is_closing())
    (t.close(), t.pause_reading(), t.resume_reading(), t.is_reading())
    (t.abort(), t.write(b'late'), t.is_closing(), t.get_write_buffer_size())
    (t.close(), await asyncio.sleep(0.01), [t.write(b'late') for _ in range(8)])
    (t.close(), await asyncio.sleep(0.01), t.get_extra_info('peername') is None, t.get_write_buffer_size())
    (t.close(), await asyncio.sleep(0.01), t.get_write_buffer_limits(), t.get_protocol())
    (t.close(), await asyncio.sleep(0.01), t.set_write_buffer_limits(1), t.get_write_buffer_limits())
    (t.close(), await asyncio.sleep(0.01), t.is_reading(), t.can_write_eof(), t.is_closing())
    (t.close(), await asyncio.sleep(0.01), t.close(), t.abort())
    (t.close(), await asyncio.sleep(0.01), t.get_extra_info('socket').fileno())
    (t.close(), await asyncio.sleep(0.01), t.get_extra_info('socket').getsockname())
    (t.close(), await asyncio.sleep(0.01), t.get_extra_info('socket').setsockopt(1, 9, 1))
    (t.pause_reading(), t.pause_reading(), t.is_reading())
    (t.resume_reading(), t.resume_reading(), t.is_reading())
    t.set_write_buffer_limits(-1)
    t.set_write_buffer_limits(1, 2)
    t.set_write_buffer_limits(high=1, low=-1)
    t.set_write_buffer_limits(low=-1)
    t.set_write_buffer_limits('1')
    t.set_write_buffer_limits(low='1')
    t.set_write_buffer_limits(1.5)
    t.set_write_buffer_limits(high=0), t.get_write_buffer_limits()
    t.set_write_buffer_limits(low=10), t.get_write_buffer_limits()
    t.set_write_buffer_limits(high=10), t.get_write_buffer_limits()
    t.set_write_buffer_limits(10, 5), t.get_write_buffer_limits()
    t.set_write_buffer_limits(), t.get_write_buffer_limits()
    t.set_protocol(asyncio.Protocol()), t.get_protocol()
    t.get_extra_info(None)
    t.get_extra_info('no such thing', 'default')
    t.get_extra_info('pipe'), t.get_extra_info('subprocess'), t.get_extra_info('sslcontext'), t.get_extra_info('cipher')
    t.get_extra_info('ssl_object'), t.get_extra_info('peercert'), t.get_extra_info('compression')
    t.get_extra_info('socket').close()
    t.get_extra_info('socket').recv(1)
    t.get_extra_info('socket').setblocking(True)
    t.get_extra_info('socket').settimeout(1)
    t.get_extra_info('socket').settimeout(0)
    t.get_extra_info('socket').gettimeout()
    t.get_extra_info('socket').getpeername() == t.get_extra_info('peername')
    t.get_extra_info('socket').getsockname() == t.get_extra_info('sockname')
    t.get_extra_info('socket').setsockopt('a', 1, 1)
    t.get_extra_info('socket').setsockopt(99, 99, 1)
    t.get_extra_info('socket').getsockopt(99, 99)
    t.get_extra_info('socket').family, t.get_extra_info('socket').type, t.get_extra_info('socket').proto
    type(t.get_extra_info('socket')).__name__
    loop.add_reader(t.get_extra_info('socket'), print)
    loop.remove_reader(t.get_extra_info('socket'))
    loop.add_writer(t.get_extra_info('socket').fileno(), print)
    loop.sock_recv(t.get_extra_info('socket'), 1)
    loop.sendfile(t, text)
    loop.sendfile(t, None)
    loop.sendfile(t, binary, -1)
    loop.sendfile(t, binary, 0, -1)
    loop.sendfile(t, binary, '0')
    loop.sendfile(t, binary, 10**9)
    loop.sendfile(t, binary, 0, 0)
    (t.close(), await loop.sendfile(t, binary))
    (t.write_eof(), await loop.sendfile(t, binary))
    loop.start_tls(t, Protocol(), None)
    loop.start_tls(t, Protocol(), 'context')
    loop.start_tls(t, Protocol(), client_tls, server_side=True)
    loop.start_tls(t, Protocol(), server_tls)
    loop.start_tls(t, Protocol(), client_tls)
    loop.start_tls(t, Protocol(), client_tls, server_hostname='name', ssl_handshake_timeout=0)
    loop.start_tls(t, Protocol(), client_tls, server_hostname='name', ssl_shutdown_timeout=-1)
    loop.start_tls(t, Protocol(), client_tls, server_hostname='name', ssl_handshake_timeout=0.01)
    (t.close(), await loop.start_tls(t, Protocol(), client_tls, server_hostname='name', ssl_handshake_timeout=0.05))
    isinstance(t, asyncio.Transport), isinstance(t, asyncio.ReadTransport), isinstance(t, asyncio.DatagramTransport)
""")

# A server's end of a connection, which may have no descriptor yet when it is asked.
ACCEPTED = expressions("""
    (a.close(), await asyncio.sleep(0.01), a.get_extra_info('peername') is not None)
    (a.close(), await asyncio.sleep(0.01), a.get_extra_info('socket').fileno())
    (a.close(), await asyncio.sleep(0.01), a.get_extra_info('socket').getpeername())
    (a.close(), await asyncio.sleep(0.01), a.get_extra_info('socket').setsockopt(1, 9, 1))
    a.get_extra_info('socket').close()
    a.get_extra_info('socket').recv(1)
    a.get_extra_info('socket').setblocking(True)
    a.get_extra_info('socket').settimeout(1)
    a.get_extra_info('socket').gettimeout()
    a.get_extra_info('socket').setsockopt(99, 99, 1)
    a.get_extra_info('socket').setsockopt('a', 1, 1)
    a.get_extra_info('socket').setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 'on')
    a.get_extra_info('socket').setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 10**12)
    a.get_extra_info('socket').getsockopt(99, 99)
    a.get_extra_info('socket').getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    a.get_extra_info('socket').getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8)
    a.get_extra_info('socket').getsockopt(socket.SOL_SOCKET, socket.SO_TYPE, -1)
    a.get_extra_info('socket').getsockopt(socket.SOL_SOCKET, socket.SO_TYPE, 2000)
    a.get_extra_info('socket').shutdown(9)
    a.get_extra_info('socket').family, a.get_extra_info('socket').type, a.get_extra_info('socket').proto
    a.get_extra_info('socket').get_inheritable()
    type(a.get_extra_info('socket')).__name__
    loop.add_reader(a.get_extra_info('socket'), print)
    repr(a.get_extra_info('socket')).startswith('<asyncio.TransportSocket fd=')
    repr(a.get_extra_info('socket')).count('laddr=('), repr(a.get_extra_info('socket')).count('raddr=(')
""")

TLS = expressions("""
    t.write('text')
    t.write(None)
    t.writelines(None)
    t.write_eof()
    t.can_write_eof()
    (t.close(), t.write(b'late'), t.is_closing())
    (t.close(), t.close(), t.abort())
    t.set_write_buffer_limits(-1)
    t.set_read_buffer_limits(-1)
    (t.pause_reading(), t.pause_reading())
    t.resume_reading()
    t.get_write_buffer_limits()
    t.get_read_buffer_limits()
    t.get_extra_info('compression')
    t.get_extra_info('cipher')[1], sorted(t.get_extra_info('peercert'))
    t.get_extra_info('pipe'), t.get_extra_info('socket') is not None, t.get_extra_info('sslcontext') is not None
    t.get_extra_info('peername') is not None, t.get_extra_info('sockname') is not None
    loop.sendfile(t, binary, 0, 100)
    loop.sendfile(t, binary, fallback=False)
    loop.sendfile(t, text)
    loop.start_tls(t, Protocol(), None)
    isinstance(t, asyncio.Transport)
""")

DATAGRAM = expressions("""
    c.sendto('text')
    c.sendto(None)
    c.sendto(b'x', (HOST, 1))
    c.sendto(b'x', 'address')
    c.sendto(b'x', ())
    c.sendto([1])
    u.sendto(b'x')
    u.sendto(b'x', ())
    u.sendto(b'x', (HOST,))
    u.sendto(b'x', (HOST, '1'))
    u.sendto(b'x', (HOST, 70000))
    u.sendto(b'x', [HOST, 1])
    u.sendto('text', (HOST, 1))
    u.sendto(b'x', (HOST, 1, 2))
    u.sendto(b'x', (1, 1))
    (u.close(), u.sendto(b'x', (HOST, 1)))
    (c.close(), c.close(), c.abort(), c.is_closing())
    (c.abort(), c.sendto(b'late'))
    (c.close(), await asyncio.sleep(0.01), c.get_extra_info('socket').fileno())
    (c.close(), await asyncio.sleep(0.01), c.get_extra_info('peername') is None)
    (c.pause_reading(), c.pause_reading())
    c.resume_reading()
    c.is_reading()
    c.set_write_buffer_limits(-1)
    c.set_write_buffer_limits(1, 2)
    c.get_write_buffer_limits(), c.get_write_buffer_size()
    c.get_extra_info('peername') is None, u.get_extra_info('peername') is None, u.get_extra_info('pipe')
    c.write(b'x')
    loop.sendfile(c, binary)
    loop.start_tls(c, Protocol(), client_tls)
    loop.add_reader(c.get_extra_info('socket'), print)
    isinstance(c, asyncio.DatagramTransport)
""")

PIPES = expressions("""
    loop.connect_read_pipe(Protocol, text)
    loop.connect_read_pipe(Protocol, 1)
    loop.connect_read_pipe(Protocol, None)
    loop.connect_read_pipe(Protocol, closed_pipe)
    loop.connect_read_pipe(None, spare)
    loop.connect_write_pipe(Protocol, text)
    loop.connect_write_pipe(Protocol, 1)
    loop.connect_write_pipe(Protocol, None)
    loop.connect_write_pipe(Protocol, closed_pipe)
    w.write('text')
    w.write(None)
    w.write(1)
    w.writelines(None)
    w.writelines([b'one', None])
    w.writelines('text')
    (w.write_eof(), w.write(b'late'))
    (w.write_eof(), w.write_eof(), w.can_write_eof(), w.is_closing())
    (w.close(), w.write(b'late'), w.close())
    (w.close(), w.write('text'))
    (w.abort(), w.write(b'late'), w.abort(), w.is_closing())
    w.set_write_buffer_limits(-1)
    w.get_write_buffer_limits(), w.get_write_buffer_size()
    w.get_extra_info('pipe') is not None, w.get_extra_info('socket'), w.get_extra_info('peername')
    r.get_extra_info('pipe') is not None, r.get_extra_info('fileno'), r.get_extra_info('sockname', 1)
    (r.pause_reading(), r.pause_reading(), r.is_reading())
    (r.resume_reading(), r.is_reading())
    (r.close(), r.close(), r.is_closing(), r.is_reading())
    (r.close(), r.pause_reading(), r.resume_reading())
    r.set_protocol(asyncio.Protocol())
    r.write(b'x')
    w.pause_reading()
    loop.sendfile(w, binary)
    loop.start_tls(w, Protocol(), client_tls)
    isinstance(r, asyncio.ReadTransport), isinstance(w, asyncio.WriteTransport)
""")

PROCESS = expressions("""
    loop.subprocess_exec(SubprocessProtocol)
    loop.subprocess_exec(SubprocessProtocol, 1)
    loop.subprocess_exec(SubprocessProtocol, None)
    loop.subprocess_exec(SubprocessProtocol, 'true', 1)
    loop.subprocess_exec(SubprocessProtocol, ['true'])
    loop.subprocess_exec(SubprocessProtocol, 'no such program')
    loop.subprocess_exec(SubprocessProtocol, 'with\\0zero')
    loop.subprocess_exec(SubprocessProtocol, '/')
    loop.subprocess_exec(SubprocessProtocol, 'true', universal_newlines=True)
    loop.subprocess_exec(SubprocessProtocol, 'true', text=True)
    loop.subprocess_exec(SubprocessProtocol, 'true', shell=True)
    loop.subprocess_exec(SubprocessProtocol, 'true', bufsize=1)
    loop.subprocess_exec(SubprocessProtocol, 'true', bufsize='0')
    loop.subprocess_exec(SubprocessProtocol, 'true', encoding='utf-8')
    loop.subprocess_exec(SubprocessProtocol, 'true', errors='strict')
    loop.subprocess_exec(SubprocessProtocol, 'true', cwd='/no such folder')
    loop.subprocess_exec(SubprocessProtocol, 'true', env={1: 2})
    loop.subprocess_exec(SubprocessProtocol, 'true', stdin=-5)
    loop.subprocess_exec(SubprocessProtocol, 'true', stdin='text')
    loop.subprocess_exec(SubprocessProtocol, 'true', no_such_option=1)
    loop.subprocess_exec(None, 'true')
    loop.subprocess_shell(SubprocessProtocol, 1)
    loop.subprocess_shell(SubprocessProtocol, ['true'])
    loop.subprocess_shell(SubprocessProtocol, 'true', shell=False)
    loop.subprocess_shell(SubprocessProtocol, 'true', universal_newlines=True)
    loop.subprocess_shell(SubprocessProtocol, 'true', text=True)
    loop.subprocess_shell(SubprocessProtocol, 'true', bufsize=1)
    loop.subprocess_shell(SubprocessProtocol, 'true', encoding='utf-8')
    loop.subprocess_shell(SubprocessProtocol, 'true', errors='strict')
    asyncio.create_subprocess_exec('true', universal_newlines=True)
    asyncio.create_subprocess_shell('true', encoding='utf-8')
    (p := await asyncio.create_subprocess_exec('true'), await p.wait(), await asyncio.sleep(0.02), p.send_signal(9))
    (p := await asyncio.create_subprocess_exec('true'), await p.wait(), await asyncio.sleep(0.02), p.kill())
    (p := await asyncio.create_subprocess_exec('true'), await p.wait(), await asyncio.sleep(0.02), p.terminate())
    (p := await asyncio.create_subprocess_exec('true'), await p.wait(), await p.communicate(b'input'))
    (p := await asyncio.create_subprocess_exec('cat', stdin=-1), await p.communicate('text'))
    (p := await asyncio.create_subprocess_exec('cat', stdin=-1), p.send_signal('KILL'))
    (p := await asyncio.create_subprocess_exec('cat', stdin=-1), p.send_signal(1000))
    (p := await asyncio.create_subprocess_exec('cat', stdin=-1), p._transport.get_pipe_transport(7))
    (p := await asyncio.create_subprocess_exec('cat', stdin=-1), p._transport.get_pipe_transport(1))
    (p := await asyncio.create_subprocess_exec('cat', stdin=-1), p.stdin.write('text'))
    (p := await asyncio.create_subprocess_exec('cat', stdin=-1), type(p._transport.get_extra_info('subprocess')))
    (p := await asyncio.create_subprocess_exec('cat', stdin=-1), p._transport.close(), p._transport.close())
    (p := await asyncio.create_subprocess_exec('true'), await p.wait(), repr(p), p.pid > 0)
""")


@contextlib.asynccontextmanager
async def stream_scene(loop):
    """``t`` is a client's transport, ``a`` its server's."""
    async with serving() as (server, protocols):
        t, protocol = await loop.create_connection(asyncio.Protocol, *address_of(server))
        while not protocols:
            await asyncio.sleep(0)
        yield {"t": t, "protocol": protocol, "a": protocols[0].transport}
        t.abort()


@contextlib.asynccontextmanager
async def tls_scene(loop):
    """``t`` is a client's transport."""
    async with serving(ssl=server_context()) as (server, _):
        t, _ = await loop.create_connection(
            asyncio.Protocol, *address_of(server), ssl=client_context(), server_hostname=NAME
        )
        yield {"t": t}
        t.abort()


@contextlib.asynccontextmanager
async def datagram_scene(loop):
    """``c`` is connected, ``u`` is not."""
    with socket.socket(type=socket.SOCK_DGRAM) as peer:
        peer.bind((HOST, 0))
        c, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, remote_addr=peer.getsockname())
        u, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, (HOST, 0))
        yield {"c": c, "u": u, "HOST": HOST}
        c.abort()
        u.abort()


@contextlib.asynccontextmanager
async def pipe_scene(loop):
    """``r`` reads what ``w`` writes."""
    reading, writing = os.pipe()
    with contextlib.ExitStack() as stack:
        ends = [stack.enter_context(open(fd, mode, 0)) for fd, mode in ((reading, "rb"), (writing, "wb"))]
        spare = os.pipe()
        spares = [stack.enter_context(open(fd, mode, 0)) for fd, mode in zip(spare, ("rb", "wb"), strict=True)]
        closed = stack.enter_context(open(os.devnull, "rb"))
        closed.close()
        r, _ = await loop.connect_read_pipe(asyncio.Protocol, ends[0])
        w, _ = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, ends[1])
        yield {"r": r, "w": w, "closed_pipe": closed, "spare": spares[0]}
        if not w.is_closing():
            w.abort()
        r.close()
        for _ in range(5):
            await asyncio.sleep(0)


@pytest.fixture
def check(new_loop):
    """Evaluates an expression on asyncio and on the loop under test and compares."""

    def function(scene, expression, debug=False):
        answers = []
        for factory in (asyncio.SelectorEventLoop, None):
            loop = new_loop(factory)
            loop.set_debug(debug)
            answers.append(answer_of_running_loop(loop, scene, expression))
        compare(answers[1], answers[0])

    return function


@pytest.mark.parametrize("expression", STREAM)
def test_streams(check, expression):
    check(stream_scene, expression)


@pytest.mark.parametrize("expression", ACCEPTED)
def test_accepted_streams(check, expression):
    check(stream_scene, expression)


@pytest.mark.parametrize("expression", TLS)
def test_tls(check, expression):
    check(tls_scene, expression)


@pytest.mark.parametrize("expression", DATAGRAM)
def test_datagrams(check, expression):
    check(datagram_scene, expression)


# Where making one fails, asyncio's pipe transport stumbles once more when it is collected.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("expression", PIPES)
def test_pipes(check, expression):
    check(pipe_scene, expression)


@pytest.mark.parametrize("expression", PROCESS)
def test_subprocesses(check, expression):
    check(nothing, expression)
