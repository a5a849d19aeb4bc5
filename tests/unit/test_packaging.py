"""The way to a user: sources, source distribution, wheel, and the package installed where there is nothing else."""

from __future__ import annotations

import importlib
import os
import re
import runpy
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTENSIONS = PROJECT["tool"]["setuptools"]["ext-modules"]
# The compiled modules, by their names below netloop: "core.ring" and so on.
MODULES = sorted(
    ".".join(source.relative_to(ROOT / "netloop").with_suffix("").parts) for source in (ROOT / "netloop").rglob("*.pyx")
)
SUFFIX = sysconfig.get_config_var("EXT_SUFFIX")
BUILD_SECONDS = 300
RUN_SECONDS = 30
NO_INDEX = re.compile(r"Could not find a version that satisfies|No matching distribution found")

ECHO = """
import asyncio, sys, netloop
assert not {f"netloop.{name}" for name in sys.argv[1:]} & set(sys.modules)

async def echo(reader, writer):
    writer.write(await reader.readexactly(5))
    await writer.drain()
    writer.close()
    await writer.wait_closed()

async def main():
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.write(b"hello")
    print((await reader.read()).decode(), netloop.__file__, type(asyncio.get_running_loop()).__module__)
    writer.close()
    await writer.wait_closed()
    server.close()
    await server.wait_closed()

netloop.run(main())
"""


class Version(NamedTuple):
    """Compares as sys.version_info does."""

    major: int
    minor: int


@dataclass(frozen=True)
class Built:
    """What a build has made."""

    sources: Path
    sdist: Path
    wheel: Path


def run(command: list[str], cwd: Path, seconds: float = RUN_SECONDS) -> subprocess.CompletedProcess[str]:
    """Run a program that knows nothing of the environment and the directory the tests run in."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=seconds)


def checked(command: list[str], cwd: Path, seconds: float = RUN_SECONDS) -> str:
    """Run a program that has to succeed; what it printed."""
    done = run(command, cwd, seconds)
    assert done.returncode == 0, f"{command} ended with {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """A source distribution, made from a copy of the sources, and a wheel made from that distribution."""
    sources = tmp_path_factory.mktemp("sources")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, sources)
    for name in ("bench", "cext", "netloop"):
        shutil.copytree(ROOT / name, sources / name, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    done = run([sys.executable, "-m", "build", "--outdir", "dist", "."], sources, BUILD_SECONDS)
    if done.returncode and NO_INDEX.search(done.stdout) and "CI" not in os.environ:
        pytest.skip("the build needs setuptools and Cython from a package index, and none can be reached")
    assert done.returncode == 0, done.stdout + done.stderr
    (sdist,) = (sources / "dist").glob("*.tar.gz")
    (wheel,) = (sources / "dist").glob("*.whl")
    return Built(sources, sdist, wheel)


@pytest.fixture(scope="module")
def python(built: Built, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The interpreter of a new virtual environment that holds netloop and nothing else."""
    directory = tmp_path_factory.mktemp("environment")
    checked([sys.executable, "-m", "venv", "--without-pip", str(directory)], directory)
    installed = str(directory / "bin" / "python")
    pip = [sys.executable, "-m", "pip", "--python", installed]
    checked([*pip, "install", "--no-index", "--no-deps", "--no-cache-dir", str(built.wheel)], directory, BUILD_SECONDS)
    return installed


def files(directory: Path, *patterns: str) -> set[str]:
    """The files below a directory that match, by their path from the root of the sources."""
    return {str(path.relative_to(ROOT)) for pattern in patterns for path in (ROOT / directory).rglob(pattern)}


def package_files() -> set[str]:
    return files(ROOT / "netloop", "*.py", "*.pyi", "py.typed")


def benchmark_files() -> set[str]:
    return files(ROOT / "bench", "*.py", "*.c", "*.h")


def test_every_module_has_an_extension() -> None:
    assert sorted(extension["name"] for extension in EXTENSIONS) == [f"netloop.{module}" for module in MODULES]


def test_every_source_of_the_core_is_compiled_into_one_module() -> None:
    compiled = [source for extension in EXTENSIONS for source in extension["sources"] if source.startswith("cext/")]
    assert sorted(compiled) == sorted(files(ROOT / "cext", "*.c"))


@pytest.mark.parametrize(
    ("place", "value", "sentence"),
    [
        ("sys.platform", "darwin", r"netloop needs Linux, because [^.]*; this is darwin"),
        ("sys.implementation.name", "pypy", r"netloop needs CPython, whose [^.]*; this is pypy"),
        ("sys.version_info", Version(3, 10), r"netloop needs Python 3\.11 or later; this is Python 3\.\d+\.\S+"),
    ],
)
def test_where_it_cannot_run_only_building_is_refused(
    place: str, value: object, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one sentence; whoever lists dependencies or makes a source distribution may do so on any system."""
    for name in ("setuptools", "Cython"):
        pytest.importorskip(name, reason=f"what builds the modules needs {name}: pip install {name}")
    build_ext = runpy.run_path(str(ROOT / "netloop" / "tools" / "build_ext.py"))["BuildExt"]
    distribution = importlib.import_module("setuptools.dist").Distribution()
    monkeypatch.setattr(place, value)
    distribution.commands = ["bdist_wheel"]
    with pytest.raises(importlib.import_module("setuptools.errors").PlatformError) as refused:
        build_ext(distribution).finalize_options()
    assert re.fullmatch(sentence, str(refused.value))
    for command in ("dist_info", "egg_info", "sdist"):
        distribution.commands = [command]
        build_ext(distribution).finalize_options()


def test_the_source_distribution_holds_what_a_build_needs(built: Built) -> None:
    with tarfile.open(built.sdist) as archive:
        names = {member.name.partition("/")[2] for member in archive if member.isfile()}
    needed = package_files() | files(ROOT / "netloop", "*.pyx", "*.pxd") | files(ROOT / "cext", "*.c", "*.h")
    assert needed | benchmark_files() | {"pyproject.toml", "README.md", "LICENSE"} <= names
    assert not [name for name in names if name.startswith("netloop/") and name.endswith((".c", ".so"))]


def test_the_wheel_holds_the_package_and_no_sources_of_compiled_modules(built: Built) -> None:
    with zipfile.ZipFile(built.wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    benchmark = {f"netloop/{name}" for name in benchmark_files()}
    assert names == package_files() | benchmark | {f"netloop/{module.replace('.', '/')}{SUFFIX}" for module in MODULES}


def test_the_package_needs_no_other(built: Built) -> None:
    with zipfile.ZipFile(built.wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = archive.read(name).decode()
    assert set(re.findall(r"^Provides-Extra: (.+)$", metadata, re.MULTILINE)) == {
        *("bench", "demo", "liburing", "opentelemetry", "prometheus", "test", "uvloop")
    }
    for requirement in re.findall(r"^Requires-Dist: (.+)$", metadata, re.MULTILINE):
        assert "; extra ==" in requirement


def test_the_installed_package_runs_and_loads_its_compiled_part_only_then(python: str, tmp_path: Path) -> None:
    printed = checked([python, "-W", "error", "-c", ECHO, *MODULES], tmp_path).split()
    assert printed[0] == "hello"
    assert Path(printed[1]).is_relative_to(Path(python).parents[1])
    assert printed[2] == "netloop.event_loop"


def test_the_installed_command_runs(python: str, tmp_path: Path) -> None:
    assert "The loop runs here" in checked([str(Path(python).with_name("netloop")), "doctor"], tmp_path)


def test_the_installed_benchmark_runs(python: str, tmp_path: Path) -> None:
    command = [python, "-m", "netloop", "bench", "--list", "--rows", "call_soon", "--loops", "netloop", "asyncio"]
    listed = checked(command, tmp_path)
    assert "call_soon" in listed
    assert "netloop asyncio" in listed


def test_the_installed_package_serves_the_source_directory_too(built: Built, python: str) -> None:
    """There `python -m` finds the sources first, and nobody has compiled them."""
    assert not list((built.sources / "netloop").rglob("*.so"))
    assert "The loop runs here" in checked([python, "-m", "netloop", "doctor"], built.sources)
