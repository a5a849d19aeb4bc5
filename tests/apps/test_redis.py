"""redis-py's asyncio client against a real Redis server, over TCP, a UNIX socket and TLS."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from typing import Any

import pytest
from loop.certificates import certificate
from loop.helpers import HOST, pattern

from apps.servers import RedisServer

pytest.importorskip("redis", reason="not installed: pip install redis")

from redis import exceptions
from redis.asyncio import Redis

# Run with --loops=asyncio or --loops=uvloop to see whether a failure is the loop's.
pytestmark = [pytest.mark.loops("netloop"), pytest.mark.limit(60)]

WAYS = ("tcp", "unix", "tls")
LARGE = 8 * 1024 * 1024


@contextlib.asynccontextmanager
async def connected(server: RedisServer, way: str = "tcp", **options: Any) -> AsyncIterator[Any]:
    """A client of the server; its connections are closed at the end."""
    if way == "unix":
        options |= {"unix_socket_path": server.path}
    elif way == "tls":
        options |= {"host": "localhost", "port": server.tls_port, "ssl": True, "ssl_ca_data": certificate()[0].decode()}
    else:
        options |= {"host": HOST, "port": server.port}
    # A timeout for each command, so that a test ends soon even if an answer is lost.
    async with Redis(**{"socket_timeout": 20, **options}) as client:
        yield client


@pytest.mark.parametrize("way", WAYS)
async def test_values_small_and_large(loop: object, redis_server: RedisServer, way: str) -> None:
    async with connected(redis_server, way) as client:
        assert await client.ping()
        for size in (0, 1, 1000, LARGE):
            value = pattern(size)
            assert await client.set("value", value)
            assert await client.get("value") == value
        assert await client.getrange("value", 1000, 1999) == pattern(LARGE)[1000:2000]
        assert await client.get("nothing there") is None
        await client.delete("value")


@pytest.mark.parametrize("way", WAYS)
async def test_a_pipeline_of_ten_thousand_commands(loop: object, redis_server: RedisServer, way: str) -> None:
    async with connected(redis_server, way) as client, client.pipeline(transaction=False) as pipeline:
        await client.delete("pipeline")
        for number in range(10_000):
            pipeline.rpush("pipeline", f"item {number}")
        assert await pipeline.execute() == list(range(1, 10_001))
        assert await client.lrange("pipeline", 0, -1) == [b"item %d" % number for number in range(10_000)]
        await client.delete("pipeline")


async def test_transactions_that_meet(loop: object, redis_server: RedisServer) -> None:
    """Many increments that read, compute and write; those that another overtook try again."""
    async with connected(redis_server) as client:
        await client.set("counter", 0)

        async def increment(pipeline: Any) -> None:
            value = int(await pipeline.get("counter"))
            pipeline.multi()
            pipeline.set("counter", value + 1)

        await asyncio.gather(*[client.transaction(increment, "counter") for _ in range(20)])
        assert await client.getdel("counter") == b"20"


async def test_an_error_is_the_commands_own(loop: object, redis_server: RedisServer) -> None:
    async with connected(redis_server) as client:
        await client.set("text", "not a number")
        with pytest.raises(exceptions.ResponseError, match="not an integer"):
            await client.incr("text")
        assert await client.getdel("text") == b"not a number"


@pytest.mark.parametrize("way", WAYS)
async def test_publish_and_subscribe(loop: object, redis_server: RedisServer, way: str) -> None:
    async with connected(redis_server, way) as client, client.pubsub() as subscription:
        await subscription.subscribe("news")
        await subscription.psubscribe("weather.*")
        async with asyncio.timeout(20):
            confirmed = [(await anext(subscription.listen()))["type"] for _ in range(2)]
            assert confirmed == ["subscribe", "psubscribe"]
            for number in range(100):
                assert await client.publish("news", f"message {number}") == 1
            assert await client.publish("weather.north", pattern(200_000)) == 1
            received = [(await anext(subscription.listen()))["data"] for _ in range(101)]
        assert received == [*[b"message %d" % number for number in range(100)], pattern(200_000)]


async def test_a_blocking_pop(loop: object, redis_server: RedisServer) -> None:
    async with connected(redis_server) as client:
        assert await client.blpop(["queue"], timeout=0.05) is None
        waiting = asyncio.create_task(client.blpop(["queue"], timeout=20))
        await until_blocked(client, 1)
        await client.rpush("queue", "work")
        assert await waiting == (b"queue", b"work")


async def test_a_blocking_pop_that_is_cancelled(loop: object, redis_server: RedisServer) -> None:
    """The connection of a command that was cancelled is not used for another one's answer."""
    async with connected(redis_server) as client:
        for number in range(5):
            waiting = asyncio.create_task(client.blpop(["queue"], timeout=20))
            await until_blocked(client, 1)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert await client.echo(f"still there {number}") == b"still there %d" % number
            await until_blocked(client, 0)


async def test_a_large_value_that_is_cancelled(loop: object, redis_server: RedisServer) -> None:
    async with connected(redis_server) as client:
        await client.set("large", pattern(LARGE))
        for turns in range(1, 40, 3):
            reading = asyncio.create_task(client.get("large"))
            for _ in range(turns):
                await asyncio.sleep(0)
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            assert await client.echo(f"after {turns}") == b"after %d" % turns
        assert await client.getdel("large") == pattern(LARGE)


async def test_an_answer_that_does_not_come_in_time(loop: object, redis_server: RedisServer) -> None:
    async with connected(redis_server, socket_timeout=0.5, retry=None, single_connection_client=True) as client:
        with pytest.raises(exceptions.TimeoutError):
            await client.execute_command("BLPOP", "queue", 20)
        assert await client.ping()


@pytest.mark.parametrize("way", WAYS)
async def test_fifty_clients_at_once(loop: object, redis_server: RedisServer, way: str) -> None:
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connected(redis_server, way)) for _ in range(50)]

        async def work(number: int, client: Any) -> bytes:
            for step in range(20):
                await client.append(f"of {number}", f"{step},")
            return bytes(await client.getdel(f"of {number}"))

        expected = b"".join(b"%d," % step for step in range(20))
        assert await asyncio.gather(*[work(*pair) for pair in enumerate(clients)]) == [expected] * 50


async def test_a_connection_that_the_server_ends(loop: object, redis_server: RedisServer) -> None:
    async with connected(redis_server) as client, connected(redis_server) as other:
        name = f"doomed-{os.getpid()}"
        async with connected(redis_server, client_name=name, retry=None, single_connection_client=True) as doomed:
            waiting = asyncio.create_task(doomed.blpop(["queue"], timeout=20))
            await until_blocked(client, 1)
            (found,) = [entry for entry in await other.client_list() if entry["name"] == name]
            assert await other.client_kill_filter(_id=found["id"]) == 1
            with pytest.raises(exceptions.ConnectionError):
                await waiting
            assert await doomed.ping()


async def test_nobody_listens(loop: object, redis_server: RedisServer) -> None:
    gone = RedisServer(1, 1, redis_server.path + ".gone")
    for way in WAYS:
        async with connected(gone, way, retry=None) as client:
            with pytest.raises(exceptions.ConnectionError):
                await client.ping()


async def until_blocked(client: Any, count: int) -> None:
    """Wait until the server holds this many clients in blocking commands."""
    async with asyncio.timeout(20):
        while (await client.info("clients"))["blocked_clients"] != count:
            await asyncio.sleep(0.002)
