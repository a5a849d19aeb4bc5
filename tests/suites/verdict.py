"""Compares what a suite finds on asyncio's loop with what it finds on netloop's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from conformance.runner import Outcome

from suites.suite import Suite

__all__ = ["HEADS", "NOT_RUN", "Outcomes", "Verdict", "behind"]

Outcomes = Mapping[str, Outcome]
HEADS = ("suite", "loop", "passed", "failed", "skipped", "behind", "unexpected")
# How much is shown of what a test has to say, from its end.
LINES = 30
NOT_RUN = Outcome("not run", "pytest did not find it, or the module was given up before it")


def behind(asyncio: Outcomes, netloop: Outcomes) -> dict[str, Outcome]:
    """What passes on asyncio's loop and not on netloop's, with what became of it there.

    That is a test, or a module: its process may not end, or not let itself be loaded, on one loop alone.
    """
    tests = {
        test: netloop.get(test, NOT_RUN)
        for test, outcome in asyncio.items()
        if outcome.kind == "passed" and netloop.get(test, NOT_RUN).kind != "passed"
    }
    modules = {name: outcome for name, outcome in netloop.items() if "::" not in name and outcome.bad}
    return tests | {name: outcome for name, outcome in modules.items() if name not in asyncio}


@dataclass
class Verdict:
    """What is known of a suite once it has run on both loops.

    Attributes:
        unsteady: the tests that asyncio passed at one time and not at another, so that they say nothing.
        again: how often each test that is behind has failed on netloop when it was run again, and out of how often.
    """

    suite: Suite
    asyncio: dict[str, Outcome] = field(default_factory=dict)
    netloop: dict[str, Outcome] = field(default_factory=dict)
    unsteady: set[str] = field(default_factory=set)
    again: dict[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def behind(self) -> dict[str, Outcome]:
        """The tests that pass on asyncio's loop each time and do not pass on netloop's, with what became of them."""
        found = behind(self.asyncio, self.netloop)
        return {test: outcome for test, outcome in sorted(found.items()) if test not in self.unsteady}

    @property
    def unexpected(self) -> dict[str, Outcome]:
        """Those of them for which no reason is given."""
        return {test: outcome for test, outcome in self.behind.items() if test not in self.suite.expected}

    @property
    def broken(self) -> dict[str, Outcome]:
        """The modules that cannot be run here, not even on asyncio's loop, so that nothing is known of them."""
        return {test: outcome for test, outcome in self.asyncio.items() if "::" not in test and outcome.bad}

    @property
    def stale(self) -> dict[str, str]:
        """The expectations that did not come true, and what is the matter with them."""
        found = {}
        for test in self.suite.expected:
            if test not in self.asyncio:
                found[test] = "is expected to fail, and there is no such test"
            elif test not in self.behind and test not in self.unsteady:
                found[test] = f"is expected to fail, and {self.netloop.get(test, NOT_RUN).kind} on netloop"
        return found

    def rows(self) -> list[list[str]]:
        """The rows of this suite in the table of results, one for each loop; see HEADS."""
        rows = []
        for loop_name, outcomes in (("asyncio", self.asyncio), ("netloop", self.netloop)):
            kinds = Counter("failed" if outcome.bad else outcome.kind for outcome in outcomes.values())
            counts = [str(kinds[kind]) for kind in ("passed", "failed", "skipped")]
            rows.append([f"{self.suite.name} {self.suite.version}", loop_name, *counts, "", ""])
        rows[-1][-2:] = [str(len(self.behind)), str(len(self.unexpected))]
        return rows

    def show(self) -> None:
        """Print each test that is behind, and what says nothing of netloop."""
        for test, outcome in self.behind.items():
            reason = self.suite.expected.get(test)
            failed, times = self.again.get(test, (0, 0))
            steady = f", and {failed} of {times} times on its own" if times else ""
            print(f"\n{self.suite.name}: {test}: {outcome.kind}{steady}")
            print(f"    expected: {reason}" if reason else _indented(outcome.why))
        for test in sorted(self.unsteady):
            print(f"\n{self.suite.name}: {test}: fails at times on asyncio's loop as well, so it says nothing")
        for module, outcome in self.broken.items():
            print(f"\n{self.suite.name}: {module} cannot be run, not even on asyncio:\n{_indented(outcome.why)}")

    def show_stale(self) -> None:
        """Print the reasons that no longer apply."""
        for test, matter in self.stale.items():
            print(f"\n{self.suite.name}: {test} {matter}")


def _indented(text: str) -> str:
    return "\n".join("    " + line for line in text.splitlines()[-LINES:])
