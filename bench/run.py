"""Run the benchmark: ``python bench/run.py --profile quick``. See README.md beside this file."""

import sys

from harness.main import main

if __name__ == "__main__":
    sys.exit(main())
