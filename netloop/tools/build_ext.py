"""How the compiled modules are built; setuptools loads this file by its path."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Extension
from setuptools.command.build_ext import build_ext

__all__ = ["BuildExt"]

# Of an installed module nobody debugs the C that Cython has written: without its symbols and debugging information a
# module has a quarter of the size and takes a third less time. A build that asks for them by CFLAGS gets them.
_COMPILE = ["-std=c11", "-D_GNU_SOURCE", "-O2"]
_WITHOUT_SYMBOLS = (["-g0"], ["-Wl,--strip-all"])


class BuildExt(build_ext):
    """Compiles the modules side by side, each against the core's headers and the declarations of all others.

    setuptools follows neither headers nor .pxd files. A module left as it was when one of them changed would disagree
    with the others about the layout of the objects they share. So each module depends on all of these files, which
    also puts them, and this one, into the source distribution.
    """

    def finalize_options(self) -> None:
        super().finalize_options()
        shared = [*Path("cext").glob("*.h"), *Path("netloop").rglob("*.pxd"), Path("netloop/tools/build_ext.py")]
        compile_arguments, link_arguments = ([], []) if "-g" in os.environ.get("CFLAGS", "") else _WITHOUT_SYMBOLS
        for extension in self.extensions or []:
            extension.depends = sorted(map(str, shared))
            extension.include_dirs = ["cext"]
            extension.extra_compile_args = [*_COMPILE, *compile_arguments]
            extension.extra_link_args = list(link_arguments)

    def build_extensions(self) -> None:
        """Build all modules, as many at a time as there are processors, the largest first."""
        self.check_extensions_list(self.extensions)
        largest_first = sorted(self.extensions, key=lambda extension: -Path(extension.sources[0]).stat().st_size)
        with ThreadPoolExecutor(self.parallel or len(os.sched_getaffinity(0))) as pool:
            for _ in pool.map(self.build_extension, largest_first):
                pass

    def build_extension(self, ext: Extension) -> None:
        """Have Cython write the C, in a process of its own, because threads of one do not run side by side."""
        source = Path(ext.sources[0])
        written = Path(self.build_temp, *source.parts[:-1], f"{source.stem}.c")
        newest = max(Path(file).stat().st_mtime for file in (source, *ext.depends))
        if self.force or not written.exists() or written.stat().st_mtime < newest:
            written.parent.mkdir(parents=True, exist_ok=True)
            subprocess.run([sys.executable, "-m", "cython", "-3", str(source), "-o", str(written)], check=True)
        generated = copy.copy(ext)
        generated.sources = [str(written), *ext.sources[1:]]
        super().build_extension(generated)
