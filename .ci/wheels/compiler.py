"""The C compiler of each target: clang as ``ziglang`` brings it, with the headers and stubs of every C library."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from targets import Target
from tools import HERE, Tools, run

__all__ = ["check_layout", "cross_environment", "make_compiler"]

# The name of the module that sysconfig is told to read in place of the interpreter's own.
_SYSCONFIG = "_sysconfigdata_of_target"
_ABOUT = """
import json, sysconfig
print(json.dumps([sysconfig.get_config_vars(), sysconfig.get_path("include")]))
"""


def make_compiler(tools: Tools, target: Target, directory: Path) -> Path:
    """A program that compiles and links for a target as ``cc`` does for this machine."""
    directory.mkdir(parents=True, exist_ok=True)
    program = directory / f"cc-{target.name}"
    cache = shlex.quote(str(tools.cache))
    # zig's own default is a build for debugging, with checks of undefined behaviour that need its run-time library.
    program.write_text(
        "#!/bin/sh\n"
        f"export ZIG_GLOBAL_CACHE_DIR={cache} ZIG_LOCAL_CACHE_DIR={cache}\n"
        f"exec {shlex.quote(str(tools.python))} -m ziglang cc -target {target.compiler} -fno-sanitize=undefined"
        ' "$@"\n'
    )
    program.chmod(0o755)
    return program


def check_layout(compiler: Path, python: Path, directory: Path) -> None:
    """Fail unless the interpreter's pyconfig.h describes the target too."""
    include = json.loads(run([python, "-c", _ABOUT]))[1]
    output = directory / f"{compiler.name}-layout.o"
    run([compiler, "-std=c11", f"-I{include}", "-c", HERE / "layout_check.c", "-o", output])


def cross_environment(python: Path, target: Target, compiler: Path, directory: Path) -> dict[str, str]:
    """What makes an interpreter build for a target, whatever compiler and flags it was itself built with.

    Returns:
        Variables for the environment: sysconfig reads the module that is written here in place of the interpreter's
        own, and calls the target its platform.
    """
    values, include = json.loads(run([python, "-c", _ABOUT]))
    tag = values["SOABI"].split("-")[1]
    abi = f"cpython-{tag}-{target.machine}-linux-{target.libc}"
    values |= {
        "CC": str(compiler),
        "CXX": str(compiler),
        "LDSHARED": f"{compiler} -shared",
        "LDCXXSHARED": f"{compiler} -shared",
        "CFLAGS": "-fno-strict-overflow -DNDEBUG -O2 -Wall",
        "OPT": "",
        "CCSHARED": "-fPIC",
        "LDFLAGS": "",
        "SOABI": abi,
        "EXT_SUFFIX": f".{abi}.so",
        "MULTIARCH": f"{target.machine}-linux-{target.libc}",
        "INCLUDEPY": include,
        "CONFINCLUDEPY": include,
        "Py_ENABLE_SHARED": 0,
    }
    directory.mkdir(parents=True, exist_ok=True)
    (directory / f"{_SYSCONFIG}.py").write_text(f"build_time_vars = {values!r}\n")
    return {
        "PYTHONPATH": str(directory),
        "_PYTHON_SYSCONFIGDATA_NAME": _SYSCONFIG,
        "_PYTHON_HOST_PLATFORM": f"linux-{target.machine}",
        "SETUPTOOLS_EXT_SUFFIX": f".{abi}.so",
        # The archive's dates: the same sources give the same wheel.
        "SOURCE_DATE_EPOCH": "315532800",
    }
