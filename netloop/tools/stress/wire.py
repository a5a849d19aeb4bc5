"""How the parent and its children talk: a line of JSON each, commands on standard input, events on standard output."""

from __future__ import annotations

import asyncio
import json
import resource
import sys
from collections.abc import AsyncIterator
from typing import Any

__all__ = ["commands", "raise_descriptor_limit", "say"]


def say(event: str, **fields: Any) -> None:
    """Tell the parent something."""
    print(json.dumps({"event": event, **fields}), flush=True)


async def commands() -> AsyncIterator[dict[str, Any]]:
    """The parent's commands, until it closes its end."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    try:
        while line := await reader.readline():
            yield json.loads(line)
    finally:
        transport.close()


def raise_descriptor_limit() -> int:
    """Allow this process as many descriptors as it may have, and return how many those are."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most
