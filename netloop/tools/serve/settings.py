"""What a master tells its workers on their command lines, and what they tell it."""

from __future__ import annotations

import dataclasses
import json
from typing import Any, Final, Self

from netloop.tools.serve.options import Application

__all__ = ["CLEAN_UP_SECONDS", "SERVING", "WorkerSettings"]

SERVING: Final = b"s"
"""What a worker writes on its control socket when it serves. The master writes nothing; its end is the socket's end."""

CLEAN_UP_SECONDS: Final = 3.0
"""How long a process may take beyond the time that its requests have, before it is killed."""


@dataclasses.dataclass(frozen=True)
class WorkerSettings:
    """What to serve, on which descriptors; the control socket's; the master's process; the CPU to run on, if any."""

    application: Application
    sockets: list[int]
    control: int
    master: int
    cpu: int | None

    def to_json(self) -> str:
        """As an argument of the worker's command line."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """What ``to_json`` has made."""
        values: dict[str, Any] = json.loads(text)
        return cls(**{**values, "application": Application(**values["application"])})
