"""Real servers for the clients under test: Redis and PostgreSQL, each started once in a directory of its own.

They listen on the loopback interface, on a UNIX socket and with TLS, and are ended after the last test. Where a server
is not installed the tests that need it are skipped; where CI is set they fail.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from loop.certificates import certificate
from loop.helpers import HOST, unused_port

from apps.programs import Program

SET_UP_SECONDS = 60
# Debian keeps the programs of a PostgreSQL server apart from those on the path, a folder for each version.
POSTGRESQL = Path("/usr/lib/postgresql")


@dataclass(frozen=True)
class RedisServer:
    """Where a Redis server listens."""

    port: int
    tls_port: int
    path: str


@dataclass(frozen=True)
class PostgresqlServer:
    """Where a PostgreSQL server listens; anybody on this machine may come in as ``user``, with TLS or without."""

    port: int
    directory: str
    user: str = "netloop"
    database: str = "postgres"


def find(program: str, package: str, folders: Sequence[str] = ()) -> str:
    """The path of a server's program; without it the test is skipped, or fails where CI is set."""
    found = shutil.which(program, path=os.pathsep.join((os.environ.get("PATH", os.defpath), *folders)))
    if found is not None:
        return found
    message = f"{program} is not installed: apt-get install {package}"
    if os.environ.get("CI", "").lower() not in ("", "0", "false"):
        pytest.fail(message, pytrace=False)
    pytest.skip(message)


@contextlib.contextmanager
def private_directory(owner: str | None) -> Iterator[Path]:
    """A directory for a server's files with a short name, since a UNIX socket's path is limited; removed at the end."""
    with tempfile.TemporaryDirectory(prefix="netloop-") as name:
        directory = Path(name)
        for file, content in zip(("cert.pem", "key.pem"), certificate(), strict=True):
            (directory / file).write_bytes(content)
            (directory / file).chmod(0o600)
        if owner is not None:
            for path in (directory, *directory.iterdir()):
                shutil.chown(path, owner)
        yield directory


@contextlib.contextmanager
def running_redis() -> Iterator[RedisServer]:
    """A Redis server that keeps nothing on disk."""
    program = find("redis-server", "redis-server")
    with private_directory(None) as directory:
        server = RedisServer(unused_port(), unused_port(), str(directory / "socket"))
        settings = f"""
            bind {HOST}
            port {server.port}
            unixsocket {server.path}
            tls-port {server.tls_port}
            tls-cert-file {directory / "cert.pem"}
            tls-key-file {directory / "key.pem"}
            tls-auth-clients no
            save ""
            appendonly no
        """
        configuration = directory / "redis.conf"
        configuration.write_text("\n".join(line.strip() for line in settings.splitlines()))
        process = Program([program, str(configuration)], directory, {})
        try:
            process.wait_for("The server is now ready to accept connections at")
            yield server
        finally:
            process.stop()


@contextlib.contextmanager
def running_postgresql() -> Iterator[PostgresqlServer]:
    """A PostgreSQL server with a new cluster that need not survive anything."""
    folders = sorted(POSTGRESQL.glob("*/bin"), key=lambda folder: float(folder.parent.name), reverse=True)
    program = find("initdb", "postgresql", [str(folder) for folder in folders])
    user = unprivileged_user()
    with private_directory(user) as directory:
        data = make_cluster(program, directory, user)
        server = PostgresqlServer(unused_port(), str(directory))
        settings = {
            "listen_addresses": HOST,
            "port": server.port,
            "unix_socket_directories": directory,
            "ssl": "on",
            "ssl_cert_file": directory / "cert.pem",
            "ssl_key_file": directory / "key.pem",
            "fsync": "off",
            "shared_buffers": "16MB",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        command = [str(Path(program).with_name("postgres")), "-D", data, *options]
        # SIGTERM would wait for the clients to leave; SIGINT ends their sessions.
        process = Program(command, directory, {}, user=user, end_by=signal.SIGINT)
        try:
            process.wait_for("database system is ready to accept connections")
            yield server
        finally:
            process.stop()


def make_cluster(initdb: str, directory: Path, user: str | None) -> str:
    """A new PostgreSQL cluster that lets anybody in; its directory."""
    data = str(directory / "data")
    command = [initdb, "-D", data, "-U", PostgresqlServer.user, "--auth=trust", "--no-locale", "--encoding=UTF8"]
    done = subprocess.run(
        [*command, "--no-sync"],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=SET_UP_SECONDS,
        user=user,
        group=user and pwd.getpwnam(user).pw_gid,
        extra_groups=user and [],
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return data


def unprivileged_user() -> str | None:
    """The user as whom PostgreSQL is run, because it refuses to run as root; None if this is somebody else."""
    if os.geteuid() != 0:
        return None
    with contextlib.suppress(KeyError):
        return pwd.getpwnam("postgres").pw_name
    return "nobody"
