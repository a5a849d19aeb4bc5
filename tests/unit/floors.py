"""The rules for the files of netloop: which may use which, and what a folder's docstring says of it.

The package is built in floors, each of which uses only those below it. Each rule takes a tree and returns a message for
all that breaks it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from unit.arrows import Arrow, circles, names_of_modules, read_python

__all__ = ["BY_NAME", "SEARCH_PATH", "arrows_up", "circles_in", "floor_of", "wrong_docstrings"]

# From the lowest to the highest: each uses only itself and those before it. "netloop" is what users import, the file
# netloop/__init__.py alone. The commands are programs that use it as others do, so they stand above it.
FLOORS: Final = (
    "netloop.core",
    "netloop.transports",
    "netloop.operations",
    "netloop.hosted",
    "netloop.setup",
    "netloop.event_loop",
    "netloop.metrics",
    "netloop",
    "netloop.tools",
    "netloop.gunicorn",
    "netloop.__main__",
)
# Anyone may use them, and they use nothing of netloop.
LEAVES: Final = ("netloop._version", "netloop.stall_report", "netloop.statistics")
# The benchmark's modules are programs like the tools. So is whatever is imported under a computed name: __main__ finds
# its commands so, and `serve` the user's application. It may be anything, so only who may use all others may do it.
OTHERS: Final = "netloop.tools"

# What may run up, and why. It must be found by name: an import would be found by whoever follows imports.
BY_NAME: Final = {
    # `import netloop` brings in nothing compiled; load_event_loop() is called when the first loop is made.
    ("netloop.setup.loops", "netloop.event_loop"),
}

# Folders of Python and Cython, and where the names of their modules start.
SEARCH_PATH: Final = {"netloop": ".", "bench": "bench", "bench/servers": "bench/servers"}


def floor_of(module: str) -> str | None:
    """The floor or leaf that a module belongs to; None for one of netloop that belongs to none."""
    for floor in (*FLOORS, *LEAVES):
        if module == floor or (floor != "netloop" and module.startswith(f"{floor}.")):
            return floor
    return None if module.startswith("netloop.") else OTHERS


def is_allowed(source: str | None, target: str | None) -> bool:
    """May a file of one floor use one of the other?"""
    if target in LEAVES and source not in LEAVES:
        return True
    return source in FLOORS and target in FLOORS and FLOORS.index(source) >= FLOORS.index(target)


def arrows_up(arrows: Iterable[Arrow]) -> list[str]:
    """A message for each arrow that runs up."""
    found = []
    for arrow in arrows:
        source, target = floor_of(arrow.source), floor_of(arrow.target)
        by_name = arrow.verb == "imports by name" and (arrow.source, arrow.target) in BY_NAME
        if not by_name and not is_allowed(source, target):
            used = _shown(target) if arrow.target.partition(".")[0] == "netloop" else arrow.target
            found.append(f"{arrow}: {_shown(source)} may not use {used}")
    return found


def _shown(floor: str | None) -> str:
    if floor is None:
        return "what stands on no floor"
    return "netloop/__init__.py" if floor == "netloop" else floor.removeprefix("netloop.")


def circles_in(arrows: Iterable[Arrow]) -> list[str]:
    """A message for each circle."""
    return [", ".join(map(str, circle)) for circle in circles(arrows)]


def wrong_docstrings(root: Path) -> list[str]:
    """A message for each folder of netloop whose docstring does not say which other folders its files use.

    The docstring says so in a paragraph that begins with "It uses". Of the names in double backquotes there, those of
    folders count; ``netloop`` stands for the files that are in no folder.
    """
    found = []
    used = _used_folders(root)
    for folder in sorted(used):
        init = Path("netloop", *folder.split("."), "__init__.py")
        docstring = ast.get_docstring(ast.parse((root / init).read_text())) if (root / init).exists() else None
        paragraph = re.search(r"^It uses .+?(?=\n\n|\Z)", docstring or "", re.MULTILINE | re.DOTALL)
        if paragraph is None:
            found.append(f'{init}: no docstring says "It uses ..."')
            continue
        told = {name for name in re.findall("``(.+?)``", paragraph[0]) if name in {*used, "netloop"}}
        if told != used[folder]:
            found.append(f"{init}: it says that it uses {_listed(told)}, but its files use {_listed(used[folder])}")
    return found


def _used_folders(root: Path) -> dict[str, set[str]]:
    """Each folder of netloop, and the other ones that its own files use, those in folders of its own not counted."""
    names = names_of_modules(root, {"netloop": "."})
    folder_of = {module: ".".join(file.parent.relative_to(root / "netloop").parts) for file, module in names.items()}
    used: dict[str, set[str]] = {folder: set() for folder in folder_of.values() if folder}
    for arrow in read_python(root, {"netloop": "."}):
        source, target = folder_of[arrow.source], folder_of.get(arrow.target)
        if source and target not in (source, None) and (arrow.source, arrow.target) not in BY_NAME:
            used[source].add(target or "netloop")
    return used


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "no other folder"
