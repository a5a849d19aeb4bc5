"""Write the figures of a run into README.md and bench/README.md: ``python bench/readme.py [results.json]``."""

import sys
from pathlib import Path

from harness.errors import BenchError
from harness.readme import BENCH, update_all
from harness.report import Report


def main(arguments: list[str]) -> int:
    """Read the results named on the command line, or those of the last run, and write both files."""
    path = Path(arguments[0]) if arguments else BENCH / "results" / "results.json"
    try:
        for written in update_all(Report.from_json(path.read_text(encoding="utf-8"))):
            print(f"wrote {written}")
    except (BenchError, OSError) as error:
        print(f"bench/readme.py: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
