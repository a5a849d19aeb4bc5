"""Context variables in callbacks, tasks, readers, signal handlers and protocols."""

from __future__ import annotations

import asyncio
import contextvars
import os
import signal
import socket
import sys

import pytest

from .certificates import NAME, client_context, server_context
from .helpers import HOST, Recorder, address_of, eventually, finish, first, listener, serving, socket_pair, turns

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")

CALLS = {"call_soon": (), "call_soon_threadsafe": (), "call_later": (0.001,), "call_at": (0.0,)}


@pytest.mark.parametrize("call", CALLS)
async def test_a_callback_sees_the_context_of_its_scheduling(loop, call):
    seen = []
    variable.set("scheduled")
    getattr(loop, call)(*CALLS[call], lambda: seen.append(variable.get()))
    variable.set("changed")
    await eventually(lambda: seen)
    assert seen == ["scheduled"]


@pytest.mark.parametrize("call", CALLS)
async def test_a_callback_runs_in_the_context_given(loop, call):
    seen = []
    context = contextvars.Context()
    context.run(variable.set, "given")
    getattr(loop, call)(*CALLS[call], lambda: seen.append(variable.get()), context=context)
    await eventually(lambda: seen)
    assert seen == ["given"]


async def test_what_a_callback_sets_stays_in_its_context(loop):
    context = contextvars.copy_context()
    loop.call_soon(variable.set, "inside", context=context)
    loop.call_soon(variable.set, "lost")
    await turns()
    assert variable.get() == "unset"
    assert context[variable] == "inside"


async def test_one_context_serves_several_callbacks(loop):
    seen = []
    context = contextvars.copy_context()
    loop.call_soon(variable.set, "first", context=context)
    loop.call_soon(lambda: seen.append(variable.get()), context=context)
    await turns()
    assert seen == ["first"]


async def test_tasks_have_contexts_of_their_own(loop):
    async def work(value):
        variable.set(value)
        await asyncio.sleep(0.001)
        return variable.get()

    values = [str(number) for number in range(20)]
    assert await asyncio.gather(*map(work, values)) == values
    assert variable.get() == "unset"


async def test_create_task_with_a_context(loop):
    async def work():
        variable.set("task")

    context = contextvars.copy_context()
    await loop.create_task(work(), context=context)
    assert context[variable] == "task"


async def test_readers_and_writers_run_in_the_context_of_their_adding(loop):
    seen = []
    near, far = socket.socketpair()
    with near, far:
        variable.set("added")
        loop.add_reader(near, lambda: (seen.append(variable.get()), loop.remove_reader(near)))
        loop.add_writer(near, lambda: (seen.append(variable.get()), loop.remove_writer(near)))
        variable.set("changed")
        far.send(b"x")
        await eventually(lambda: len(seen) >= 2)
    assert seen == ["added", "added"]


async def test_signal_handlers_run_in_the_context_of_their_adding(loop):
    seen = []
    variable.set("added")
    loop.add_signal_handler(signal.SIGUSR1, lambda: seen.append(variable.get()))
    variable.set("changed")
    os.kill(os.getpid(), signal.SIGUSR1)
    await eventually(lambda: seen)
    loop.remove_signal_handler(signal.SIGUSR1)
    assert seen == ["added"]


class Seer(Recorder):
    """Records the variable's value in each callback."""

    def called(self, name):
        self.seen = {**getattr(self, "seen", {}), name: variable.get()}
        super().called(name)


async def test_a_clients_callbacks_run_in_the_context_of_create_connection(loop):
    async with serving() as (server, protocols):
        variable.set("connecting")
        _, client = await loop.create_connection(Seer, *address_of(server))
        variable.set("changed")
        peer = await first(protocols)
        peer.transport.write(b"x")
        await client.until_received(1)
        peer.transport.close()
        await client.lost
    calls = ("connection_made", "data_received", "eof_received", "connection_lost")
    assert client.seen == dict.fromkeys(calls, "connecting")


async def test_a_servers_callbacks_run_in_the_context_of_create_server(loop):
    variable.set("serving")
    async with serving(Seer) as (server, protocols):
        variable.set("changed")
        _, client = await loop.create_connection(Recorder, *address_of(server))
        peer = await first(protocols)
        client.transport.write(b"x")
        await peer.until_received(1)
        client.transport.close()
        await peer.lost
        await client.lost
    calls = ("connection_made", "data_received", "eof_received", "connection_lost")
    assert peer.seen == dict.fromkeys(calls, "serving")


async def test_who_resumes_reading_leaves_its_context_out_of_the_callbacks(loop):
    variable.set("serving")
    async with serving(Seer) as (server, protocols):
        _, client = await loop.create_connection(Recorder, *address_of(server))
        peer = await first(protocols)

        async def pause_and_resume():
            peer.transport.pause_reading()
            await turns()
            variable.set("resuming")
            peer.transport.resume_reading()

        await asyncio.create_task(pause_and_resume())
        client.transport.write(b"x")
        await peer.until_received(1)
        client.transport.close()
        await peer.lost
        await client.lost
    calls = ("connection_made", "data_received", "eof_received", "connection_lost")
    assert peer.seen == dict.fromkeys(calls, "serving")


async def test_both_ends_of_tls_run_in_the_contexts_of_their_calls(loop):
    variable.set("serving")
    async with serving(Seer, ssl=server_context()) as (server, protocols):
        variable.set("connecting")
        _, client = await loop.create_connection(Seer, *address_of(server), ssl=client_context(), server_hostname=NAME)
        variable.set("changed")
        peer = await first(protocols)
        client.transport.write(b"x")
        await peer.until_received(1)
        client.transport.close()
        await peer.lost
        await client.lost
    assert set(peer.seen.values()) == {"serving"}
    assert set(client.seen.values()) == {"connecting"}


async def test_the_context_of_a_server_that_starts_later(loop):
    variable.set("created")
    async with serving(Seer, start_serving=False) as (server, protocols):
        variable.set("started")
        await server.start_serving()
        variable.set("changed")
        _, client = await loop.create_connection(Recorder, *address_of(server))
        peer = await first(protocols)
        await finish(client)
        await peer.lost
    assert set(peer.seen.values()) == {"created" if sys.version_info >= (3, 15) else "started"}


@pytest.mark.loops("netloop")  # asyncio hands contexts to its own loops from Python 3.15 on
async def test_a_context_that_asyncio_hands_over_for_a_connection(loop):
    context = contextvars.Context()
    context.run(variable.set, "given")
    with socket_pair() as (near, far):
        server = Seer()
        loop._make_ssl_transport(far, server, server_context(), server_side=True, context=context.copy())
        client = Seer()
        loop._make_ssl_transport(near, client, client_context(), server_hostname=NAME, context=context)
        await client.made
        await server.made
        await finish(client, server)
    assert set(client.seen.values()) == set(server.seen.values()) == {"given"}


@pytest.mark.loops("netloop")  # asyncio hands contexts to its own loops from Python 3.15 on
async def test_a_context_that_asyncio_hands_over_for_a_server(loop):
    context = contextvars.Context()
    context.run(variable.set, "given")
    protocols = []
    with listener() as sock:
        loop._start_serving(lambda: protocols.append(Seer()) or protocols[-1], sock, context=context)
        _, client = await loop.create_connection(Recorder, *sock.getsockname())
        server = await first(protocols)
        context.run(variable.set, "changed")
        await finish(client)
        await server.lost
        loop._stop_serving(sock)
    assert set(server.seen.values()) == {"given"}


async def test_a_stream_handler_can_set_variables_of_its_own(loop):
    seen = []

    async def handle(reader, writer):
        before = variable.get()
        variable.set((await reader.read()).decode())
        await asyncio.sleep(0)
        seen.append((before, variable.get()))
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(handle, HOST, 0)
    for value in ("a", "b"):
        reader, writer = await asyncio.open_connection(*address_of(server))
        writer.write(value.encode())
        writer.write_eof()
        await reader.read()
        writer.close()
        await writer.wait_closed()
    server.close()
    await server.wait_closed()
    assert seen == [("unset", "a"), ("unset", "b")]


async def test_done_callbacks_of_an_operation_run_in_the_contexts_of_their_adding(loop):
    seen = []
    with socket_pair() as (near, far):
        receiving = asyncio.ensure_future(loop.sock_recv(near, 10))
        for value in ("first", "second"):
            variable.set(value)
            receiving.add_done_callback(lambda _: seen.append(variable.get()))
        variable.set("later")
        far.send(b"x")
        assert await receiving == b"x"
    await turns()
    assert seen == ["first", "second"]
