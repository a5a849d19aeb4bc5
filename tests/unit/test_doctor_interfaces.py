"""What the doctor tells of network interfaces, compared with what others say of them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import Any

import pytest
from loop.patience import stretched

from netloop.tools.doctor.interfaces import read_interfaces

DOCTOR = f"{sys.executable} -m netloop doctor --json"


def in_a_namespace(*commands: str) -> dict[str, dict[str, Any]]:
    """Run commands of ip(8) and tc(8) in a network namespace of its own, and return what the doctor says there."""
    for program in ("unshare", "ip", "tc"):
        if shutil.which(program) is None:
            pytest.skip(f"there is no {program} command (Debian: util-linux, iproute2)")
    command = ["unshare", "--net", "sh", "-ec", "\n".join((*commands, DOCTOR))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=stretched(30), check=False)
    if "unshare failed" in done.stderr:
        pytest.skip("network namespaces are refused here (they take CAP_SYS_ADMIN)")
    # 1 where the loop could not reach its own listener, as without a loopback interface.
    assert done.returncode in (0, 1), done.stderr
    return {one["name"]: one for one in json.loads(done.stdout)["interfaces"]}


def test_the_interfaces_of_this_machine() -> None:
    found = {interface.name: interface for interface in read_interfaces()}
    for name, interface in found.items():
        assert int(interface.mtu) > 0, name
        assert interface.segmentation in ("by the card", "left to others", "in software", "off", "unknown")
        assert interface.coalescing in ("in software", "off", "unknown")
    # Whoever runs this has been given the loopback interface.
    assert found["lo"].segmentation != "by the card"


def test_what_is_set_is_what_is_told() -> None:
    set_up = "ip link set lo up mtu 1400; ip link add one type veth peer name two mtu 1280; ip link set one up"
    queueing = "tc qdisc add dev lo root pfifo"
    found = in_a_namespace(set_up, "ip link set two up", queueing)
    assert set(found) == {"lo", "one", "two"}
    assert found["lo"]["mtu"] == "1400"
    assert found["two"]["mtu"] == "1280"
    assert found["lo"]["queueing"] == "pfifo, ignores transmit times"
    assert found["one"]["queueing"] == "noqueue, ignores transmit times"
    assert (found["one"]["driver"], found["one"]["segmentation"]) == ("veth", "left to others")


def test_an_interface_that_is_down_is_left_out() -> None:
    assert set(in_a_namespace("ip link set lo down")) == set()
