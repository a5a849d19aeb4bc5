"""psycopg's asyncio side, which waits for libpq's sockets by add_reader() and add_writer(), against PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from loop.certificates import certificate
from loop.helpers import HOST, pattern

from apps.servers import PostgresqlServer

pytest.importorskip("psycopg", reason="not installed: pip install 'psycopg[binary,pool]'")

import psycopg
from psycopg import AsyncConnection, errors

# Run with --loops=asyncio or --loops=uvloop to see whether a failure is the loop's.
pytestmark = [pytest.mark.loops("netloop"), pytest.mark.limit(60)]

WAYS = ("tcp", "unix", "tls")
LARGE = 8 * 1024 * 1024
Connection = AsyncConnection[tuple[Any, ...]]


@pytest.fixture(params=WAYS)
def address(request: pytest.FixtureRequest, postgresql_server: PostgresqlServer, tmp_path: Path) -> str:
    """The server's address in words of libpq, by each way there is."""
    return address_of(postgresql_server, request.param, tmp_path)


@pytest.fixture
def tcp(postgresql_server: PostgresqlServer, tmp_path: Path) -> str:
    """The server's address over TCP."""
    return address_of(postgresql_server, "tcp", tmp_path)


def address_of(server: PostgresqlServer, way: str, folder: Path) -> str:
    host = {"tcp": HOST, "unix": server.directory, "tls": "localhost"}[way]
    security = "sslmode=disable"
    if way == "tls":
        (folder / "root.pem").write_bytes(certificate()[0])
        security = f"sslmode=verify-full sslrootcert={folder / 'root.pem'}"
    common = f"port={server.port} user={server.user} dbname={server.database} connect_timeout=20"
    return f"host={host} {security} {common}"


@contextlib.asynccontextmanager
async def connected(address: str, **options: Any) -> AsyncIterator[Connection]:
    """A connection, closed at the end."""
    connection = await AsyncConnection.connect(address, **{"autocommit": True, **options})
    try:
        yield connection
    finally:
        await connection.close()


async def value_of(connection: Connection, query: str, *arguments: Any) -> Any:
    """The first column of a query's first row."""
    row = await (await connection.execute(query.encode(), arguments or None)).fetchone()
    return row and row[0]


async def test_queries(loop: object, address: str) -> None:
    async with connected(address) as connection:
        tls = await value_of(connection, "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
        assert tls is ("verify-full" in address)
        for number in range(100):
            assert await value_of(connection, "SELECT %s::int * 2", number) == 2 * number
        with pytest.raises(errors.DivisionByZero):
            await value_of(connection, "SELECT 1 / 0")
        assert await value_of(connection, "SELECT 'häuser'") == "häuser"


async def test_large_values_and_many_rows(loop: object, address: str) -> None:
    async with connected(address) as connection:
        assert await value_of(connection, "SELECT %b::bytea", pattern(LARGE)) == pattern(LARGE)
        cursor = await connection.execute("SELECT number, repeat('x', 100) FROM generate_series(1, 50000) number")
        assert [row[0] for row in await cursor.fetchall()] == list(range(1, 50_001))


async def test_a_cursor_on_the_server(loop: object, tcp: str) -> None:
    async with connected(tcp, autocommit=False) as connection, connection.cursor("name") as cursor:
        await cursor.execute("SELECT generate_series(1, 10000)")
        assert [row[0] async for row in cursor] == list(range(1, 10_001))


async def test_transactions(loop: object, tcp: str) -> None:
    async with connected(tcp) as connection:
        await connection.execute("CREATE TEMPORARY TABLE kept (number int)")
        with pytest.raises(ZeroDivisionError):
            async with connection.transaction():
                await connection.execute("INSERT INTO kept VALUES (1)")
                raise ZeroDivisionError
        async with connection.transaction():
            await connection.execute("INSERT INTO kept VALUES (2)")
        assert await value_of(connection, "SELECT array_agg(number) FROM kept") == [2]


async def test_a_pipeline(loop: object, address: str) -> None:
    async with connected(address) as connection:
        async with connection.pipeline():
            cursors = [await connection.execute("SELECT %s::int", [number]) for number in range(1000)]
        assert [(await cursor.fetchone() or [None])[0] for cursor in cursors] == list(range(1000))


async def test_copy(loop: object, address: str) -> None:
    text = "".join(f"{number}\trow {number}\n" for number in range(30_000)).encode()
    async with connected(address) as connection, connection.cursor() as cursor:
        await cursor.execute("CREATE TEMPORARY TABLE copied (number int, name text)")
        async with cursor.copy("COPY copied FROM STDIN") as copy:
            for start in range(0, len(text), 50_000):
                await copy.write(text[start : start + 50_000])
        assert cursor.rowcount == 30_000
        async with cursor.copy("COPY (SELECT * FROM copied ORDER BY number) TO STDOUT") as copy:
            assert b"".join([bytes(part) async for part in copy]) == text


async def test_listen_and_notify(loop: object, tcp: str) -> None:
    async with connected(tcp) as one, connected(tcp) as other:
        await one.execute("LISTEN news")
        for number in range(100):
            await other.execute("SELECT pg_notify('news', %s)", [f"message {number}"])
        heard = [notify.payload async for notify in one.notifies(timeout=20, stop_after=100)]
        assert heard == [f"message {number}" for number in range(100)]
        assert [notify async for notify in one.notifies(timeout=0.02)] == []


async def test_a_query_that_is_cancelled(loop: object, address: str, tcp: str) -> None:
    """The task's cancellation cancels the query on the server."""
    async with connected(address) as connection, connected(tcp) as other:
        for _ in range(3):
            query = asyncio.create_task(value_of(connection, "SELECT pg_sleep(60)"))
            await until_asleep(other, connection.info.backend_pid)
            query.cancel()
            with pytest.raises(asyncio.CancelledError):
                await query
            assert await value_of(connection, "SELECT 1") == 1
        query = asyncio.create_task(value_of(connection, "SELECT pg_sleep(60)"))
        await until_asleep(other, connection.info.backend_pid)
        await connection.cancel_safe()
        with pytest.raises(errors.QueryCanceled):
            await query


async def test_a_session_that_the_server_ends(loop: object, tcp: str) -> None:
    async with connected(tcp) as connection, connected(tcp) as other:
        pid = connection.info.backend_pid
        query = asyncio.create_task(value_of(connection, "SELECT pg_sleep(60)"))
        await until_asleep(other, pid)
        assert await value_of(other, "SELECT pg_terminate_backend(%s)", pid)
        with pytest.raises(psycopg.OperationalError):
            await query
        assert connection.closed


async def test_a_pool(loop: object, address: str) -> None:
    pools = pytest.importorskip("psycopg_pool", reason="not installed: pip install 'psycopg[binary,pool]'")
    async with pools.AsyncConnectionPool(address, min_size=2, max_size=10, open=False) as pool:

        async def work(number: int) -> Any:
            async with pool.connection() as connection:
                await connection.execute("SELECT pg_sleep(0.001)")
                return await value_of(connection, "SELECT %s::int + 1", number)

        assert await asyncio.gather(*[work(number) for number in range(200)]) == list(range(1, 201))


async def test_connections_one_after_another(loop: object, address: str) -> None:
    """Descriptors are closed by libpq and their numbers used again, while the loop has just stopped watching them."""
    for number in range(50):
        async with connected(address) as connection:
            assert await value_of(connection, "SELECT %s::int", number) == number


async def test_a_connect_that_is_cancelled(loop: object, address: str) -> None:
    for turns in range(0, 40, 3):
        connecting = asyncio.ensure_future(AsyncConnection.connect(address))
        for _ in range(turns):
            await asyncio.sleep(0)
        connecting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await (await connecting).close()


async def test_nobody_listens(loop: object, tcp: str, postgresql_server: PostgresqlServer) -> None:
    for address in (f"{tcp} port=1", f"host={postgresql_server.directory}/gone"):
        with pytest.raises(psycopg.OperationalError):
            await AsyncConnection.connect(address)


async def until_asleep(observer: Connection, pid: int) -> None:
    """Wait until the session of this process waits in pg_sleep()."""
    query = "SELECT 1 FROM pg_stat_activity WHERE pid = %s AND wait_event = 'PgSleep'"
    async with asyncio.timeout(20):
        while await value_of(observer, query, pid) is None:
            await asyncio.sleep(0.002)
