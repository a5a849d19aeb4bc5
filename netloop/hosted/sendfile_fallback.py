"""loop.sendfile() of what the ring cannot read, or over TLS: asyncio's own, with its flow control put right.

asyncio lets a protocol of its own stand in for the connection's. If writing is paused when that one goes, because the
call was cancelled or the last part was large, the connection's protocol is not told, and is later told to resume what
it has never paused.
"""

from __future__ import annotations

from typing import Any

from netloop.hosted.loop_mixin import LoopMixin

__all__ = ["SendFileFallback"]


class SendFileFallback(LoopMixin):
    """The part of a loop that reads a file in a thread and writes it to a transport."""

    async def _sendfile_fallback(self, transport: Any, file: Any, offset: int, count: int | None) -> int:
        protocol = transport.get_protocol()
        try:
            return await super()._sendfile_fallback(transport, file, offset, count)  # type: ignore[misc, no-any-return]
        finally:
            if transport._protocol_paused and not transport.is_closing():
                protocol.pause_writing()
