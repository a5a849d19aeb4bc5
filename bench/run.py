"""Run the benchmark: ``python bench/run.py``, the same as ``python -m netloop bench``. README.md tells more."""

import sys

from harness.main import main

if __name__ == "__main__":
    sys.exit(main())
