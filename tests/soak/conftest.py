"""What the soak tests share: their chance, and how long they go on.

Every test draws what it does from one seeded source of chance; the seed of a failure is printed with it. What threads,
timers and the kernel do in between is not repeatable, so a seed makes a failure likely to come again, not certain.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SEED = 1
SECONDS = 2.0
ROOM = 60.0  # seconds a test may take for everything but its soaking


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("soak", "tests that do random things (name tests/soak on the command line)")
    group.addoption("--soak-seed", type=int, default=SEED, help="where the random things begin")
    group.addoption("--soak-seconds", type=float, default=SECONDS, help="how long each of the tests goes on")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "room(seconds): how long this test may take besides its soaking, if not a minute"
    )


def option(config: pytest.Config, name: str, default: float) -> Any:
    """An option, or its default where this file was loaded too late to have options."""
    return config.getoption(name, default)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == Path(__file__).parent:
            room = item.get_closest_marker("room")
            seconds = option(config, "soak_seconds", SECONDS) + (room.args[0] if room else ROOM)
            item.add_marker(pytest.mark.limit(seconds))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    report = yield
    if report.failed:
        report.sections.append(("soak", f"repeat with --soak-seed={option(item.config, 'soak_seed', SEED)}"))
    return report


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """The seed of this run."""
    return int(option(request.config, "soak_seed", SEED))


@pytest.fixture
def chance(seed: int) -> random.Random:
    """The source of chance."""
    return random.Random(seed)


@pytest.fixture
def seconds(request: pytest.FixtureRequest) -> float:
    """How long to go on."""
    return float(option(request.config, "soak_seconds", SECONDS))


@pytest.fixture
def going_on(seconds: float) -> Callable[[], bool]:
    """Tells whether there is time left for another round."""
    end = time.monotonic() + seconds
    return lambda: time.monotonic() < end
