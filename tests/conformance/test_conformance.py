"""CPython's own tests of asyncio, from the interpreter that runs this, on netloop's loop."""

from __future__ import annotations

import importlib.util

import pytest

from conformance.expectations import LEFT_OUT, MODULES, expected_failures
from conformance.runner import Outcome, run_module

if importlib.util.find_spec("test") is None or importlib.util.find_spec("test.test_asyncio") is None:
    pytest.skip(
        "this Python comes without its own tests; on Debian: apt-get install libpython3-testsuite",
        allow_module_level=True,
    )


def exists(module: str) -> bool:
    """Does this version of Python have this module of tests?"""
    return importlib.util.find_spec(f"test.test_asyncio.{module}") is not None


def short_of_asyncio(module: str, outcomes: dict[str, Outcome]) -> dict[str, Outcome]:
    """Those of the tests that did not pass which do pass on asyncio's own loop, here and now.

    A test that this machine does not let asyncio pass either, or that asyncio skips as well, says nothing of netloop.
    """
    behind = {name: outcome for name, outcome in outcomes.items() if outcome.kind != "passed"}
    names = [name for name in behind if "." in name]
    standard = run_module("asyncio", module, only=names) if names else {}
    return {
        name: outcome for name, outcome in behind.items() if name not in standard or standard[name].kind == "passed"
    }


def describe(tests: dict[str, Outcome]) -> str:
    return "\n\n".join(f"{name} {outcome.kind}\n{outcome.why}" for name, outcome in sorted(tests.items()))


@pytest.mark.limit(1800)
@pytest.mark.parametrize("module", [module for module in MODULES if exists(module)])
def test_what_passes_on_asyncio_passes_on_netloop(module: str) -> None:
    outcomes = run_module("netloop", module, without=LEFT_OUT.get(module, {}))
    expected = expected_failures(module)
    behind = short_of_asyncio(module, outcomes)
    gone = expected.keys() - outcomes.keys()
    assert not gone, f"expected to fail, but not among the tests: {sorted(gone)}"
    unexpected = {name: outcome for name, outcome in behind.items() if name not in expected}
    assert not unexpected, describe(unexpected)
    passing = expected.keys() - behind.keys()
    assert not passing, f"expected to fail, but they do not: {sorted(passing)}"
    print(f"{module}: {sum(outcome.kind == 'passed' for outcome in outcomes.values())} passed")
