"""asyncssh's server and client on one loop: commands, a shell's terminal, files, forwarded connections."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from loop.helpers import HOST, pattern

asyncssh: Any = pytest.importorskip("asyncssh", reason="not installed: pip install asyncssh")

# Run with --loops=asyncio or --loops=uvloop to see whether a failure is the loop's.
pytestmark = [pytest.mark.loops("netloop"), pytest.mark.limit(60)]

SIZE = 3_000_000


@pytest.fixture(scope="module")
def keys() -> tuple[Any, Any]:
    """The server's key and the client's."""
    return asyncssh.generate_private_key("ssh-ed25519"), asyncssh.generate_private_key("ssh-ed25519")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty home directory, so that nobody's own configuration has a part in this."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    yield tmp_path


async def handle(process: Any) -> None:
    """What a session does: say everything again, run a command, or fail."""
    command = process.command or "echo"
    if command == "echo":
        while data := await process.stdin.read(65536):
            process.stdout.write(data)
            await process.stdout.drain()
        process.exit(0)
    elif command == "fail":
        process.stderr.write("it failed\n")
        process.exit(7)
    elif command == "hang":
        await process.stdin.read()  # nobody writes to it, so it ends with the session
    else:
        child = await asyncio.create_subprocess_shell(
            command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        # The end of one of the two must not end the channel that both use.
        await process.redirect(stdin=child.stdin, stdout=child.stdout, stderr=child.stderr, send_eof=False)
        assert child.stdout and child.stderr
        status = await child.wait()
        # The end of the command may be known before all that it wrote has been passed on.
        while not (child.stdout.at_eof() and child.stderr.at_eof()):
            await asyncio.sleep(0.001)
        await process.stdout.drain()
        process.exit(status)
        await process.wait_closed()


@contextlib.asynccontextmanager
async def connected(keys: tuple[Any, Any], **options: Any) -> AsyncIterator[Any]:
    """A client of a new server; all is closed at the end."""

    class Server(asyncssh.SSHServer):  # type: ignore[misc]
        def connection_requested(self, *arguments: Any) -> bool:
            return True

        def server_requested(self, *arguments: Any) -> bool:
            return True

    own, other = keys
    authorized = asyncssh.import_authorized_keys(other.export_public_key().decode())
    server = await asyncssh.create_server(
        Server, HOST, 0, server_host_keys=[own], authorized_client_keys=authorized, process_factory=handle, **options
    )
    try:
        async with connection_to(server.get_port(), keys) as connection:
            yield connection
            connection.close()
            await connection.wait_closed()
    finally:
        server.close()
        await server.wait_closed()


def connection_to(port: int, keys: tuple[Any, Any]) -> Any:
    """A client's connection, to be awaited or entered."""
    own, other = keys
    known = asyncssh.import_known_hosts(f"[{HOST}]:{port} {own.export_public_key().decode()}")
    return asyncssh.connect(HOST, port, known_hosts=known, client_keys=[other], username="somebody")


async def test_an_echo_session(loop: object, keys: tuple[Any, Any]) -> None:
    async with connected(keys) as connection, connection.create_process() as process:
        for number in range(100):
            process.stdin.write(f"line {number}\n")
            assert await process.stdout.readline() == f"line {number}\n"
        process.stdin.write_eof()
        assert (await process.wait()).exit_status == 0


async def test_much_data(loop: object, keys: tuple[Any, Any]) -> None:
    """More than the channel's window holds, both ways at once."""
    text = "0123456789abcde\n" * (SIZE // 16)
    async with connected(keys) as connection:
        done = await connection.run("echo", input=text)
        assert done.stdout == text


async def test_commands(loop: object, keys: tuple[Any, Any]) -> None:
    """Children of the server, whose pipes are joined with the channel."""
    async with connected(keys) as connection:
        done = await connection.run("cat; echo error >&2; exit 3", input="hello")
        assert (done.stdout, done.stderr, done.exit_status) == ("hello", "error\n", 3)
        done = await connection.run("fail")
        assert (done.stderr, done.exit_status) == ("it failed\n", 7)
        with pytest.raises(asyncssh.ProcessError):
            await connection.run("fail", check=True)


async def test_many_sessions_on_one_connection(loop: object, keys: tuple[Any, Any]) -> None:
    async with connected(keys) as connection:
        sessions = [connection.run("echo", input=f"{number}\n" * 1000) for number in range(50)]
        done = await asyncio.gather(*sessions)
        assert [one.stdout for one in done] == [f"{number}\n" * 1000 for number in range(50)]


async def test_many_connections(loop: object, keys: tuple[Any, Any]) -> None:
    async def ask(port: int, number: int) -> str:
        async with connection_to(port, keys) as another:
            return str((await another.run("echo", input=str(number))).stdout)

    async with connected(keys) as connection:
        port = connection.get_extra_info("peername")[1]
        assert await asyncio.gather(*[ask(port, number) for number in range(20)]) == [str(n) for n in range(20)]


async def test_file_transfer(loop: object, keys: tuple[Any, Any], tmp_path: Path) -> None:
    served, own = tmp_path / "served", tmp_path / "own"
    for folder in (served, own):
        folder.mkdir()
    (own / "file").write_bytes(pattern(SIZE))

    def files(channel: Any) -> Any:
        return asyncssh.SFTPServer(channel, chroot=str(served).encode())

    async with connected(keys, sftp_factory=files) as connection, connection.start_sftp_client() as client:
        await client.put(str(own / "file"), "/copy")
        assert (served / "copy").read_bytes() == pattern(SIZE)
        await client.get("/copy", str(own / "back"))
        assert (own / "back").read_bytes() == pattern(SIZE)
        assert (await client.stat("/copy")).size == SIZE
        async with client.open("/copy", "rb") as file:
            await file.seek(1_000_000)
            assert await file.read(1000) == pattern(SIZE)[1_000_000:1_001_000]
        await client.rename("/copy", "/renamed")
        assert "renamed" in await client.listdir("/")
        with pytest.raises(asyncssh.SFTPNoSuchFile):
            await client.stat("/copy")


async def test_forwarding(loop: object, keys: tuple[Any, Any]) -> None:
    """A port of the client's leads to a server that the SSH server can reach, and the other way round."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def check(port: int) -> None:
        reader, writer = await asyncio.open_connection(HOST, port)
        writer.write(pattern(SIZE))
        writer.write_eof()
        assert await reader.read() == pattern(SIZE)
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(echo, HOST, 0) as target, connected(keys) as connection:
        port = target.sockets[0].getsockname()[1]
        async with connection.forward_local_port(HOST, 0, HOST, port) as listener:
            await asyncio.gather(*[check(listener.get_port()) for _ in range(5)])
        async with connection.forward_remote_port(HOST, 0, HOST, port) as listener:
            await asyncio.gather(*[check(listener.get_port()) for _ in range(5)])


async def test_a_command_that_is_cancelled(loop: object, keys: tuple[Any, Any]) -> None:
    async with connected(keys) as connection:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(connection.run("hang"), 0.05)
        assert (await connection.run("echo", input="still there")).stdout == "still there"


async def test_a_key_that_is_not_known(loop: object, keys: tuple[Any, Any]) -> None:
    async with connected(keys) as connection:
        port = connection.get_extra_info("peername")[1]
        with pytest.raises(asyncssh.HostKeyNotVerifiable):
            await connection_to(port, (keys[1], keys[1]))
        with pytest.raises(asyncssh.PermissionDenied):
            await connection_to(port, (keys[0], asyncssh.generate_private_key("ssh-ed25519")))
