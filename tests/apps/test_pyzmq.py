"""pyzmq's asyncio sockets, which watch one descriptor for all that happens, edge by edge."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from loop.helpers import pattern

zmq: Any = pytest.importorskip("zmq", reason="not installed: pip install pyzmq")
Context: Any = pytest.importorskip("zmq.asyncio").Context

# Run with --loops=asyncio or --loops=uvloop to see whether a failure is the loop's.
pytestmark = [pytest.mark.loops("netloop"), pytest.mark.limit(60)]

LARGE = 4_000_000
WAYS = ("tcp", "ipc", "inproc")


@pytest.fixture(params=WAYS)
def bind_address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a socket may be bound, by each transport of ZeroMQ's."""
    return {"tcp": "tcp://127.0.0.1:*", "ipc": f"ipc://{tmp_path}/socket", "inproc": "inproc://name"}[request.param]


@contextlib.contextmanager
def context() -> Iterator[Any]:
    """A context whose sockets are closed at the end, with what they still hold."""
    made = Context()
    try:
        yield made
    finally:
        made.destroy(linger=0)


def pair(made: Any, first: int, second: int, address: str) -> tuple[Any, Any]:
    """A socket of the first kind that is bound, and one of the second that is connected to it."""
    bound, connected = made.socket(first), made.socket(second)
    bound.bind(address)
    connected.connect(bound.getsockopt_string(zmq.LAST_ENDPOINT))
    return bound, connected


async def test_request_and_reply(loop: object, bind_address: str) -> None:
    async def reply(socket: Any, count: int) -> None:
        for _ in range(count):
            await socket.send_multipart([b"reply", *await socket.recv_multipart()])

    sizes = [0, 1, 255, 256, 65_536, LARGE]
    with context() as made:
        server, client = pair(made, zmq.REP, zmq.REQ, bind_address)
        replying = asyncio.create_task(reply(server, len(sizes) + 200))
        for size in sizes:
            await client.send_multipart([b"part", pattern(size)])
            assert await client.recv_multipart() == [b"reply", b"part", pattern(size)]
        for number in range(200):
            await client.send(b"%d" % number)
            assert (await client.recv_multipart())[1] == b"%d" % number
        await replying


async def test_push_and_pull(loop: object, bind_address: str) -> None:
    """Many more messages than the queues of the two sockets hold."""
    with context() as made:
        pull, push = pair(made, zmq.PULL, zmq.PUSH, bind_address)

        async def push_all() -> None:
            for number in range(10_000):
                await push.send(number.to_bytes(4, "big"))

        pushing = asyncio.create_task(push_all())
        for number in range(10_000):
            assert await pull.recv() == number.to_bytes(4, "big")
        await pushing


async def test_publish_and_subscribe(loop: object, bind_address: str) -> None:
    with context() as made:
        # An extended publisher, because it is told of subscriptions; until then it drops what it publishes.
        publisher = made.socket(zmq.XPUB)
        publisher.bind(bind_address)
        subscribers = [made.socket(zmq.SUB) for _ in range(10)]
        for number, subscriber in enumerate(subscribers):
            subscriber.connect(publisher.getsockopt_string(zmq.LAST_ENDPOINT))
            subscriber.setsockopt(zmq.SUBSCRIBE, b"%d" % number)
        assert {await publisher.recv() for _ in subscribers} == {b"\1%d" % number for number in range(10)}
        for step in range(100):
            for number in range(10):
                await publisher.send_multipart([b"%d" % number, b"%d" % step])
        for number, subscriber in enumerate(subscribers):
            received = [await subscriber.recv_multipart() for _ in range(100)]
            assert received == [[b"%d" % number, b"%d" % step] for step in range(100)]


async def test_many_clients_of_one_router(loop: object, bind_address: str) -> None:
    async def serve(router: Any) -> None:
        while True:
            await router.send_multipart(await router.recv_multipart())

    async def ask(client: Any, number: int) -> None:
        for step in range(50):
            await client.send(b"%d %d" % (number, step))
            assert await client.recv() == b"%d %d" % (number, step)

    with context() as made:
        router = made.socket(zmq.ROUTER)
        router.bind(bind_address)
        serving = asyncio.create_task(serve(router))
        clients = [made.socket(zmq.DEALER) for _ in range(30)]
        for client in clients:
            client.connect(router.getsockopt_string(zmq.LAST_ENDPOINT))
        await asyncio.gather(*[ask(client, number) for number, client in enumerate(clients)])
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving


async def test_a_receive_that_is_cancelled(loop: object, bind_address: str) -> None:
    """No message is lost by it."""
    with context() as made:
        pull, push = pair(made, zmq.PULL, zmq.PUSH, bind_address)
        for number in range(50):
            receiving = asyncio.ensure_future(pull.recv())
            await asyncio.sleep(0)
            receiving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await receiving
            await push.send(b"%d" % number)
            assert await pull.recv() == b"%d" % number


async def test_a_receive_with_a_time_limit(loop: object, bind_address: str) -> None:
    with context() as made:
        pull, push = pair(made, zmq.PULL, zmq.PUSH, bind_address)
        pull.setsockopt(zmq.RCVTIMEO, 20)
        with pytest.raises(zmq.Again):
            await pull.recv()
        pull.setsockopt(zmq.RCVTIMEO, 20_000)
        await push.send(b"in time")
        assert await pull.recv() == b"in time"


async def test_polling(loop: object, bind_address: str) -> None:
    with context() as made:
        pull, push = pair(made, zmq.PULL, zmq.PUSH, bind_address)
        assert await pull.poll(timeout=20) == 0
        polling = asyncio.ensure_future(pull.poll(timeout=20_000))
        await push.send(b"message")
        assert await polling == zmq.POLLIN
        assert await pull.recv() == b"message"


async def test_sockets_opened_and_closed_again_and_again(loop: object, bind_address: str) -> None:
    """Each has a descriptor that is watched, and whose number comes back at once."""
    with context() as made:
        for number in range(50):
            pull, push = pair(made, zmq.PULL, zmq.PUSH, bind_address)
            receiving = asyncio.ensure_future(pull.recv())
            await push.send(b"%d" % number)
            assert await receiving == b"%d" % number
            push.close(linger=0)
            # Closing frees the address in the background.
            pull.unbind(pull.getsockopt_string(zmq.LAST_ENDPOINT))
            pull.close(linger=0)
