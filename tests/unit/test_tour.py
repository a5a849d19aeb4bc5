"""netloop/README.md, the tour of the source, agrees with the source.

TestTour is about the document as it is. The other tests are about the checks, which must find what is wrong in a small
document and the source made for it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest
from unit.tour import WAYS, Tour, read_source, steps_under

ROOT: Final = Path(__file__).resolve().parents[2]
README: Final = ROOT / "netloop" / "README.md"


@pytest.fixture(scope="module")
def text() -> str:
    return README.read_text()


class TestTour:
    def test_the_source_bears_out_all_that_it_says(self, text: str) -> None:
        if mistakes := Tour(text, ROOT).mistakes():
            pytest.fail("\n".join(mistakes), pytrace=False)

    @pytest.mark.parametrize("way", WAYS)
    def test_a_byte_passes_through_at_most_four_functions_in_at_most_two_files(self, text: str, way: str) -> None:
        steps = steps_under(way, text)
        assert 2 <= len(steps) <= 4
        assert 1 <= len({file for _, file in steps if file}) <= 2

    def test_it_comes_by_every_compiled_module(self, text: str) -> None:
        modules = [str(file.relative_to(ROOT / "netloop")) for file in (ROOT / "netloop").rglob("*.pyx")]
        assert modules
        assert [module for module in sorted(modules) if f"`{module}`" not in text] == []


# A tour in which nothing is wrong, and the source that it tells of. Some of it looks wrong to a hasty reader.
TOUR: Final = """\
# A tour

`Ring.dispatch` (`core/ring.pyx`) → `Ring.dispatch_one`, then `Ring.flush` →
`on_flush`. A field is `Ring.slots`, an inline method `Ring.mark`; `nl_prep_send` and `NL_SEND` are C's, and
`connection_made` is asyncio's. See `core/`, `cext/nl_prep.h` and `loop.statistics()`.

```console
$ python -c 'Ring.nowhere'    # `no_such_thing` → nothing
```

### The way in

1. `Ring.dispatch_one` (`core/ring.pyx`) looks, and `Ring.flush` does not count.
2. `Stream.on_completion` (`transports/stream.pyx`) chooses.
3. `Stream.deliver` calls.

### The way out

1. `Stream.write` (`transports/stream.pyx`)
2. `Stream.added` marks.
3. `Stream.on_flush` sends.

### One turn

1. `Ring.flush`: out.
2. `Ring.enter`: both.
3. `Ring.flush`: again.
"""

SOURCE: Final = {
    "netloop/core/ring.pxd": """\
cdef class Ring:
    cdef int slots, taken

    cdef int dispatch(self) except -1

    cdef inline int mark(self) except -1:
        return 0
""",
    "netloop/core/ring.pyx": '''\
cdef class Ring:
    """Ring.imagined() is told of here alone."""

    cdef int dispatch(self) except -1:
        while True:  # self.never()
            self.dispatch_one()
        return 0

    cdef int dispatch_one(self, const c.io_uring_cqe *cqe,
                          bint last) except -1:
        """
Not indented, and still inside; "self.drop()" is no call.
        """
        return endpoint.on_completion()

    cdef int flush(self) except -1:
        return endpoint.on_flush()

    def enter(
        self,
    ) -> None:
        pass


def after_the_class():
    self.dispatch()
''',
    "netloop/core/turn.pyx": """\
cdef class LoopCore:
    cdef int turn(self) except -1:
        ring.flush()
        ring.enter(1, limit)
        ring.flush()
        return 0
""",
    "netloop/transports/stream.pyx": """\
cdef class Streaming:
    def on_flush(self):
        return 1

cdef class Stream(Streaming):
    cdef int on_completion(self) except -1:
        return self.deliver(data)

    cdef int deliver(self, object data) except -1:
        self.protocol.data_received(data)

    cpdef write(self, data):
        self.added()

    cdef int added(self) except -1:
        self.mark_dirty()

    cdef int on_flush(self) except -1:
        c.nl_prep_send(self.sqe())
""",
    "netloop/event_loop.py": "class EventLoop(\n    LoopCore,\n):\n    def statistics(self) -> object: ...\n",
    "cext/nl_prep.h": "/* nl_gone() */\nenum { NL_SEND };\nstatic inline void nl_prep_send(void *sqe) {}\n",
}


def mistakes(root: Path, *changes: tuple[str, str]) -> list[str]:
    """What is wrong with the tour and its source when each first text is replaced by the second, wherever it stands."""
    texts = {"tour": TOUR, **SOURCE}
    for before, after in changes:
        assert any(before in text for text in texts.values()), before
        texts = {name: text.replace(before, after) for name, text in texts.items()}
    for name, text in texts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return Tour(texts["tour"], root).mistakes()


class TestChecks:
    def test_a_tour_without_mistakes(self, tmp_path: Path) -> None:
        assert mistakes(tmp_path) == []

    @pytest.mark.parametrize(
        ("right", "wrong", "message"),
        [
            ("`Ring.slots`", "`Ring.slot`", "`Ring.slot` is not in core/ring.pyx"),
            ("`Ring.slots`", "`Ring.imagined`", "`Ring.imagined` is not in core/ring.pyx"),
            ("`Ring.slots`", "`Ring.after_the_class`", "`Ring.after_the_class` is not in core/ring.pyx"),
            ("`Ring.slots`", "`Ring.write`", "`Ring.write` is not in core/ring.pyx"),
            ("`Ring.slots`", "`Stream.slots`", "`Stream.slots` is not in transports/stream.pyx"),
            ("`Ring.slots`", "`LoopCore.turn`", "`LoopCore.turn` is not in the source"),
            ("`Ring.slots`", "`Lop.turn` (`core/turn.pyx`)", "`Lop.turn` is not in core/turn.pyx"),
            ("`Ring.slots`", "`LoopCore.turn` (`core/trun.pyx`)", "`LoopCore.turn`: there is no file core/trun.pyx"),
            ("`connection_made`", "`connection_mode`", "`connection_mode` is not in the source"),
            ("`nl_prep_send`", "`nl_gone`", "`nl_gone` is not in the source"),
            ("`NL_SEND`", "`NL_SENT`", "`NL_SENT` is not in the source"),
            ("`cext/nl_prep.h`", "`cext/nl_perp.h`", "`cext/nl_perp.h` is not in the source"),
            ("`loop.statistics()`", "`loop.statistic()`", "`loop.statistic()` is not in the source"),
            ("`loop.statistics()`", "`statistics() or so`", "`statistics() or so` is not in the source"),
        ],
    )
    def test_a_name_that_is_not_there(self, tmp_path: Path, right: str, wrong: str, message: str) -> None:
        assert mistakes(tmp_path, (right, wrong)) == [message]

    def test_a_name_that_has_gone_from_the_source(self, tmp_path: Path) -> None:
        assert mistakes(tmp_path, ("cdef int slots, taken", "cdef int taken")) == [
            "`Ring.slots` is not in core/ring.pyx"
        ]

    @pytest.mark.parametrize("called", ["never", "on_flush", "dispatch"])
    def test_an_arrow_without_a_call(self, tmp_path: Path, called: str) -> None:
        assert mistakes(tmp_path, ("self.dispatch_one()", f"self.{called}()")) == [
            "`Ring.dispatch` does not call `Ring.dispatch_one`"
        ]

    def test_an_arrow_between_other_things_than_names(self, tmp_path: Path) -> None:
        assert mistakes(tmp_path, ("`on_flush`. A", "on_flush. A")) == [
            "of 2 arrows only 1 stand between two names",
        ]

    def test_each_arrow_of_a_chain_counts(self, tmp_path: Path) -> None:
        assert mistakes(tmp_path, ("`on_flush`. A", "`on_flush` → `Ring.mark`. A")) == [
            "`on_flush` does not call `Ring.mark`",
        ]

    @pytest.mark.parametrize(
        ("right", "wrong", "message"),
        [
            ("endpoint.on_completion()", "0", "The way in: `Ring.dispatch_one` does not call `Stream.on_completion`"),
            ("endpoint.on_completion()", "0  # endpoint.on_completion()", "does not call `Stream.on_completion`"),
            ("endpoint.on_completion()", "endpoint.no_completion()", "does not call `Stream.on_completion`"),
            ("self.deliver(data)", "self.deliverer(data)", "`Stream.on_completion` does not call `Stream.deliver`"),
            ("self.protocol.data_received(data)", "pass", "The way in: `Stream.deliver` does not call `data_received`"),
            ("self.added()", "pass", "The way out: `Stream.write` does not call `Stream.added`"),
            ("self.mark_dirty()", "pass", "The way out: `Stream.added` does not call `Stream.on_flush`"),
            (
                "c.nl_prep_send(self",
                "c.nl_prep_recv(self",
                "The way out: `Stream.on_flush` does not call `nl_prep_send`",
            ),
            ("### The way in", "### The way", "The way in: there are no steps"),
        ],
    )
    def test_a_way_that_is_broken(self, tmp_path: Path, right: str, wrong: str, message: str) -> None:
        (found,) = mistakes(tmp_path, (right, wrong))
        assert found.endswith(message)

    def test_only_a_flush_follows_on_being_dirty(self, tmp_path: Path) -> None:
        assert mistakes(tmp_path, ("self.added()", "self.mark_dirty()")) == [
            "The way out: `Stream.write` does not call `Stream.added`"
        ]

    @pytest.mark.parametrize(
        ("more", "message"),
        [
            ("4. `Stream.write`\n5. `Stream.added`\n", "The way in: 5 functions in 2 files"),
            ("4. `LoopCore.turn` (`core/turn.pyx`)\n", "The way in: 4 functions in 3 files"),
        ],
    )
    def test_a_way_that_is_too_long(self, tmp_path: Path, more: str, message: str) -> None:
        assert message in mistakes(tmp_path, ("3. `Stream.deliver` calls.\n", f"3. `Stream.deliver` calls.\n{more}"))

    @pytest.mark.parametrize(
        "turn", ["ring.enter()\n        ring.flush()\n        ring.flush()", "ring.flush()\n        ring.enter()"]
    )
    def test_a_turn_in_another_order(self, tmp_path: Path, turn: str) -> None:
        before = "ring.flush()\n        ring.enter(1, limit)\n        ring.flush()"
        (found,) = mistakes(tmp_path, (before, turn))
        assert found.startswith("One turn: `LoopCore.turn` does not call `Ring.")


def test_strings_and_comments_are_no_code(tmp_path: Path) -> None:
    (tmp_path / "a.pyx").write_text('a("# b()")  # c()\n"""d()\n"""\ne(b"\\"f()")\n')
    (tmp_path / "a.h").write_text('#define A b()\n/* c()\n */ d("e()"); // f()\n')
    assert read_source(tmp_path / "a.pyx").split() == ["a(", ")", "e(b", ")"]
    assert read_source(tmp_path / "a.h").split() == ["#define", "A", "b()", "d(", ");"]
    assert read_source(tmp_path / "a.pyx").count("\n") == 4
    assert read_source(tmp_path / "gone.pyx") == ""
