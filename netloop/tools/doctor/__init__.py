"""``python -m netloop doctor``: what this kernel and container offer to netloop, and what to do about the rest.

It uses ``core`` to ask the kernel, ``setup`` for what a refusal means, ``netloop`` for its version, and what the
commands share in ``tools``.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from netloop.setup.surroundings import Surroundings
from netloop.tools.doctor.profile import FORMATS, make_profile
from netloop.tools.doctor.render import show
from netloop.tools.doctor.report import Finding, Report, examine

__all__ = ["Finding", "Report", "examine", "main", "show"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Examine this machine and print the report; or print a seccomp profile for containers.

    Args:
        arguments: the command line after ``doctor``.

    Returns:
        0 when the loop can run here, or the profile could be made, else 1.
    """
    parser = argparse.ArgumentParser(prog="python -m netloop doctor", description="Show what io_uring offers here.")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    parser.add_argument(
        "--seccomp",
        nargs="?",
        choices=FORMATS,
        const="docker",
        metavar="FORMAT",
        help="print a seccomp profile instead: Docker's default one and io_uring; `oci`, which containerd needs for "
        "Kubernetes, is the same without conditions, for this machine's processor",
    )
    options = parser.parse_args(arguments)
    if options.seccomp:
        return _print_profile(options.seccomp)
    report = examine()
    if options.json:
        print(json.dumps(report.as_json(), indent=2))
    else:
        show(report)
    return 0 if report.runs else 1


def _print_profile(form: str) -> int:
    try:
        profile, origin = make_profile(form, Surroundings())
    except ValueError as unusable:
        print(unusable, file=sys.stderr)
        return 1
    print(json.dumps(profile, indent=2))
    print(f"derived from {origin}", file=sys.stderr)
    return 0
