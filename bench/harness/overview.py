"""The picture of a whole run: netloop's ratio to uvloop in every row, on one screen.

Echo takes a panel for each way to write a server, over the connections, with a line for each size. All other rows take
a line each, in panels by what they have in common.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.canvas import COLOURS, save
from harness.programs import PROGRAMS
from harness.report import Report
from harness.rows import Row
from harness.summary import Spread
from harness.targets import BASELINE, SUBJECT

#: The kinds with a panel over connections and sizes.
ECHO = ("protocol", "buffered", "streams", "sock")
HTTP = "aiohttp and FastAPI"
FILES = "files, uploads, downloads"
CROWDS = "crowds"
DATAGRAMS = "datagrams"
REST = "everything else"
#: Which panel the rows of a kind are in; those of other kinds are in REST.
_PANELS = {
    **dict.fromkeys(("aiohttp", "wrk", "json", "tls", "fastapi", "websocket", "wsbroadcast"), HTTP),
    **dict.fromkeys(("static", "upload", "upload_buffered", "upload_leases", "download", "ingest"), FILES),
    **dict.fromkeys(("udp", "packet_send", "packet_receive", "http3"), DATAGRAMS),
    **dict.fromkeys(("churn", "saturate", "herd", "herd_deep", "herd_long", "herd_deep_long", "herd_busy"), CROWDS),
}
#: The panels of rows, in the columns they stand in.
_COLUMNS = ((HTTP, CROWDS), (FILES, DATAGRAMS), (REST,))

_TITLE = f"CPU per message (idle: memory, herd: time), {SUBJECT} ÷ {BASELINE}: median and quartiles, ties hollow"
_MARKERS = "os^Dv*"
# In inches. At 120 dots per inch the width is 1392 pixels; the heights make a full run fit a screen.
_WIDTH, _TITLE_HEIGHT, _ECHO_HEIGHT, _PANEL_HEIGHT, _ROW_HEIGHT = 11.6, 0.35, 2.6, 0.75, 0.165
_SMALL, _MEDIUM, _LARGE = 8.5, 9.5, 11.5


@dataclass(frozen=True)
class Point:
    """A row and its ratio."""

    row: Row
    ratio: Spread


def points(report: Report) -> list[Point]:
    """Return every row in which both loops were measured."""
    found = []
    for row in report.rows:
        ratio = report.summary.ratio(row.name, SUBJECT, BASELINE, row.program.figure)
        if ratio is not None:
            found.append(Point(row, ratio))
    return found


def panels(found: Iterable[Point]) -> dict[str, list[Point]]:
    """Return the points by panel: of echo the kind, of others the title."""
    result: dict[str, list[Point]] = {}
    for point in found:
        row = point.row
        panel = row.kind if row.kind in ECHO and row.depth == 1 else _PANELS.get(row.kind, REST)
        result.setdefault(panel, []).append(point)
    return result


def _errors(drawn: list[Point]) -> list[list[float]]:
    ratios = [point.ratio for point in drawn]
    return [[ratio.median - ratio.low for ratio in ratios], [ratio.high - ratio.median for ratio in ratios]]


def face(point: Point) -> str:
    """Return the colour inside the mark of a ratio: none for a tie."""
    return "white" if point.ratio.is_tie else COLOURS[SUBJECT]


def _draw_points(axes: Any, drawn: list[Point], places: Iterable[int]) -> None:
    """Draw ratios with their quartiles; those of ties are hollow."""
    style = {"fmt": "o", "markersize": 4, "capsize": 2, "color": COLOURS[SUBJECT]}
    for place, point in zip(places, drawn, strict=True):
        errors = _errors([point])
        axes.errorbar([point.ratio.median], [place], xerr=errors, markerfacecolor=face(point), **style)


def _limit(drawn: Iterable[Point]) -> float:
    return max(1.1, *(point.ratio.high for point in drawn)) * 1.04


def _ticks(limit: float, most: int, apart: float) -> list[float]:
    """Return the places to mark along an axis of ratios, the last of them 1, and none so near to it that texts touch:
    as near as this share of the axis.
    """
    step = next((step for step in (0.25, 0.5, 1.0, 2.0, 5.0) if limit / step < most), limit / (most - 1))
    places = [step * count for count in range(int(limit / step) + 1)]
    return [*(place for place in places if abs(place - 1.0) > apart * limit), 1.0]


def _set_ratio_axis(axis: Any, limit: float, baseline: str, most: int, apart: float) -> None:
    """Mark up to so many ratios along an axis. The line at 1 is named among them, where the name covers nothing."""
    places = _ticks(limit, most, apart)
    axis.set_ticks(places, [*(f"{place:g}" for place in places[:-1]), baseline])
    axis.set_tick_params(labelsize=_SMALL)
    axis.get_ticklabels()[-1].set_color(COLOURS[BASELINE])


def _draw_echo(axes: Any, kind: str, drawn: list[Point], styles: dict[int, dict[str, Any]]) -> None:
    """Draw a line for each size. They are moved a little to the sides, so that their spreads do not hide each other."""
    axes.axhline(1.0, color=COLOURS[BASELINE], linewidth=1.2, zorder=1)
    for place, (size, style) in enumerate(styles.items()):
        line = sorted((point for point in drawn if point.row.size == size), key=lambda point: point.row.connections)
        aside = 10 ** (0.09 * (place - (len(styles) - 1) / 2))
        axes.errorbar(
            [point.row.connections * aside for point in line],
            [point.ratio.median for point in line],
            yerr=_errors(line),
            **style,
        )
        ties = [(point.row.connections * aside, point.ratio.median) for point in line if point.ratio.is_tie]
        hollow = {"color": style["color"], "marker": style["marker"], "markersize": style["markersize"]}
        axes.plot(*zip(*ties, strict=True) if ties else ([], []), linestyle="", markerfacecolor="white", **hollow)
    counts = sorted({point.row.connections for point in drawn})
    axes.set_xscale("log")
    axes.set_xlim(min(counts) / 2, max(counts) * 2)
    axes.set_xticks(counts, [f"{count // 1000}k" if count % 1000 == 0 else str(count) for count in counts])
    axes.minorticks_off()
    axes.set_title(PROGRAMS[kind].title, fontsize=_MEDIUM)
    axes.set_xlabel("connections", fontsize=_SMALL)
    axes.grid(linewidth=0.3)
    axes.tick_params(labelsize=_SMALL)


def _echo(picture: Any, found: dict[str, list[Point]], colours: Any) -> None:
    everything = [point for drawn in found.values() for point in drawn]
    sizes = {point.row.size: point.row.size_label for point in sorted(everything, key=lambda point: point.row.size)}
    styles = {
        size: {
            "label": label,
            "color": colours(0.15 + 0.65 * place / max(1, len(sizes) - 1)),
            "marker": _MARKERS[place % len(_MARKERS)],
            **{"markersize": 4, "linewidth": 1.0, "elinewidth": 1.0, "capsize": 2},
        }
        for place, (size, label) in enumerate(sizes.items())
    }
    columns = picture.subplots(1, len(found), sharey=True, squeeze=False)[0]
    for axes, (kind, drawn) in zip(columns, found.items(), strict=True):
        _draw_echo(axes, kind, drawn, styles)
    limit = _limit(everything)
    columns[0].set_ylim(0.0, limit)
    _set_ratio_axis(columns[0].yaxis, limit, f"{BASELINE}  1", most=6, apart=0.12)
    handles, labels = columns[0].get_legend_handles_labels()
    picture.legend(handles, labels, loc="outside right center", title="size", fontsize=_SMALL, title_fontsize=_SMALL)


def _draw_rows(axes: Any, title: str, drawn: list[Point], limit: float) -> None:
    places = range(len(drawn))
    axes.axvline(1.0, color=COLOURS[BASELINE], linewidth=1.2, zorder=1)
    _draw_points(axes, drawn, places)
    axes.set_yticks(places, [point.row.label for point in drawn])
    axes.set_ylim(len(drawn) - 0.5, -0.5)
    axes.set_xlim(0.0, limit)
    axes.set_title(title, fontsize=_MEDIUM)
    axes.grid(axis="x", linewidth=0.3)
    axes.tick_params(labelsize=_SMALL)
    _set_ratio_axis(axes.xaxis, limit, f"1\n{BASELINE}", most=3, apart=0.4)


def _rows(picture: Any, columns: list[dict[str, list[Point]]]) -> None:
    limit = _limit(point for column in columns for drawn in column.values() for point in drawn)
    for part, column in zip(picture.subfigures(1, len(columns), squeeze=False)[0], columns, strict=True):
        heights = [len(drawn) for drawn in column.values()]
        stacked = part.subplots(len(column), 1, squeeze=False, height_ratios=heights)
        for (axes,), (title, drawn) in zip(stacked, column.items(), strict=True):
            _draw_rows(axes, title, drawn, limit)


def draw(report: Report, pyplot: Any) -> Any:
    """Return the picture, a figure of matplotlib; None when no row was measured on both loops."""
    found = panels(points(report))
    if not found:
        return None
    echo = {kind: found[kind] for kind in ECHO if kind in found}
    columns = [{title: found[title] for title in column if title in found} for column in _COLUMNS]
    columns = [column for column in columns if column]
    lengths = [sum(_PANEL_HEIGHT + _ROW_HEIGHT * len(drawn) for drawn in column.values()) for column in columns]
    heights = [height for height in (_ECHO_HEIGHT if echo else 0.0, max(lengths, default=0.0)) if height]
    picture = pyplot.figure(figsize=(_WIDTH, _TITLE_HEIGHT + sum(heights)), layout="constrained")
    picture.suptitle(_TITLE, fontsize=_LARGE)
    parts = list(picture.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0])
    if echo:
        _echo(parts[0], echo, pyplot.get_cmap("inferno"))
    if columns:
        _rows(parts[-1], columns)
    return picture


def plot(report: Report, directory: Path, pyplot: Any) -> list[Path]:
    """Write the picture and return the paths."""
    picture = draw(report, pyplot)
    if picture is None:
        return []
    paths = save(picture, directory, "overview")
    pyplot.close(picture)
    return paths
