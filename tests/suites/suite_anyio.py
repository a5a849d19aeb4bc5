"""anyio's tests on its asyncio backend: sockets, TLS streams, cancel scopes, processes, threads, files.

They make their loops by ``asyncio.Runner``. uvloop and trio are not installed, so what is parametrized by backend runs
on asyncio's alone.
"""

from __future__ import annotations

from suites.suite import Suite

__all__ = ["SUITE"]

SUITE = Suite(
    name="anyio",
    version="4.16.0",
    requirements=(
        "blockbuster==1.5.29",
        "hypothesis==6.170.17",
        "psutil==7.2.2",
        "pytest==9.2.0",
        "pytest-mock==3.17.0",
        "pytest-timeout==2.4.0",
        "trustme==1.2.1",
        "truststore==0.10.5",
    ),
    content=("tests", "pyproject.toml"),
    modules=("tests/**/test_*.py",),
    # As its own configuration has it: plugins are named on the command line.
    environment={"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
    # There is no Internet where this runs.
    options=("-m", "not network"),
)
