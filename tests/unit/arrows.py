"""The arrows of a source tree: which file uses which, and in which line it says so.

A node of the graph is a module: the .pyx, .pxd and .pyi of one name are one node, and so are the .c and the .h. An
arrow goes from a module to one that it names in an import, a cimport, a call of import_module() or an #include,
wherever in the file that is: at its head, in a function, or for the type checker alone. That ``import a.b`` also runs
``a`` makes no arrow, because ``a`` is not what the file asks for.
"""

from __future__ import annotations

import re
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["COMPUTED", "Arrow", "circles", "imports", "names_of_modules", "read_c", "read_python"]

SUFFIXES: Final = (".py", ".pyx", ".pxd", ".pyi")

COMPUTED: Final = "a module whose name is computed"
"""The target of an import_module() that is not given the name itself."""

# Python and Cython as far as imports go. Both have the same comments, strings and line ends, and what is in a comment
# or a string is no import.
_TOKEN: Final = re.compile(
    r"""
      (?P<skipped> \#[^\n]* | \\\n | [^\S\n]+ )
    | (?P<string>  [A-Za-z]{0,2} (?: \"{3} (?: \\. | [^\\] )*? \"{3} | '{3} (?: \\. | [^\\] )*? '{3}
                                   | " (?: \\. | [^"\\\n] )* " | ' (?: \\. | [^'\\\n] )* ' ) )
    | (?P<name>    \w+ )
    | (?P<other>   . )
    """,
    re.VERBOSE | re.DOTALL,
)
_FROM: Final = re.compile(r"from ([\w. ]+?) (c?)import (.+)")
_IMPORT: Final = re.compile(r"(c?)import (.+)")
_INCLUDE: Final = re.compile(r'^[ \t]*#[ \t]*include[ \t]*"([^"]+)"', re.MULTILINE)


@dataclass(frozen=True, order=True)
class Arrow:
    """One module's use of another.

    Attributes:
        file: where it is written, relative to the tree's root.
        line: the line in it.
        source: the module that uses.
        verb: "imports", "cimports", "imports by name" or "includes".
        target: the module that is used.
    """

    file: str
    line: int
    source: str
    verb: str
    target: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line} {self.verb} {self.target}"


def names_of_modules(root: Path, search_path: dict[str, str]) -> dict[Path, str]:
    """The Python and Cython files of a tree, each with its module's name.

    Args:
        root: the tree's root.
        search_path: folders, relative to the root, each with the folder that its modules' names start from. A file in
            several of them goes by the last.
    """
    names = {}
    for folder, base in search_path.items():
        for file in sorted((root / folder).rglob("*")):
            if file.suffix in SUFFIXES:
                parts = file.relative_to(root / base).with_suffix("").parts
                names[file] = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    return names


def read_python(root: Path, search_path: dict[str, str]) -> list[Arrow]:
    """All arrows between the Python and Cython modules of a tree, in the order of files and lines; see
    names_of_modules.
    """
    names = names_of_modules(root, search_path)
    known = set(names.values())
    arrows = set()
    for file, source in names.items():
        package = source if file.stem == "__init__" else source.rpartition(".")[0]
        for line, verb, used, attribute in imports(file.read_text()):
            target = _resolve(_absolute(used, package), attribute, known)
            if target not in ("", source):
                arrows.add(Arrow(str(file.relative_to(root)), line, source, verb, target))
    return sorted(arrows)


def read_c(root: Path, folder: str) -> list[Arrow]:
    """All arrows between the C files of one folder, in the order of files and lines."""
    files = sorted(file for file in (root / folder).iterdir() if file.suffix in (".c", ".h"))
    known = {file.stem for file in files}
    arrows = []
    for file in files:
        text = file.read_text()
        for include in _INCLUDE.finditer(text):
            target = include[1].removesuffix(".h")
            if target in known - {file.stem}:
                line = text.count("\n", 0, include.start()) + 1
                arrows.append(Arrow(str(file.relative_to(root)), line, file.stem, "includes", target))
    return arrows


def circles(arrows: Iterable[Arrow]) -> list[list[Arrow]]:
    """The circles in a graph: for each arrow that is part of one the shortest, each circle once."""
    out: dict[str, dict[str, Arrow]] = defaultdict(dict)
    for arrow in arrows:
        out[arrow.source].setdefault(arrow.target, arrow)
    found: dict[frozenset[str], list[Arrow]] = {}
    for arrow in [one for targets in out.values() for one in targets.values()]:
        back = _way(out, arrow.target, arrow.source)
        if back:
            found.setdefault(frozenset((arrow.source, *(step.source for step in back))), [arrow, *back])
    return list(found.values())


def _way(out: dict[str, dict[str, Arrow]], start: str, end: str) -> list[Arrow]:
    """The shortest way along the arrows from one node to another; empty if there is none."""
    ways: dict[str, list[Arrow]] = {start: []}
    waiting = deque([start])
    while waiting and end not in ways:
        node = waiting.popleft()
        for target, arrow in out.get(node, {}).items():
            if target not in ways:
                ways[target] = [*ways[node], arrow]
                waiting.append(target)
    return ways.get(end, [])


def _absolute(used: str, package: str) -> str:
    """A module's name without leading dots, each but the first of which leads one package up."""
    name = used.lstrip(".")
    dots = len(used) - len(name)
    if not dots:
        return name
    parts = package.split(".")
    return ".".join([*parts[: len(parts) - dots + 1], *filter(None, [name])])


def _resolve(name: str, attribute: str, known: set[str]) -> str:
    """What an import means: the module itself, or that of its packages which is in the tree; empty if none is."""
    if name == COMPUTED:
        return name
    if attribute and f"{name}.{attribute}" in known:
        return f"{name}.{attribute}"
    while name and name not in known:
        name = name.rpartition(".")[0]
    return name


# A token: its line, the name of its group in _TOKEN, and its text.
_Token = tuple[int, str, str]


def imports(text: str) -> Iterator[tuple[int, str, str, str]]:
    """Each import of a file: line, verb, the module as it is written, and the name that is taken from it or nothing."""
    for statement in _statements(text):
        line, _, first = statement[0]
        if first in ("from", "import", "cimport"):
            for verb, module, attribute in _imported(" ".join(word for *_, word in statement if word not in "()")):
                yield line, verb, module, attribute
        for (line, _, function), (_, _, opening), *argument in _windows(statement, 4):
            if function in ("import_module", "__import__") and opening == "(":
                yield (line, *_by_name(argument), "")


def _imported(statement: str) -> Iterator[tuple[str, str, str]]:
    """The verb, the module and the name taken from it, of each name in an import statement without its parentheses."""
    if match := _FROM.fullmatch(statement):
        module = match[1].replace(" ", "")
        for name in match[3].split(","):
            if name.strip():
                yield f"{match[2]}imports", module, name.split()[0]
    elif match := _IMPORT.fullmatch(statement):
        for name in match[2].split(","):
            yield f"{match[1]}imports", name.partition(" as ")[0].replace(" ", ""), ""


def _by_name(argument: list[_Token]) -> tuple[str, str]:
    """The verb and the module of an import_module(), whose argument begins with these two tokens."""
    if len(argument) == 2 and argument[0][1] == "string" and argument[0][2][0] in "'\"" and argument[1][2] in ",)":
        return "imports by name", argument[0][2].strip("'\"")
    return "imports", COMPUTED


def _windows(statement: list[_Token], width: int) -> Iterator[list[_Token]]:
    """Each token but the last with those that follow it, at most so many in all."""
    for start in range(len(statement) - 1):
        yield statement[start : start + width]


def _statements(text: str) -> Iterator[list[_Token]]:
    """The statements of a file, or parts of them: what ends at a line end, colon or semicolon outside of brackets."""
    statement: list[_Token] = []
    line, depth = 1, 0
    for match in _TOKEN.finditer(text):
        word = match[0]
        if word in "([{":
            depth += 1
        elif word in ")]}":
            depth -= 1
        if depth == 0 and word in "\n:;":
            if statement:
                yield statement
            statement = []
        elif match.lastgroup != "skipped" and word != "\n":
            statement.append((line, str(match.lastgroup), word))
        line += word.count("\n")
    if statement:
        yield statement
