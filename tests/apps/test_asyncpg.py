"""asyncpg against a real PostgreSQL server, over TCP, a UNIX socket and TLS that a plain connection changes to."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import decimal
import gc
import io
import ssl
from collections.abc import AsyncIterator
from typing import Any

import pytest
from loop.certificates import client_context
from loop.helpers import HOST, pattern

from apps.servers import PostgresqlServer

asyncpg: Any = pytest.importorskip("asyncpg", reason="not installed: pip install asyncpg")

# Run with --loops=asyncio or --loops=uvloop to see whether a failure is the loop's.
pytestmark = [pytest.mark.loops("netloop"), pytest.mark.limit(60)]

WAYS = ("tcp", "unix", "tls")
LARGE = 8 * 1024 * 1024


def address_of(server: PostgresqlServer, way: str = "tcp") -> dict[str, Any]:
    """What connect() and create_pool() are to be given."""
    host = {"tcp": HOST, "unix": server.directory, "tls": "localhost"}[way]
    trusted: ssl.SSLContext | bool = client_context() if way == "tls" else False
    common = {"port": server.port, "user": server.user, "database": server.database, "timeout": 20}
    return {"host": host, "ssl": trusted, "command_timeout": 30, **common}


@contextlib.asynccontextmanager
async def connected(server: PostgresqlServer, way: str = "tcp", **options: Any) -> AsyncIterator[Any]:
    """A connection, closed at the end."""
    connection = await asyncpg.connect(**{**address_of(server, way), **options})
    try:
        yield connection
    finally:
        await connection.close(timeout=20)


@pytest.mark.parametrize("way", WAYS)
async def test_queries_and_types(loop: object, postgresql_server: PostgresqlServer, way: str) -> None:
    async with connected(postgresql_server, way) as connection:
        assert await connection.fetchval("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()") is (way == "tls")
        values = [1, 2.5, "häuser", b"\0\1", decimal.Decimal("1.10"), datetime.date(2024, 2, 29), [1, 2], None]
        query = "SELECT $1::int, $2::float, $3::text, $4::bytea, $5::numeric, $6::date, $7::int[], $8::text"
        assert list(await connection.fetchrow(query, *values)) == values
        statement = await connection.prepare("SELECT $1::int * 2")
        assert [await statement.fetchval(number) for number in range(100)] == list(range(0, 200, 2))


@pytest.mark.parametrize("way", WAYS)
async def test_large_values_and_many_rows(loop: object, postgresql_server: PostgresqlServer, way: str) -> None:
    async with connected(postgresql_server, way) as connection:
        assert await connection.fetchval("SELECT $1::bytea", pattern(LARGE)) == pattern(LARGE)
        rows = await connection.fetch("SELECT number, repeat('x', 100) FROM generate_series(1, 50000) number")
        assert [row[0] for row in rows] == list(range(1, 50_001))


async def test_an_error_leaves_the_connection_usable(loop: object, postgresql_server: PostgresqlServer) -> None:
    async with connected(postgresql_server) as connection:
        with pytest.raises(asyncpg.DivisionByZeroError):
            await connection.fetchval("SELECT 1 / 0")
        with pytest.raises(asyncpg.PostgresSyntaxError):
            await connection.execute("SELEKT")
        assert await connection.fetchval("SELECT 1") == 1


async def test_transactions(loop: object, postgresql_server: PostgresqlServer) -> None:
    async with connected(postgresql_server) as connection:
        await connection.execute("CREATE TEMPORARY TABLE kept (number int)")
        with pytest.raises(ZeroDivisionError):
            async with connection.transaction():
                await connection.execute("INSERT INTO kept VALUES (1)")
                raise ZeroDivisionError
        async with connection.transaction():
            await connection.execute("INSERT INTO kept VALUES (2)")
            with contextlib.suppress(ZeroDivisionError):
                async with connection.transaction():
                    await connection.execute("INSERT INTO kept VALUES (3)")
                    raise ZeroDivisionError
        assert [row["number"] for row in await connection.fetch("SELECT number FROM kept")] == [2]


async def test_a_cursor(loop: object, postgresql_server: PostgresqlServer) -> None:
    async with connected(postgresql_server) as connection, connection.transaction():
        cursor = connection.cursor("SELECT generate_series(1, 10000)", prefetch=100)
        assert [row[0] async for row in cursor] == list(range(1, 10_001))


@pytest.mark.parametrize("way", WAYS)
async def test_copy(loop: object, postgresql_server: PostgresqlServer, way: str) -> None:
    records = [(number, f"row {number}") for number in range(30_000)]
    text = "".join(f"{number}\t{name}\n" for number, name in records).encode()
    async with connected(postgresql_server, way) as connection:
        await connection.execute("CREATE TEMPORARY TABLE copied (number int, name text)")
        assert await connection.copy_records_to_table("copied", records=records) == "COPY 30000"
        output = io.BytesIO()
        await connection.copy_from_query("SELECT * FROM copied ORDER BY number", output=output)
        assert output.getvalue() == text
        assert await connection.copy_to_table("copied", source=io.BytesIO(text)) == "COPY 30000"
        assert await connection.fetchval("SELECT count(*) FROM copied") == 60_000


async def test_a_copy_that_is_cancelled(loop: object, postgresql_server: PostgresqlServer) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"1\n" * 10_000
            some.set()

    some = asyncio.Event()
    async with connected(postgresql_server) as connection:
        await connection.execute("CREATE TEMPORARY TABLE copied (number int)")
        copying = asyncio.create_task(connection.copy_to_table("copied", source=endless()))
        await some.wait()
        copying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await copying
        assert await connection.fetchval("SELECT count(*) FROM copied") == 0


async def test_listen_and_notify(loop: object, postgresql_server: PostgresqlServer) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()

    def listener(connection: object, pid: int, channel: str, payload: str) -> None:
        heard.put_nowait(payload)

    async with connected(postgresql_server) as one, connected(postgresql_server) as other:
        await one.add_listener("news", listener)
        for number in range(100):
            await other.execute(f"NOTIFY news, 'message {number}'")
        assert [await heard.get() for _ in range(100)] == [f"message {number}" for number in range(100)]
        await one.remove_listener("news", listener)


@pytest.mark.parametrize("way", WAYS)
async def test_a_query_that_is_cancelled(loop: object, postgresql_server: PostgresqlServer, way: str) -> None:
    """The server is told by a connection of its own, and the query's goes on."""
    async with connected(postgresql_server, way) as connection, connected(postgresql_server) as other:
        pid = connection.get_server_pid()
        for _ in range(3):
            query = asyncio.create_task(connection.fetchval("SELECT pg_sleep(60)"))
            await until_state(other, pid, "active")
            query.cancel()
            with pytest.raises(asyncio.CancelledError):
                await query
            assert await connection.fetchval("SELECT 1") == 1
        with pytest.raises(asyncio.TimeoutError):
            await connection.fetchval("SELECT pg_sleep(60)", timeout=0.05)
        assert await connection.fetchval("SELECT 1") == 1


async def test_a_session_that_the_server_ends(loop: object, postgresql_server: PostgresqlServer) -> None:
    async with connected(postgresql_server) as connection, connected(postgresql_server) as other:
        pid = connection.get_server_pid()
        query = asyncio.create_task(connection.fetchval("SELECT pg_sleep(60)"))
        await until_state(other, pid, "active")
        assert await other.fetchval("SELECT pg_terminate_backend($1)", pid)
        with pytest.raises((asyncpg.AdminShutdownError, asyncpg.ConnectionDoesNotExistError)):
            await query
        assert connection.is_closed()


@pytest.mark.parametrize("way", WAYS)
async def test_a_pool(loop: object, postgresql_server: PostgresqlServer, way: str) -> None:
    async with asyncpg.create_pool(**address_of(postgresql_server, way), min_size=2, max_size=10) as pool:

        async def work(number: int) -> int:
            async with pool.acquire() as connection, connection.transaction():
                await connection.execute("SELECT pg_sleep(0.001)")
                return int(await connection.fetchval("SELECT $1::int + 1", number))

        assert await asyncio.gather(*[work(number) for number in range(200)]) == list(range(1, 201))
        assert pool.get_size() <= 10


async def test_a_certificate_that_is_not_trusted(loop: object, postgresql_server: PostgresqlServer) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        async with connected(postgresql_server, "tls", ssl=client_context(trusting=False)):
            pytest.fail("it was trusted")
    async with connected(postgresql_server, "tls", ssl="require") as connection:
        assert await connection.fetchval("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")


async def test_connecting_that_is_cancelled(loop: object, postgresql_server: PostgresqlServer, exceptions: Any) -> None:
    """At any moment between the first packet and the last."""
    for way in WAYS:
        for turns in range(0, 40, 3):
            connecting = asyncio.ensure_future(asyncpg.connect(**address_of(postgresql_server, way)))
            for _ in range(turns):
                await asyncio.sleep(0)
            connecting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await (await connecting).close()
    # asyncpg tells the end of the connection to a future of which its cancelled task no longer asks.
    gc.collect()
    for context in exceptions.take():
        assert context["message"] == "Future exception was never retrieved"
        assert isinstance(context["exception"], ConnectionError)


async def until_state(observer: Any, pid: int, state: str) -> None:
    """Wait until the session of this process is in that state and waits for its timer."""
    query = "SELECT 1 FROM pg_stat_activity WHERE pid = $1 AND state = $2 AND wait_event = 'PgSleep'"
    async with asyncio.timeout(20):
        while await observer.fetchval(query, pid, state) is None:
            await asyncio.sleep(0.002)
