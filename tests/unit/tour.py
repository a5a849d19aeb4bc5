"""What netloop/README.md says of the source, looked up in the source.

The document's conventions are what makes it checkable:

- A code span is a path, or the name of something in the source. Commands stand in fenced blocks, which are not read.
- ``Class.method`` is followed by its file, in parentheses and a code span of its own, the first time that class comes
  up; from then on the file is known. The ``.pxd`` beside a ``.pyx`` counts as the same file.
- An arrow between two names says that the first calls the second.
- The numbered list under a heading of WAYS is the way of a byte: each step calls the next, or marks its endpoint dirty
  where the next is what the ring calls, or does, for that. The list under ONE_TURN is what TURN calls, in order.
"""

from __future__ import annotations

import asyncio
import builtins
import re
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Final

__all__ = ["WAYS", "Tour", "read_source", "steps_under"]

WAYS: Final = {"The way in": "data_received", "The way out": "nl_prep_send"}
"""The headings of the ways, each with what its last step calls."""
MOST_STEPS: Final = 4
MOST_FILES: Final = 2
ONE_TURN: Final = "One turn"
TURN: Final = ("LoopCore.turn", "core/turn.pyx")

_SPAN: Final = r"`([^`\n]+)`(?:\s+\(`([^`\n]+)`\))?"
_FENCE: Final = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_ITEM: Final = re.compile(rf"^\d+\. {_SPAN}", re.MULTILINE)
_ARROW: Final = re.compile(rf"(?={_SPAN}\s+→\s+{_SPAN})")
_METHOD: Final = re.compile(r"([A-Z]\w*)\.(\w+)")
_PLAIN: Final = re.compile(r"(?:loop\.)?(\w+)(?:\(\))?")
_SUFFIX: Final = re.compile(r"\.(py|pyx|pxd|pyi|c|h|md)$")

# Strings and comments of Python and Cython, and of C: what is in them is no code.
_NO_PYTHON: Final = re.compile(
    r'"{3}(?:\\.|[^\\])*?"{3}|\'{3}(?:\\.|[^\\])*?\'{3}|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|\#[^\n]*', re.DOTALL
)
_NO_C: Final = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"', re.DOTALL)

# What the application and the loop's users call by these names is asyncio's to define.
_ASYNCIO: Final = (
    *(asyncio.Protocol, asyncio.BufferedProtocol, asyncio.DatagramProtocol),
    *(asyncio.Transport, asyncio.DatagramTransport, asyncio.BaseEventLoop),
)


@cache
def read_source(file: Path) -> str:
    """A file's code, with spaces for what is in strings and comments; empty for a file that is not there."""
    if not file.is_file():
        return ""
    pattern = _NO_C if file.suffix in (".c", ".h") else _NO_PYTHON
    return pattern.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), file.read_text())


def steps_under(heading: str, text: str) -> list[tuple[str, str]]:
    """The numbered steps under a heading: the name that each begins with, and its file where the step tells it."""
    section = re.search(rf"^#+ {heading}\n(.*?)(?=^#|\Z)", text, re.MULTILINE | re.DOTALL)
    return [(name, file) for name, file in _ITEM.findall(section[1] if section else "")]


class Tour:
    """A document and the source tree that it is about.

    Args:
        text: the document, in Markdown.
        root: the tree, whose ``netloop`` and ``cext`` are looked into.
    """

    def __init__(self, text: str, root: Path) -> None:
        self.text = _FENCE.sub("", text)
        self.root = root
        self.files = self._files_of_classes()

    def mistakes(self) -> list[str]:
        """A message for all that the source does not bear out."""
        return [*self._wrong_names(), *self._wrong_arrows(), *self._wrong_ways(), *self._wrong_turn()]

    # Names ----------------------------------------------------------------------------------------------------------

    def _files_of_classes(self) -> dict[str, str]:
        """The file that is told the first time a class comes up."""
        files: dict[str, str] = {}
        for name, file in re.findall(_SPAN, self.text):
            if file and name[0].isupper():
                files.setdefault(name.partition(".")[0], file)
        return files

    def _wrong_names(self) -> Iterator[str]:
        for name, file in re.findall(_SPAN, self.text):
            if file and not self._modules(file):
                yield f"`{name}`: there is no file {file}"
            elif not self._is_there(name, file):
                yield f"`{name}` is not in {file or self.files.get(name.partition('.')[0], 'the source')}"

    def _is_there(self, name: str, file: str) -> bool:
        if "/" in name or _SUFFIX.search(name):
            return (self.root / "netloop" / name).exists() or (self.root / name).exists()
        if method := _METHOD.fullmatch(name):
            # A method whose class was never given a file is as wrong as one that is not there.
            return any(
                _has_member(code, *method.groups()) for code in self._modules(file or self.files.get(method[1], ""))
            )
        plain = _PLAIN.fullmatch(name)
        if plain is None:
            return False
        if file:
            return any(_defines(code, plain[1]) for code in self._modules(file))
        foreign = any(hasattr(owner, plain[1]) for owner in (builtins, asyncio, *_ASYNCIO))
        return foreign or any(_defines(code, plain[1]) for code in self._all_code())

    def _modules(self, file: str) -> list[str]:
        """The code of a file, and of the declarations beside it."""
        found = [path for path in (self.root / "netloop" / file, self.root / file) if file and path.is_file()][:1]
        return [read_source(path) for path in (*found, *(path.with_suffix(".pxd") for path in found)) if path.is_file()]

    def _all_code(self) -> Iterator[str]:
        for folder in ("netloop", "cext"):
            for file in sorted((self.root / folder).rglob("*")):
                if file.suffix in (".py", ".pyx", ".pxd", ".c", ".h"):
                    yield read_source(file)

    # Calls ----------------------------------------------------------------------------------------------------------

    def _body(self, name: str, file: str = "") -> str:
        """The source text of a method; empty if it is not found."""
        owner, _, method = name.partition(".")
        bodies = (_member_body(code, owner, method) for code in self._modules(file or self.files.get(owner, "")))
        return next(filter(None, bodies), "")

    def _calls(self, caller: str, called: str, file: str = "") -> bool:
        return _first_call(self._body(caller, file), called.rpartition(".")[2]) >= 0

    def _wrong_arrows(self) -> Iterator[str]:
        arrows = _ARROW.findall(self.text)
        if len(arrows) != self.text.count("→"):
            yield f"of {self.text.count('→')} arrows only {len(arrows)} stand between two names"
        for caller, file, called, _ in arrows:
            if not self._calls(caller, called, file):
                yield f"`{caller}` does not call `{called}`"

    def _wrong_ways(self) -> Iterator[str]:
        for heading, end in WAYS.items():
            steps = steps_under(heading, self.text)
            files = {file or self.files.get(name.partition(".")[0], "") for name, file in steps}
            if not steps:
                yield f"{heading}: there are no steps"
                continue
            if len(steps) > MOST_STEPS or len(files) > MOST_FILES:
                yield f"{heading}: {len(steps)} functions in {len(files)} files"
            for (caller, file), (called, _) in pairwise([*steps, (end, "")]):
                by_the_ring = called.endswith((".on_flush", ".flush_some"))
                handed_over = by_the_ring and self._calls(caller, "mark_dirty", file)
                if not handed_over and not self._calls(caller, called, file):
                    yield f"{heading}: `{caller}` does not call `{called}`"

    def _wrong_turn(self) -> Iterator[str]:
        steps = steps_under(ONE_TURN, self.text)
        if not steps:
            yield f"{ONE_TURN}: there are no steps"
        rest = self._body(*TURN)
        for name, _ in steps:
            at = _first_call(rest, name.rpartition(".")[2])
            if at < 0:
                yield f"{ONE_TURN}: `{TURN[0]}` does not call `{name}` at this place"
            rest = rest[at + 1 :]


def _block(code: str, head: str) -> str:
    """What is indented below a line that begins so, without that line; a closing parenthesis does not end it."""
    begun = re.search(rf"^( *){head}[^\n]*\n", code, re.MULTILINE)
    if begun is None:
        return ""
    end = re.search(rf"^ {{0,{len(begun[1])}}}[^\s)]", code[begun.end() :], re.MULTILINE)
    return code[begun.end() :][: end.start() if end else None]


def _class_block(code: str, name: str) -> str:
    return _block(code, rf"(?:cdef )?class {name}\b")


def _member_body(code: str, owner: str, name: str) -> str:
    return _block(_class_block(code, owner), rf"(?:async )?(?:def|cdef|cpdef)\b[^=\n(]*\b{name}\(")


def _has_member(code: str, owner: str, name: str) -> bool:
    """Does a class define, or declare, this method or field?"""
    return bool(
        re.search(
            rf"^ +(?:(?:async )?(?:def|cdef|cpdef)\b[^=\n(]*\b{name}\b|self\.{name} =)",
            _class_block(code, owner),
            re.MULTILINE,
        )
    )


def _defines(code: str, name: str) -> bool:
    """Does a file define this function, class or constant? Of a header, and of what Cython is told of one, any word."""
    if re.fullmatch(r"[A-Z0-9_]+|nl_\w+", name):
        return bool(re.search(rf"\b{name}\b", code))
    return bool(re.search(rf"^ *(?:async )?(?:class|def|cdef|cpdef)\b[^=\n(]*\b{name}\b", code, re.MULTILINE))


def _first_call(body: str, name: str) -> int:
    """Where in a function's body another one is called; -1 if it is not."""
    call = re.search(rf"(?<!\w){name}\(", body)
    return call.start() if call else -1
