"""Copies of the project's sources, as they are in a checkout at this moment or were in one of its commits."""

import shutil
import subprocess
import tarfile
from pathlib import Path

from harness.errors import BenchError

CHECKOUT = Path(__file__).resolve().parents[2]
_GIT_TIMEOUT = 60.0


def _git(checkout: Path, *arguments: str) -> str:
    if not (checkout / ".git").exists():
        raise BenchError(f"{checkout} is no git checkout of the project, and the revisions to compare come from one")
    command = ["git", "-C", str(checkout), *arguments]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_GIT_TIMEOUT, check=False
        )
    except FileNotFoundError:
        raise BenchError("git is not installed, and the revisions to compare come from it") from None
    except subprocess.TimeoutExpired:
        raise BenchError(f"git {arguments[0]} took longer than {_GIT_TIMEOUT:.0f} s") from None
    if done.returncode != 0:
        raise BenchError(f"git {arguments[0]}: {done.stderr.strip() or f'ended with status {done.returncode}'}")
    return done.stdout


def commit_of(revision: str, checkout: Path = CHECKOUT) -> str:
    """Return the abbreviated name of the commit that a revision means.

    Raises:
        BenchError: there is no git, this is no checkout of it, or there is no such revision.
    """
    return _git(checkout, "rev-parse", "--short", "--verify", "--end-of-options", f"{revision}^{{commit}}").strip()


def copy_revision(revision: str, directory: Path, checkout: Path = CHECKOUT) -> None:
    """Write the files of a revision into a new directory.

    Raises:
        BenchError: git cannot give them.
    """
    directory.mkdir()
    archive = directory.with_name(f"{directory.name}.tar")
    _git(checkout, "archive", "--format=tar", f"--output={archive}", commit_of(revision, checkout))
    with tarfile.open(archive) as files:
        files.extractall(directory, filter="data")
    archive.unlink()


def copy_working_tree(directory: Path, checkout: Path = CHECKOUT) -> None:
    """Write the files of the checkout as they are now into a new directory, without anything that git ignores: what an
    earlier build has left would be taken for finished.

    Raises:
        BenchError: git cannot name them.
    """
    directory.mkdir()
    listed = _git(checkout, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate")
    for name in filter(None, listed.split("\0")):
        # One that is deleted and not yet committed as such is still listed.
        if (checkout / name).exists():
            target = directory / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(checkout / name, target)
