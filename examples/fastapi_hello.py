"""A FastAPI application; nothing in it knows of netloop, the server is told::

cd examples && uvicorn --loop netloop:new_event_loop fastapi_hello:app
"""

from __future__ import annotations

from fastapi import FastAPI

app = FastAPI()


@app.get("/{name}")
async def hello(name: str) -> dict[str, str]:
    """Greet, in JSON."""
    return {"hello": name}
