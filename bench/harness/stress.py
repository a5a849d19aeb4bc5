"""The results of stress runs (``python -m netloop stress``) as Markdown."""

import json
from pathlib import Path
from typing import Any

from harness.markdown import table_text
from harness.tables import Table


def _table(found: dict[str, Any]) -> str:
    options = found["options"]
    kinds = "server" if options["workers"] == 1 else "servers"
    title = (
        f"{options['scenario']}: {options['connections']:,} connections to {options['workers']} {kinds} "
        f"({options['server']}), Linux {found['kernel']}, CPython {found['python']}"
    )
    verdict = {True: "good", False: "bad", None: ""}
    lines = [[line["what"], line["value"], verdict[line["good"]]] for line in found["lines"]]
    lines += [[f"failed: {reason}", f"{count:,}", "bad"] for reason, count in sorted(found["failures"].items())]
    if not found["failures"]:
        lines.append(["failures", "0", "good"])
    return table_text(Table(title, ["what", "measured", ""], lines))


def stress_runs(directory: Path) -> str:
    """Return a table for each run whose results.json lies in a folder of the directory."""
    paths = sorted(directory.glob("*/results.json"))
    return "\n\n".join(_table(json.loads(path.read_text(encoding="utf-8"))) for path in paths)
