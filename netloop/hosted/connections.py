"""The calls that connect and serve, where asyncio's own would leave something behind when they are cancelled.

asyncio's race of addresses forgets the sockets of attempts that succeed when the call is cancelled at that moment, and
before Python 3.12 it may begin another attempt then. Its create_server() leaves the server running if it is cancelled
while the first accepts are armed. Its start_tls() closes the connection, and never tells the protocol.
"""

from __future__ import annotations

import asyncio
import functools
import socket
import ssl
import sys
from asyncio import base_events, sslproto
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeVar, cast

from netloop.hosted.loop_mixin import LoopMixin
from netloop.hosted.tls import refuse_leases

__all__ = ["Connections"]

_Method = TypeVar("_Method", bound=Callable[..., Any])


def _as_asyncio(method: Any) -> Callable[[_Method], _Method]:
    """Shows the parameters that asyncio's method has in this version of Python, to which the others are passed on."""
    return cast("Callable[[_Method], _Method]", functools.wraps(method, assigned=(), updated=()))


class Connections(LoopMixin):
    """The methods of a loop that connect and serve by address, except for what they share with others."""

    @_as_asyncio(asyncio.BaseEventLoop.create_connection)
    async def create_connection(
        self,
        protocol_factory: Callable[[], Any],
        host: Any = None,
        port: Any = None,
        *,
        sock: socket.socket | None = None,
        happy_eyeballs_delay: float | None = None,
        interleave: int | None = None,
        **options: Any,
    ) -> Any:
        """Connect to a server: a transport and its protocol; see asyncio.loop.create_connection.

        Raises:
            OSError: the host is not found, or none of its addresses answers.
            ValueError: the arguments contradict each other.
        """
        refused = "all_errors" in options and sys.version_info < (3, 12)
        if happy_eyeballs_delay is None or sock is not None or (host is None and port is None) or refused:
            return await super().create_connection(
                protocol_factory,
                host,
                port,
                sock=sock,
                happy_eyeballs_delay=happy_eyeballs_delay,
                interleave=interleave,
                **options,
            )
        tls = _tls_options(host, options)
        sock = await self._race((host, port), happy_eyeballs_delay, 1 if interleave is None else interleave, **options)
        return await super().create_connection(protocol_factory, sock=sock, **tls)

    async def _race(
        self,
        address: tuple[Any, Any],
        delay: float,
        interleave: int,
        *,
        family: int = 0,
        proto: int = 0,
        flags: int = 0,
        local_addr: Any = None,
        all_errors: bool = False,
    ) -> socket.socket:
        """A socket connected to whichever of a host's addresses answers first (RFC 8305)."""

        async def resolve(wanted: Any) -> list[Any]:
            found = await self._ensure_resolved(
                wanted, family=family, type=socket.SOCK_STREAM, proto=proto, flags=flags, loop=self
            )
            if not found:
                raise OSError("getaddrinfo() returned empty list")
            return found

        infos = await resolve(address)
        local = None if local_addr is None else await resolve(local_addr)
        if interleave:
            infos = base_events._interleave_addrinfos(infos, interleave)  # type: ignore[attr-defined]
        errors: list[list[OSError]] = []
        try:
            winner = await self._first((self._connect_sock(errors, info, local) for info in infos), delay)
            if winner is None:
                raise _joined([error for each in errors for error in each], all_errors)
            return winner
        finally:
            # The traceback of what was raised has this frame: each error in the list would be a cycle with itself.
            errors.clear()

    async def _first(
        self, attempts: Iterable[Coroutine[Any, Any, socket.socket]], delay: float
    ) -> socket.socket | None:
        """What the first attempt that succeeds returns, or None if all fail with OSError.

        The next one begins when one has failed, or after ``delay`` seconds. The sockets of all others are closed.
        """
        begun: set[asyncio.Task[socket.socket]] = set()
        waiting = iter(attempts)
        more = True
        try:
            while more or begun:
                attempt = next(waiting, None)
                more = attempt is not None
                if attempt is not None:
                    begun.add(self.create_task(attempt))
                if begun:
                    await asyncio.wait(begun, timeout=delay if more else None, return_when=asyncio.FIRST_COMPLETED)
                for task in [task for task in begun if task.done()]:
                    begun.discard(task)
                    if not task.cancelled() and isinstance(task.exception(), OSError):
                        continue
                    return task.result()
            return None
        finally:
            for task in begun:
                task.cancel()
                task.add_done_callback(_close_result)

    @_as_asyncio(asyncio.BaseEventLoop.create_server)
    async def create_server(
        self, protocol_factory: Callable[[], Any], *args: Any, start_serving: bool = True, **options: Any
    ) -> asyncio.Server:
        """Serve on addresses; see asyncio.loop.create_server."""
        server: Any = await super().create_server(protocol_factory, *args, start_serving=False, **options)
        if start_serving:
            await self._begin_serving(server)
        return server  # type: ignore[no-any-return]

    @_as_asyncio(asyncio.BaseEventLoop.start_tls)
    async def start_tls(
        self, transport: Any, protocol: asyncio.BaseProtocol, sslcontext: ssl.SSLContext, **options: Any
    ) -> Any:
        """Begin TLS on a connection; see asyncio.loop.start_tls. If it fails, the connection ends.

        Raises TypeError for a LeaseProtocol, before anything is done.
        """
        refuse_leases(protocol)
        try:
            return await super().start_tls(transport, protocol, sslcontext, **options)
        except BaseException:
            tls: Any = transport.get_protocol() if hasattr(transport, "get_protocol") else None
            # One that loses the connection in the middle of the handshake tells nobody but who waits for that.
            if getattr(tls, "_state", None) is sslproto.SSLProtocolState.DO_HANDSHAKE:
                tls._set_state(sslproto.SSLProtocolState.UNWRAPPED)
            raise

    async def _begin_serving(self, server: Any) -> None:
        """Start a new server, and wait until the first accepts are armed: when this turn's submissions are written."""
        try:
            server._start_serving()
            await asyncio.sleep(0)
        except BaseException:
            server.close()
            raise


def _tls_options(host: Any, options: dict[str, Any]) -> dict[str, Any]:
    """Take what concerns TLS out of the options of create_connection(), and check it before there is a connection."""
    names = ("ssl", "server_hostname", "ssl_handshake_timeout", "ssl_shutdown_timeout")
    tls = {name: options.pop(name) for name in names if options.get(name) is not None}
    if tls.get("ssl"):
        if "server_hostname" not in tls and not host:
            raise ValueError("You must set server_hostname when using ssl without a host")
        return {"server_hostname": host, **tls}
    for name in names[1:]:
        if name in tls:
            raise ValueError(f"{name} is only meaningful with ssl")
    return {}


def _close_result(task: asyncio.Task[socket.socket]) -> None:
    """Nobody wants what an attempt has brought about."""
    if not task.cancelled() and task.exception() is None:
        task.result().close()


def _joined(errors: list[OSError], all_errors: bool) -> BaseException:
    """The errors of all attempts as one, as asyncio words it."""
    if all_errors:
        return ExceptionGroup("create_connection failed", errors)
    if len({str(error) for error in errors}) == 1:
        return errors[0]
    return OSError("Multiple exceptions: " + ", ".join(str(error) for error in errors))
