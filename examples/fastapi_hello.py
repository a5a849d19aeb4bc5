"""A FastAPI application with something that lives as long as it; nothing in it knows of netloop, the server is told::

cd examples && uvicorn --loop netloop:new_event_loop fastapi_hello:app
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator

from fastapi import FastAPI, Request


async def report(greeted: Counter[str]) -> None:
    """Say from time to time how many were greeted."""
    while True:
        await asyncio.sleep(60)
        print(f"{greeted.total()} greetings", flush=True)


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """What is done before the first request and after the last one, such as opening a pool of connections."""
    app.state.greeted = Counter()
    reporting = asyncio.create_task(report(app.state.greeted))
    yield
    reporting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await reporting
    print(f"goodbye after {app.state.greeted.total()} greetings", flush=True)


app = FastAPI(lifespan=lifespan)


@app.get("/{name}")
async def hello(name: str, request: Request) -> dict[str, str]:
    """Greet, in JSON."""
    request.app.state.greeted[name] += 1
    return {"hello": name}
