"""How the compiled modules are built; setuptools loads this file by its path."""

from __future__ import annotations

import copy
import multiprocessing
import os
import sys
from pathlib import Path

from Cython.Compiler.Main import CompilationOptions
from Cython.Compiler.Main import compile as compile_cython
from setuptools import Extension
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError, PlatformError

__all__ = ["BuildExt"]

_COMPILE = ["-std=c11", "-D_GNU_SOURCE", "-O2"]
# Of an installed module nobody debugs the C that Cython has written: without symbols and debugging information a module
# has a fifth of the size and takes a quarter less time. A build that asks for them by CFLAGS gets them.
_WITHOUT_SYMBOLS = (["-g0"], ["-Wl,--strip-all"])
_DIRECTIVES = {
    # Nothing here can be pickled: what a ring or a connection is cannot be taken elsewhere. Without the functions that
    # Cython writes for it all the same, a module takes a sixth less time.
    "auto_pickle": False,
    # An interpreter without its lock then does not put it in force when it imports them; see netloop/core/THREADS.md.
    "freethreading_compatible": True,
}
# Commands of setuptools that compile nothing.
_FOR_ANY_SYSTEM = {"dist_info", "egg_info", "sdist"}


class BuildExt(build_ext):
    """Compiles the modules side by side, each against the core's headers and the declarations of all others.

    setuptools follows neither headers nor .pxd files. A module left as it was when one of them changed would disagree
    with the others about the layout of the objects they share. So each module depends on all of these files, which
    also puts them, and this one, into the source distribution.
    """

    def finalize_options(self) -> None:
        """Complete the options of each module; refuse, in one sentence, where netloop cannot run.

        Metadata and a source distribution ask for the options too, and are made on any system.
        """
        if (reason := _unsupported()) and not _FOR_ANY_SYSTEM.intersection(self.distribution.commands):
            raise PlatformError(reason)
        super().finalize_options()
        shared = [*Path("cext").glob("*.h"), *Path("netloop").rglob("*.pxd"), Path("netloop/tools/build_ext.py")]
        compile_arguments, link_arguments = ([], []) if "-g" in os.environ.get("CFLAGS", "") else _WITHOUT_SYMBOLS
        for extension in self.extensions or []:
            extension.depends = sorted(map(str, shared))
            extension.include_dirs = ["cext"]
            extension.extra_compile_args = [*_COMPILE, *compile_arguments]
            extension.extra_link_args = list(link_arguments)

    def build_extensions(self) -> None:
        """Build all modules, in as many processes as there are processors.

        In processes, because Cython is Python and its threads would wait for each other; forked, because each would
        else spend as long on importing Cython as on translating a module.
        """
        self.check_extensions_list(self.extensions)
        forking = multiprocessing.get_context("fork")
        shares = _shares(self.extensions, self.parallel or len(os.sched_getaffinity(0)))
        processes = [forking.Process(target=self._build_all, args=(share,)) for share in shares]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        if any(process.exitcode for process in processes):
            raise CompileError("not all modules could be built; the errors are above")

    def _build_all(self, extensions: list[Extension]) -> None:
        for extension in extensions:
            self.build_extension(extension)

    def build_extension(self, ext: Extension) -> None:
        """Have Cython write the C, beside the objects and not among the sources, and the compiler compile it."""
        source = Path(ext.sources[0])
        written = Path(self.build_temp, *source.parts[:-1], f"{source.stem}.c")
        newest = max(Path(file).stat().st_mtime for file in (source, *ext.depends))
        if self.force or not written.exists() or written.stat().st_mtime < newest:
            written.parent.mkdir(parents=True, exist_ok=True)
            options = CompilationOptions(
                language_level=3, output_file=str(written), compiler_directives=dict(_DIRECTIVES)
            )
            if compile_cython(str(source), options, full_module_name=ext.name).num_errors:
                written.unlink(missing_ok=True)
                raise CompileError(f"Cython cannot translate {source}; its errors are above")
        translated = copy.copy(ext)
        translated.sources = [str(written), *ext.sources[1:]]
        super().build_extension(translated)


def _unsupported() -> str | None:
    """Why netloop cannot be built here: one sentence, or None."""
    if sys.platform != "linux":
        return f"netloop needs Linux, because io_uring is part of its kernel; this is {sys.platform}"
    if sys.implementation.name != "cpython":
        this = sys.implementation.name
        return f"netloop needs CPython, whose C interface its modules are written for; this is {this}"
    if sys.version_info < (3, 11):  # noqa: UP036 - pip refuses it by pyproject.toml, other ways of building do not
        return f"netloop needs Python 3.11 or later; this is Python {sys.version.split()[0]}"
    return None


def _shares(extensions: list[Extension], count: int) -> list[list[Extension]]:
    """Divide modules among so many processes, by the size of their sources."""

    def size(extension: Extension) -> int:
        return sum(Path(source).stat().st_size for source in extension.sources)

    shares: list[list[Extension]] = [[] for _ in range(min(count, len(extensions)))]
    for extension in sorted(extensions, key=size, reverse=True):
        min(shares, key=lambda share: sum(map(size, share))).append(extension)
    return shares
