"""The runner of tests on other kernels: what it puts into a machine, what it hears from it, and what it says."""

from __future__ import annotations

import io
import lzma
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import kernels.machine
import kernels.needs
import pytest
from kernels.initramfs import archive, modules_in_order
from kernels.machine import TIMED_OUT, boot, script_of
from kernels.needs import NEEDS, missing
from kernels.packages import Kernel, newest
from kernels.run import main
from kernels.unavailable import UnavailableError

NAMES = [
    *("linux-image-6.1.0-9-cloud-amd64", "linux-image-6.1.0-50-cloud-amd64", "linux-image-6.1.0-51-amd64"),
    *("linux-image-6.12.9+deb13-cloud-amd64", "linux-image-6.12.117+deb13-cloud-amd64"),
    *("linux-image-6.12.117+deb13-cloud-amd64-unsigned", "linux-image-cloud-amd64", "linux-headers-7.3.5-cloud-amd64"),
    *("linux-binary-7.3.4+deb13-cloud-amd64", "linux-modules-7.3.4+deb13-cloud-amd64"),
]


@pytest.mark.parametrize(
    ("version", "name"),
    [
        ("6.1", "6.1.0-50-cloud-amd64"),
        ("6.12", "6.12.117+deb13-cloud-amd64"),
        ("7.3", "7.3.4+deb13-cloud-amd64"),
        ("6", "6.12.117+deb13-cloud-amd64"),
        ("9.9", None),
    ],
)
def test_the_newest_kernel_of_a_version(version: str, name: str | None) -> None:
    assert newest(NAMES, version) == name


def module(*needed: str) -> bytes:
    return b"\x7fELF\0license=GPL\0depends=" + ",".join(needed).encode() + b"\0name=x\0"


def test_a_module_comes_after_those_it_needs(tmp_path: Path) -> None:
    for name, content in {"top": module("mid-dle", "low"), "mid_dle": module("low"), "low": module()}.items():
        (tmp_path / f"{name}.ko").write_bytes(content)
    (tmp_path / "packed.ko.xz").write_bytes(lzma.compress(module("low")))
    (tmp_path / "unrelated.ko").write_bytes(module("top"))
    found = modules_in_order(tmp_path, ("packed", "top", "built_in"))
    assert [name for name, _ in found] == ["low", "packed", "mid_dle", "top"]
    assert dict(found)["packed"] == module("low")


def test_modules_of_an_unknown_kind_are_refused(tmp_path: Path) -> None:
    (tmp_path / "some.ko.zst").write_bytes(b"?")
    with pytest.raises(UnavailableError, match=r"some\.ko\.zst"):
        modules_in_order(tmp_path, ("some",))


def test_the_archive_is_what_other_programs_read(tmp_path: Path) -> None:
    reader = [shutil.which("cpio") or shutil.which("busybox") or pytest.skip("there is neither cpio nor busybox")]
    if reader[0].endswith("busybox"):
        reader.append("cpio")
    content = archive({"folder": None, "folder/program": b"#!/bin/sh\necho said\n", "empty": b""})
    subprocess.run([*reader, "-i", "-d"], input=content, cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / "empty").read_bytes() == b""
    assert subprocess.check_output([tmp_path / "folder/program"]) == b"said\n"


def test_the_script_passes_everything_on_as_it_is(tmp_path: Path) -> None:
    """Run here: with a file in the serial port's place, and without switching this machine off."""
    port = tmp_path / "port"
    port.touch()
    folder = tmp_path / "a folder"
    folder.mkdir()
    program = "import os, sys; print(os.environ['ONE'], sys.argv[1], os.getcwd(), sep='|'); sys.exit(7)"
    script = script_of(
        [sys.executable, "-c", program, "it's $HOME"], folder, {"ONE": 'a "b"', "PATH": os.environ["PATH"]}
    )
    script = script.replace("stty -F /dev/ttyS1 raw -echo\n", "").replace(">/dev/ttyS1", f">>{port}")
    subprocess.run(["bash", "-c", script.replace("/run/busybox poweroff -f\n", "")], check=True)
    assert port.read_text() == f'a "b"|it\'s $HOME|{folder}\nexit status of the job: 7\n'


SERVER = "#!/bin/sh\ntouch ${1#--socket-path=}\nexec sleep 60\n"


class Machine:
    """Stands in for qemu: a program that says something, in place of the command line."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, says: str) -> None:
        self.folder = tmp_path
        for name in (kernels.machine.QEMU, "virtiofsd"):
            (tmp_path / name).write_text(SERVER)
            (tmp_path / name).chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        monkeypatch.setattr(kernels.machine, "VIRTIOFSD", ("virtiofsd",))
        monkeypatch.setattr(kernels.machine, "build", lambda *_: b"")
        monkeypatch.setattr(kernels.machine, "_command", lambda *given: ["sh", "-c", says, "qemu", str(given[2])])

    def boot(self, seconds: float = 10.0) -> tuple[int, str]:
        output = io.StringIO()
        status = boot(Kernel("9.9", self.folder, self.folder / "vmlinuz"), "", seconds=seconds, output=output)
        return status, output.getvalue()


def test_what_the_job_says_is_copied_and_its_status_returned(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    says = 'echo "BUG: all is lost" >"$1"; echo said; echo exit; echo "exit status of the job: 5"; exit 0'
    status, text = Machine(monkeypatch, tmp_path, says).boot()
    assert status == 5
    assert text == "said\nexit\nThe kernel says: BUG: all is lost\n"


@pytest.mark.parametrize(
    "says", ["echo panic >$1; echo no luck >&2", "echo panic >$1; echo no luck >&2; exec sleep 60"]
)
def test_a_machine_that_does_not_come_to_the_end(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, says: str) -> None:
    begun = time.monotonic()
    status, text = Machine(monkeypatch, tmp_path, says).boot(seconds=1.0)
    assert status == TIMED_OUT
    assert "panic\nno luck" in text
    assert time.monotonic() - begun < 30


def test_a_machine_that_cannot_boot_says_why(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["--work", str(tmp_path), "9.9", "tests/unit"]) == os.EX_UNAVAILABLE
    assert capsys.readouterr().out.startswith("kernel 9.9: not booted, because ")


def test_a_file_server_that_does_not_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    machine = Machine(monkeypatch, tmp_path, "exit 0")
    (tmp_path / "virtiofsd").write_text("#!/bin/sh\necho not allowed\nexit 1\n")
    with pytest.raises(UnavailableError, match="not allowed"):
        machine.boot()


def test_every_need_is_a_feature_that_the_probe_knows() -> None:
    offered = kernels.needs._probe()
    for need in NEEDS.values():
        assert all(name in offered[group] for group, name in need.features)


def test_what_is_missing_is_told_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    everything = {group: dict.fromkeys(names, True) for group, names in kernels.needs._probe().items()}
    monkeypatch.setattr(kernels.needs, "_probe", lambda: everything)
    assert [missing(name) for name in NEEDS] == [None] * len(NEEDS)
    everything["operations"]["FIXED_FD_INSTALL"] = False
    told = missing("fixed_table")
    assert told is not None
    assert told.startswith(NEEDS["fixed_table"].reason) and told.endswith("it lacks FIXED_FD_INSTALL")
    assert missing("socket_names") is None
