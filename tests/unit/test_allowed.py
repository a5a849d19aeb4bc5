"""What a loop's ring may do is what the C core uses: nothing is missing from the table, nothing is more than that."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from netloop.core.probe import probe
from netloop.core.ring import list_allowed
from netloop.tools.doctor.catalogue import CATALOGUE

ROOT = Path(__file__).resolve().parents[2]
CORE = ROOT / "cext"
COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
# What is asked of rings that are made for the question, and restricted by nobody; what only pretends; the table itself.
ASIDE = {"nl_probe", "nl_older", "nl_allowed", "nl_kernel"}
# A ring that is not enabled yet may register everything.
BEFORE = {"REGISTER_PROBE", "REGISTER_RESTRICTIONS", "REGISTER_ENABLE_RINGS", "REGISTER_NAPI"}


def named(pattern: str, paths: Iterable[Path]) -> set[str]:
    """What a pattern's group matches in C sources, comments aside."""
    return {name for path in paths for name in re.findall(pattern, COMMENT.sub("", path.read_text(encoding="utf-8")))}


def sources() -> list[Path]:
    """The C core, but for what only asks the kernel, pretends an older one, or is the table."""
    return [path for path in CORE.glob("*.[ch]") if path.stem not in ASIDE]


def test_every_operation_is_listed_and_no_other() -> None:
    used = named(r"\b(?:IORING|NL)_OP_(\w+)", sources())
    assert used == set(list_allowed()["operations"])


def test_every_flag_of_a_submission_is_listed_and_no_other() -> None:
    assert named(r"\bIOSQE_(\w+)", sources()) == set(list_allowed()["flags"])


def test_every_registration_is_listed_and_no_other() -> None:
    used = named(r"\bnl_ring_control\(\s*\w+,\s*(?:IORING|NL)_(\w+)", sources())
    assert used - BEFORE == set(list_allowed()["registrations"])


def test_only_the_core_writes_submissions_and_registers() -> None:
    """Each Cython module goes through its functions, so the sources above are all there is to look through."""
    for path in (ROOT / "netloop").rglob("*.p[yx][xd]"):
        text = path.read_text(encoding="utf-8")
        assert "nl_ring_control" not in text, path
        assert "nl_prep(" not in text, path
        assert not re.search(r"\bsqe\.(?:opcode|flags) *=", text), path


def test_nothing_is_listed_twice_and_the_probe_knows_the_names() -> None:
    for names in list_allowed().values():
        assert len(set(names)) == len(names)
    assert set(list_allowed()["operations"]) - set(probe()["operations"]) == {"NOP"}


def test_what_doctor_says_is_made_use_of_is_listed_and_no_other() -> None:
    used = {name for name, feature in CATALOGUE["operations"].items() if feature.cost}
    assert used | {"NOP"} == set(list_allowed()["operations"])
