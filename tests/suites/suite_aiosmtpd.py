"""aiosmtpd's tests: SMTP servers in threads of their own, TLS, UNIX sockets, and programs that run them.

They make their loops by ``asyncio.new_event_loop()``. The tests are part of the package.
"""

from __future__ import annotations

from suites.suite import Suite

__all__ = ["SUITE"]

SUITE = Suite(
    name="aiosmtpd",
    version="1.4.6",
    requirements=("pytest==9.2.0", "pytest-mock==3.17.0", "setuptools==80.9.0"),
    content=("aiosmtpd", "pytest.ini"),
    modules=("aiosmtpd/tests/test_*.py",),
    # Its own options measure the coverage of its code; one concerns a plugin that no test needs, and is unknown without
    # it. The warning about pkg_resources, which it means to ignore, has changed its category since.
    options=(
        *("-o", "addopts="),
        *("-W", "ignore::pytest.PytestConfigWarning"),
        *("-W", "ignore:pkg_resources is deprecated:UserWarning"),
    ),
)
