"""What the loop's Python parts may expect of the loop they are part of, for the type checker alone.

Each part is a base class of the loop and calls methods that the loop has from its other bases. The type checker finds
them in LoopMixin. When the program runs LoopMixin is ``object``: it adds nothing to a loop and imports nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__all__ = ["LoopMixin"]

if TYPE_CHECKING:
    import asyncio
    import socket
    from typing import Any

    from netloop.core.turn import LoopCore

    class LoopMixin(LoopCore, asyncio.BaseEventLoop):
        """A loop, with those methods of asyncio.BaseEventLoop that typeshed leaves out."""

        _default_executor: Any

        def _check_closed(self) -> None: ...

        def _check_running(self) -> None: ...

        async def _ensure_resolved(
            self, address: Any, *, family: int, type: int, proto: int, flags: int = 0, loop: asyncio.AbstractEventLoop
        ) -> list[Any]: ...

        def _check_sendfile_params(self, sock: Any, file: Any, offset: Any, count: Any) -> None: ...

        async def _connect_sock(
            self, exceptions: list[Any], addr_info: Any, local_addr_infos: Any = None
        ) -> socket.socket: ...

        async def _create_connection_transport(
            self,
            sock: socket.socket,
            protocol_factory: Any,
            ssl: Any,
            server_hostname: str | None,
            *,
            ssl_handshake_timeout: float | None,
            ssl_shutdown_timeout: float | None,
        ) -> tuple[Any, Any]: ...

else:
    LoopMixin = object
