"""Fixtures of the tests that run on every loop."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import Any

import pytest

from .cancelling import WAYS, Walk


@pytest.fixture(params=list(WAYS))
def walk(request: pytest.FixtureRequest, loop: asyncio.AbstractEventLoop, exceptions: Any) -> Walk:
    """Cancels calls at every moment, in one of several ways."""
    return Walk(loop, exceptions, request.param)


@pytest.fixture
def slow_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names are looked up slowly, where Python looks them up."""
    look_up = socket.getaddrinfo

    def slowly(*args: Any, **options: Any) -> Any:
        time.sleep(0.002)
        return look_up(*args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", slowly)
