"""A FastAPI application on uvicorn: one handler that answers a short text. Access log off."""

import argparse
import asyncio
import socket

import uvicorn
from fastapi import FastAPI
from fastapi.responses import PlainTextResponse
from serving import BACKLOG, HOST, keep, run

application = FastAPI()


@application.get("/")
async def hello() -> PlainTextResponse:
    """Answer with a short text."""
    return PlainTextResponse("Hello, world")


async def start(options: argparse.Namespace) -> int:
    """Listen and return the port."""
    # With its protocol named, since asyncio sets TCP_NODELAY on the connections of such a socket only.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind((HOST, 0))
    listener.listen(BACKLOG)
    config = uvicorn.Config(application, log_level="warning", access_log=False, lifespan="off", backlog=BACKLOG)
    # Not run(), which would make a loop of its own choice.
    keep(asyncio.ensure_future(uvicorn.Server(config).serve(sockets=[listener])))
    port: int = listener.getsockname()[1]
    return port


if __name__ == "__main__":
    run(start)
