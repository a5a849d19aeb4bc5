"""``python -m netloop doctor``: what this kernel and container offer to netloop, and what to do about the rest.

It uses ``core`` to ask the kernel, ``setup`` for what a refusal means, ``netloop`` for its version, and what the
commands share in ``tools``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence

from netloop.tools.doctor.render import show
from netloop.tools.doctor.report import Finding, Report, examine

__all__ = ["Finding", "Report", "examine", "main", "show"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Examine this machine and print the report.

    Args:
        arguments: the command line after ``doctor``.

    Returns:
        0 when the loop can run here, else 1.
    """
    parser = argparse.ArgumentParser(prog="python -m netloop doctor", description="Show what io_uring offers here.")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    options = parser.parse_args(arguments)
    report = examine()
    if options.json:
        print(json.dumps(report.as_json(), indent=2))
    else:
        show(report)
    return 0 if report.runs else 1
