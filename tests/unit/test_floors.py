"""The package's floors: a folder uses only those below it and says which, and no files use each other in a circle.

TestTree is about the tree as it is. The other tests are about the checks, which must find what is wrong in small trees
made for it.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Final

import pytest
from unit.arrows import COMPUTED, Arrow, imports, names_of_modules, read_c, read_python
from unit.floors import BY_NAME, SEARCH_PATH, arrows_up, circles_in, floor_of, wrong_docstrings

ROOT: Final = Path(__file__).resolve().parents[2]


def report(messages: list[str]) -> None:
    """Fail the test with the messages, if there are any."""
    if messages:
        pytest.fail("\n".join(messages), pytrace=False)


@pytest.fixture(scope="module")
def arrows() -> list[Arrow]:
    """The arrows between all modules of the package and of the benchmark."""
    found = read_python(ROOT, SEARCH_PATH)
    assert {"netloop.core.ring", "netloop.event_loop", "harness.main", "serving"} <= {arrow.target for arrow in found}
    return found


class TestTree:
    def test_every_module_stands_on_a_floor(self) -> None:
        modules = names_of_modules(ROOT, SEARCH_PATH).values()
        assert [module for module in modules if floor_of(module) is None] == []

    def test_no_arrow_runs_up(self, arrows: list[Arrow]) -> None:
        report(arrows_up(arrows))

    def test_no_exception_is_without_need(self, arrows: list[Arrow]) -> None:
        assert {(arrow.source, arrow.target) for arrow in arrows if arrow.verb == "imports by name"} >= BY_NAME

    def test_no_modules_use_each_other_in_a_circle(self, arrows: list[Arrow]) -> None:
        report(circles_in(arrows))

    @pytest.mark.parametrize("folder", ["cext", "bench/c"])
    def test_no_c_files_use_each_other_in_a_circle(self, folder: str) -> None:
        found = read_c(ROOT, folder)
        assert found
        report(circles_in(found))

    def test_the_c_core_is_c_alone_and_knows_no_python(self) -> None:
        files = sorted((ROOT / "cext").iterdir())
        assert [file.name for file in files if file.suffix not in (".c", ".h")] == []
        assert [file.name for file in files if "Python.h" in file.read_text()] == []

    def test_every_folder_says_what_it_uses(self) -> None:
        report(wrong_docstrings(ROOT))

    def test_the_reader_finds_the_imports_that_pythons_own_parser_finds(self) -> None:
        for file in names_of_modules(ROOT, SEARCH_PATH):
            if file.suffix in (".py", ".pyi"):
                text = file.read_text()
                read = {(line, module, name) for line, verb, module, name in imports(text) if "name" not in verb}
                assert read - {(line, COMPUTED, "") for line, *_ in read} == parsed(text), file


def parsed(text: str) -> set[tuple[int, str, str]]:
    """The import statements of a Python file: line, module as it is written, and the name that is taken from it."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {(node.lineno, alias.name, "") for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {(node.lineno, "." * node.level + (node.module or ""), alias.name) for alias in node.names}
    return found


# One file on most floors. Nothing in it is wrong, though some of it looks like it.
CLEAN: Final = {
    "netloop/__init__.py": "from netloop.setup.loops import load\nfrom netloop._version import __version__\n",
    "netloop/_version.py": "__version__ = '1'\n",
    "netloop/core/__init__.py": '"""The ring.\n\nimport netloop.tools\n\nIt uses no other folder."""\n',
    "netloop/core/cext.pxd": 'cdef extern from "nl_ring.h" nogil:\n    int nl_submit(void *ring)\n',
    "netloop/core/ring.pxd": "from netloop.core.cext cimport nl_submit\n",
    "netloop/core/ring.pyx": "from netloop.core cimport cext as c  # import netloop.tools\nfrom libc cimport errno\n",
    "netloop/core/ring.pyi": "from typing import Any\n",
    "netloop/transports/__init__.py": '"""Streams.\n\nIt uses ``core``."""\n',
    "netloop/transports/stream.pyx": "from netloop.core.ring cimport Ring\nTEXT = '''\nimport netloop.tools\n'''\n",
    "netloop/setup/__init__.py": '"""Making a loop.\n\nIt uses no other folder."""\n',
    "netloop/setup/loops.py": "import importlib\ndef load():\n    importlib.import_module('netloop.event_loop')\n",
    "netloop/event_loop.py": "from netloop.transports import stream\nfrom netloop.core import ring\n",
    "netloop/tools/__init__.py": '"""Commands.\n\nIt uses ``netloop`` itself\nand ``core``."""\n',
    "netloop/tools/doctor.py": "import netloop, netloop.core.ring\n",
    "netloop/__main__.py": "import importlib\nfrom netloop import tools\nimportlib.import_module(tools.NAME)\n",
}  # fmt: skip

# What is wrong where it runs up.
STREAM: Final = "import netloop.transports.stream"
LOOP: Final = "from netloop.event_loop import EventLoop"
VERSION: Final = "from netloop._version import __version__"
BY_ITS_NAME: Final = "importlib.import_module('netloop.event_loop')"
CALLED: Final = "def called():\n    "
TYPED: Final = "if TYPE_CHECKING:\n    "


def plant(root: Path, files: dict[str, str]) -> Path:
    """Write the files of a tree."""
    for name, text in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


def arrows_of(root: Path, files: dict[str, str]) -> list[Arrow]:
    """The arrows of the clean tree with some files added to it, or put in the place of its own."""
    return read_python(plant(root, CLEAN | files), SEARCH_PATH)


class TestReader:
    @pytest.mark.parametrize(
        ("statement", "targets"),
        [
            ("import netloop.core.ring", ["netloop.core.ring"]),
            ("import netloop.core.ring as r, netloop._version", ["netloop._version", "netloop.core.ring"]),
            ("from netloop.core import ring", ["netloop.core.ring"]),
            ("from netloop.core.ring import Ring", ["netloop.core.ring"]),
            ("from netloop.core import (\n    ring,  # it\n    cext,\n)", ["netloop.core.cext", "netloop.core.ring"]),
            ("from netloop import new_event_loop", ["netloop"]),
            ("from netloop.core import *", ["netloop.core"]),
            ("cimport netloop.core.ring", ["netloop.core.ring"]),
            ("from netloop.core cimport cext as c", ["netloop.core.cext"]),
            ("from netloop.core.ring cimport Ring, call_token", ["netloop.core.ring"]),
            ("from ..core cimport cext", ["netloop.core.cext"]),
            ("from ..core.ring import Ring", ["netloop.core.ring"]),
            ("from . import stream", ["netloop.transports.stream"]),
            ("from .stream import Stream", ["netloop.transports.stream"]),
            ("from .. import __version__", ["netloop"]),
            ("def f():\n    if True: import netloop.core", ["netloop.core"]),
            ("x = 1; import netloop.core", ["netloop.core"]),
            ("from netloop.core \\\n    import ring", ["netloop.core.ring"]),
            ("if TYPE_CHECKING:\n    from netloop.core.ring import Ring", ["netloop.core.ring"]),
            ("import_module('netloop.core.ring').probe()", ["netloop.core.ring"]),
            ('m = importlib.import_module(\n    "netloop.core",\n)', ["netloop.core"]),
            ("importlib.import_module('netloop.' + name)", [COMPUTED]),
            ("importlib.import_module(f'netloop.{name}')", [COMPUTED]),
            ("__import__(name)", [COMPUTED]),
            ("import asyncio\nfrom libc.errno cimport EINTR\nimportlib.import_module('uvloop')", []),
            ("# import netloop.core", []),
            ("'import netloop.core'", []),
            ('"""It says \\"""\nimport netloop.core\n"""', []),
            ("yield_from = [\nimport_, netloop.core]", []),
        ],
    )  # fmt: skip
    @pytest.mark.parametrize("suffix", ["py", "pyx"])
    def test_finds_what_is_imported(self, tmp_path: Path, statement: str, targets: list[str], suffix: str) -> None:
        found = arrows_of(tmp_path, {f"netloop/transports/new.{suffix}": statement})
        assert [arrow.target for arrow in found if arrow.source == "netloop.transports.new"] == targets

    def test_counts_lines_through_strings_and_brackets(self, tmp_path: Path) -> None:
        text = '"""One\n\nthree"""\nx = (\n    1,\n)\ny = 2 + \\\n    3\nfrom netloop.core cimport ring\n'
        found = arrows_of(tmp_path, {"netloop/transports/new.pyx": text})
        assert "netloop/transports/new.pyx:9 cimports netloop.core.ring" in map(str, found)

    def test_knows_the_folders_of_the_search_path(self, tmp_path: Path) -> None:
        files = {
            "b/run.py": "import harness.main",
            "b/harness/main.py": "",
            "b/servers/x.py": "import y",
            "b/servers/y.py": "",
        }
        found = read_python(plant(tmp_path, files), {"b": "b", "b/servers": "b/servers"})
        assert [(arrow.source, arrow.target) for arrow in found] == [("run", "harness.main"), ("x", "y")]


class TestFloors:
    def test_a_clean_tree_has_nothing_to_complain_of(self, tmp_path: Path) -> None:
        found = arrows_of(tmp_path, {})
        assert len(found) > 8
        assert arrows_up(found) == circles_in(found) == wrong_docstrings(tmp_path) == []

    @pytest.mark.parametrize(
        ("file", "text", "arrow", "verdict"),
        [
            ("core/ring.pyx", "\n" + STREAM, "2 imports netloop.transports.stream", "core may not use transports"),
            ("core/ring.pxd", "c" + STREAM, "1 cimports netloop.transports.stream", "core may not use transports"),
            ("core/ring.pyi", STREAM, "1 imports netloop.transports.stream", "core may not use transports"),
            ("core/ring.py", CALLED + STREAM, "2 imports netloop.transports.stream", "core may not use transports"),
            ("transports/new.py", TYPED + LOOP, "2 imports netloop.event_loop", "transports may not use event_loop"),
            ("setup/loops.py", LOOP, "1 imports netloop.event_loop", "setup may not use event_loop"),
            ("setup/new.py", BY_ITS_NAME, "1 imports by name netloop.event_loop", "setup may not use event_loop"),
            ("setup/new.py", "from ..tools import doctor", "1 imports netloop.tools.doctor", "setup may not use tools"),
            ("event_loop.py", "import netloop.tools", "1 imports netloop.tools", "event_loop may not use tools"),
            ("event_loop.py", "import netloop", "1 imports netloop", "event_loop may not use netloop/__init__.py"),
            ("__init__.py", "import netloop.tools", "1 imports netloop.tools", "netloop/__init__.py may not use tools"),
            ("tools/new.py", "import netloop.__main__", "1 imports netloop.__main__", "tools may not use __main__"),
            ("core/new.py", "import_module(name)", f"1 imports {COMPUTED}", f"core may not use {COMPUTED}"),
            ("core/new.py", "import harness.main", "1 imports harness.main", "core may not use harness.main"),
            ("statistics.py", "import netloop.core", "1 imports netloop.core", "statistics may not use core"),
            ("statistics.py", VERSION, "1 imports netloop._version", "statistics may not use _version"),
            ("core/new.py", "import netloop.new", "1 imports netloop.new", "core may not use what stands on no floor"),
        ],
    )  # fmt: skip
    def test_an_arrow_that_runs_up_is_named(
        self, tmp_path: Path, file: str, text: str, arrow: str, verdict: str
    ) -> None:
        found = arrows_of(
            tmp_path,
            {"netloop/new.py": "", "netloop/statistics.py": "", "bench/harness/main.py": "", f"netloop/{file}": text},
        )
        assert arrows_up(found) == [f"netloop/{file}:{arrow}: {verdict}"]


class TestCircles:
    def test_of_two(self, tmp_path: Path) -> None:
        files = {"netloop/core/a.py": "import netloop.core.b", "netloop/core/b.py": "\nfrom .a import x"}
        found = arrows_of(tmp_path, files)
        assert arrows_up(found) == []
        assert circles_in(found) == [
            "netloop/core/a.py:1 imports netloop.core.b, netloop/core/b.py:2 imports netloop.core.a"
        ]

    def test_of_three_in_which_two_files_of_a_module_are_one(self, tmp_path: Path) -> None:
        files = {
            "netloop/core/a.pyx": "cimport netloop.core.b",
            "netloop/core/a.pxd": "",
            "netloop/core/b.pyx": "",
            "netloop/core/b.pyi": "def f():\n    import netloop.core.c",
            "netloop/core/c.py": "from netloop.core import a",
        }
        assert circles_in(arrows_of(tmp_path, files)) == [
            "netloop/core/a.pyx:1 cimports netloop.core.b, netloop/core/b.pyi:2 imports netloop.core.c, "
            "netloop/core/c.py:1 imports netloop.core.a"
        ]

    def test_each_is_found(self, tmp_path: Path) -> None:
        files = {
            "netloop/core/a.py": "import netloop.core.b",
            "netloop/core/b.py": "import netloop.core.a, netloop.core.c",
            "netloop/core/c.py": "import netloop.core.b",
        }
        assert len(circles_in(arrows_of(tmp_path, files))) == 2

    def test_in_c(self, tmp_path: Path) -> None:
        files = {
            "c/client.c": '#include "client.h"\n\n#include <errno.h>\n#include "connecting.h"\n',
            "c/client.h": "",
            "c/connecting.h": '#  include "client.h"\n',
            "c/connecting.c": '#include "connecting.h"\n#include "elsewhere.h"\n',
            "c/fail.h": "",
            "c/load.c": '#include "client.h"\n#include "fail.h"\n',
        }
        assert circles_in(read_c(plant(tmp_path, files), "c")) == [
            "c/client.c:4 includes connecting, c/connecting.h:1 includes client"
        ]

    def test_in_c_there_is_none_where_there_is_none(self, tmp_path: Path) -> None:
        files = {"c/a.c": '#include "a.h"\n#include "b.h"\n', "c/a.h": "", "c/b.c": '#include "b.h"\n', "c/b.h": ""}
        found = read_c(plant(tmp_path, files), "c")
        assert [str(arrow) for arrow in found] == ["c/a.c:2 includes b"]
        assert circles_in(found) == []


NOTHING: Final = "it says that it uses no other folder, but its files use core"
TOO_MUCH: Final = "it says that it uses core, setup, but its files use core"


class TestDocstrings:
    @pytest.mark.parametrize(
        ("docstring", "message"),
        [
            ("", 'no docstring says "It uses ..."'),
            ('"""Streams use ``core``."""', 'no docstring says "It uses ..."'),
            ('"""Streams.\n\nIt uses no other."""', NOTHING),
            ('"""Streams.\n\nIt uses ``core``\nand ``setup``."""', TOO_MUCH),
        ],
    )  # fmt: skip
    def test_one_that_does_not_say_what_the_folder_uses_is_named(
        self, tmp_path: Path, docstring: str, message: str
    ) -> None:
        plant(tmp_path, CLEAN | {"netloop/transports/__init__.py": docstring})
        assert wrong_docstrings(tmp_path) == [f"netloop/transports/__init__.py: {message}"]

    def test_a_folder_without_one_is_named(self, tmp_path: Path) -> None:
        plant(tmp_path, CLEAN | {"netloop/core/deeper/new.py": ""})
        assert wrong_docstrings(tmp_path) == ['netloop/core/deeper/__init__.py: no docstring says "It uses ..."']
