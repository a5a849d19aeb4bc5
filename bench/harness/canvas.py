"""What all pictures share: matplotlib, the colours, the files they are written to."""

import importlib
from pathlib import Path
from typing import Any

from harness.errors import BenchError

#: One colour per contender, the same in every picture.
COLOURS = {
    "netloop": "#d62728",
    "netloop-spin": "#ff9896",
    "netloop-stalls": "#e377c2",
    "netloop-metrics": "#f7b6d2",
    "netloop-copies": "#c49c94",
    "netloop-again": "#e7969c",
    "netloop-io1": "#843c39",
    "netloop-io2": "#ad494a",
    "uvloop": "#1f77b4",
    "asyncio": "#2ca02c",
    "asyncio-mmap": "#98df8a",
    "rsloop": "#8c564b",
    "zuvloop": "#17becf",
    "rloop": "#9467bd",
    "aiofastnet": "#ff7f0e",
    "c-uring": "#000000",
    "c-epoll": "#7f7f7f",
    "c-packets": "#4d4d4d",
}
#: Dots per inch of the PNG files.
DPI = 120


def load_matplotlib() -> Any:
    """Return matplotlib's pyplot, set to draw files and nothing else.

    Raises:
        BenchError: matplotlib is not installed.
    """
    try:
        # By name, so that the sources can be type-checked where matplotlib is not installed.
        importlib.import_module("matplotlib").use("Agg")
        pyplot = importlib.import_module("matplotlib.pyplot")
    except ImportError:
        raise BenchError("plots need matplotlib (pip install matplotlib)") from None
    # Texts stay texts in SVG, and identifiers the same from run to run.
    pyplot.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "netloop"})
    return pyplot


def save(picture: Any, directory: Path, name: str) -> list[Path]:
    """Write a picture as SVG and PNG and return the paths."""
    paths = [directory / f"{name}.{kind}" for kind in ("svg", "png")]
    for path in paths:
        # Without a date in it, the file changes only when the figures do.
        picture.savefig(path, dpi=DPI, metadata={"Date": None} if path.suffix == ".svg" else None)
    return paths
