"""The first file system of a virtual machine: busybox, a few modules, and a script that goes on from there.

It is an archive in cpio's "newc" format, which the kernel unpacks into memory.
"""

from __future__ import annotations

import lzma
import re
import shutil
from pathlib import Path

from kernels.unavailable import UnavailableError

__all__ = ["archive", "build", "modules_in_order"]

# What makes the host's files visible, read-only, and what lets the tests write over them in memory.
MODULES = ("virtio_pci", "virtiofs", "overlay")
INIT = Path(__file__).with_name("init.sh")
FOLDERS = ("bin", "dev", "proc", "sys", "modules", "host", "own", "root")
_FOLDER, _PROGRAM = 0o040755, 0o100755


def build(kernel: Path, job: str) -> bytes:
    """The archive for an unpacked kernel; ``job`` is the bash script that is to run on it.

    Raises:
        UnavailableError: busybox is missing, or a module of the kernel's.
    """
    entries: dict[str, bytes | None] = dict.fromkeys(FOLDERS)
    entries["bin/busybox"] = _busybox().read_bytes()
    entries["init"] = INIT.read_bytes()
    entries["job"] = job.encode()
    for number, (name, content) in enumerate(modules_in_order(kernel, MODULES)):
        entries[f"modules/{number:02}-{name}.ko"] = content
    return archive(entries)


def modules_in_order(kernel: Path, names: tuple[str, ...]) -> list[tuple[str, bytes]]:
    """Modules with what they need, each after what it needs, as name and content.

    A name that stands for no file is taken for built into the kernel: the machine says so itself if it is not.
    """
    files = {path.name.partition(".")[0].replace("-", "_"): path for path in kernel.rglob("*.ko*")}
    found: dict[str, bytes] = {}

    def add(name: str) -> None:
        if name in found or name not in files:
            return
        content = _content(files[name])
        needed = re.search(rb"\0depends=([^\0]*)\0", content)
        for other in needed[1].decode().split(",") if needed else ():
            add(other.replace("-", "_"))
        found[name] = content

    for name in names:
        add(name)
    return list(found.items())


def archive(entries: dict[str, bytes | None]) -> bytes:
    """A cpio archive of programs, and of folders where there is no content."""
    blocks = []
    for number, (name, content) in enumerate({**entries, "TRAILER!!!": b""}.items(), 1):
        path, data = name.encode() + b"\0", content or b""
        mode = _FOLDER if content is None else _PROGRAM
        # inode, mode, owner, group, links, time, size, device (2), device the node stands for (2), name's size, sum
        fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(path), 0)
        head = b"070701" + b"".join(b"%08X" % field for field in fields) + path
        blocks += [_padded(head), _padded(data)]
    return b"".join(blocks)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def _content(path: Path) -> bytes:
    if path.suffix == ".xz":
        return lzma.decompress(path.read_bytes())
    if path.suffix == ".ko":
        return path.read_bytes()
    raise UnavailableError(f"the kernel's modules are compressed in a way that is not known here: {path.name}")


def _busybox() -> Path:
    found = shutil.which("busybox")
    if found is None:
        raise UnavailableError("there is no busybox: apt-get install busybox-static")
    content = Path(found).read_bytes()
    if b"/ld-linux" in content[:4096]:
        raise UnavailableError("busybox is not statically linked: apt-get install busybox-static")
    return Path(found)
