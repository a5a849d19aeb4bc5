"""The picture of a whole run: every row is in it, it fits a screen, and nothing in it lies over anything else."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest
from harness import overview, plot
from harness.canvas import load_matplotlib
from harness.contenders import Availability
from harness.errors import BenchError
from harness.measure import Sample
from harness.report import Report
from harness.rows import FULL, QUICK, Row, parse
from harness.schedule import Outcome

#: What rows are compared by.
FIGURES = ("cpu_us", "connection_kib", "last_ms")
#: Up to this width and height a picture fits a screen.
WIDTH, HEIGHT = 1400, 900


def report(rows: tuple[Row, ...], ratio: float = 0.8) -> Report:
    """A run in which netloop takes that share of uvloop's CPU in each row, and a little more in the second repeat."""
    samples = []
    for row in rows:
        for name, value in (("netloop", ratio), ("uvloop", 1.0)):
            for repeat in range(2):
                spent = value * (1 + 0.1 * repeat) if name == "netloop" else value
                samples.append(Sample(name, row.name, repeat, dict.fromkeys(FIGURES, spent)))
    contenders = {name: Availability("1.0") for name in ("netloop", "uvloop")}
    return Report("bench", {}, {}, list(rows), contenders, {}, {}, Outcome(samples))


@pytest.fixture(scope="module")
def pyplot() -> Any:
    """matplotlib, which opens its fonts when it first draws, and keeps them open."""
    try:
        loaded = load_matplotlib()
    except BenchError:
        pytest.skip("matplotlib is not installed; it comes with `pip install '.[test]'`")
    picture = loaded.figure()
    picture.suptitle("text")
    picture.canvas.draw()
    loaded.close(picture)
    return loaded


def size_of_png(path: Path) -> tuple[int, int]:
    """Width and height, from the header of the file."""
    width, height = struct.unpack("!II", path.read_bytes()[16:24])
    return width, height


def test_every_measured_row_is_in_one_panel() -> None:
    found = overview.panels(overview.points(report(FULL)))
    assert sorted(point.row.name for drawn in found.values() for point in drawn) == sorted(row.name for row in FULL)
    rest = (overview.FILES, overview.CROWDS, overview.REST, overview.DATAGRAMS, overview.HTTP)
    assert list(found) == [*overview.ECHO, *rest]
    assert [len(found[kind]) for kind in overview.ECHO] == [20, 20, 20, 20]


def test_rows_that_one_of_two_has_not_run_are_left_out() -> None:
    whole = report((parse("protocol:10x64"), parse("call_soon")))
    whole.outcome.failures["call_soon", "netloop"] = "it was slow"
    assert [point.row.name for point in overview.points(whole)] == ["protocol:10x64"]
    whole.outcome.failures["protocol:10x64", "uvloop"] = "it lost a byte"
    found = Report("bench", {}, {}, whole.rows, whole.contenders, {}, {}, whole.outcome)
    assert overview.points(found) == []


def test_echo_with_more_than_one_message_under_way_is_a_row_of_its_own() -> None:
    found = overview.panels(overview.points(report((parse("protocol:10x64"), parse("protocol:10x64@4")))))
    assert [point.row.name for point in found["protocol"]] == ["protocol:10x64"]
    assert [point.row.name for point in found[overview.REST]] == ["protocol:10x64@4"]


def boxes(picture: Any) -> list[tuple[str, Any]]:
    """The texts of a drawn picture, each with the box it lies in; and the panels."""
    picture.draw_without_rendering()
    texts = [(picture.get_suptitle(), picture._suptitle.get_window_extent())]
    for axes in picture.get_axes():
        labels = [axes.title, axes.xaxis.label, axes.yaxis.label, *axes.get_xticklabels(), *axes.get_yticklabels()]
        texts += [(text.get_text(), text.get_window_extent()) for text in labels if text.get_text()]
        texts.append(("panel", axes.get_window_extent()))
    return [(text, box) for text, box in texts if box.width > 0]


@pytest.mark.parametrize(
    ("rows", "ratio"),
    [(FULL, 0.8), (QUICK, 1.3), ((parse("call_soon"),), 0.1), ((parse("sock:7x100"),), 3.0), (FULL, 12.0)],
    ids=["full", "quick", "callbacks", "one", "slow"],
)
def test_nothing_lies_over_anything_else(pyplot: Any, rows: tuple[Row, ...], ratio: float) -> None:
    picture = overview.draw(report(rows, ratio), pyplot)
    try:
        found = boxes(picture)
        whole = picture.bbox
        for place, (text, box) in enumerate(found):
            inside = box.x0 >= 0 and box.y0 >= 0 and box.x1 <= whole.x1 and box.y1 <= whole.y1
            assert inside, f"“{text}” is cut off"
            # Boxes that only touch do not lie over each other.
            covered = [other for other, its in found[place + 1 :] if box.padded(-0.5).overlaps(its.padded(-0.5))]
            assert not covered, f"“{text}” lies over {covered}"
    finally:
        pyplot.close(picture)


def test_a_full_run_fits_a_screen_and_names_every_row(pyplot: Any, tmp_path: Path) -> None:
    paths = plot.plot(report(FULL), tmp_path)
    assert [path.name for path in paths[:2]] == ["overview.svg", "overview.png"]
    width, height = size_of_png(tmp_path / "overview.png")
    assert width <= WIDTH and height <= HEIGHT
    written = (tmp_path / "overview.svg").read_text(encoding="utf-8")
    for row in FULL:
        expected = row.size_label if row.kind in overview.ECHO else row.label
        assert expected in written, row.name
    assert "uvloop" in written


def test_without_a_pair_there_is_no_picture(pyplot: Any, tmp_path: Path) -> None:
    empty = Report("bench", {}, {}, [parse("call_soon")], {}, {}, {}, Outcome())
    assert plot.plot(empty, tmp_path) == []
    assert list(tmp_path.iterdir()) == []
