"""The option of these tests."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--lease-examples", type=int, default=60, help="how many lives of a pool to try, of 60 steps each")
