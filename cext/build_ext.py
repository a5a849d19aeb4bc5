"""How the compiled modules are built; setuptools loads this file by its path."""

from __future__ import annotations

from pathlib import Path

from setuptools.command.build_ext import build_ext

__all__ = ["BuildExt"]


class BuildExt(build_ext):
    """Compiles each module against the core's headers and the declarations of all others.

    setuptools follows neither headers nor .pxd files. A module left as it was when one of them changed would disagree
    with the others about the layout of the objects they share. So each module depends on all of these files, which
    also puts them, and this one, into the source distribution.
    """

    def finalize_options(self) -> None:
        super().finalize_options()
        shared = [*Path("cext").glob("*.h"), *Path("netloop").glob("*.pxd"), Path("cext/build_ext.py")]
        for extension in self.extensions or []:
            extension.depends = sorted(map(str, shared))
            extension.include_dirs = ["cext"]
            extension.extra_compile_args = ["-std=c11", "-D_GNU_SOURCE", "-O2"]
