"""Compare how two states of netloop build, and whether they are as fast: ``python bench/build.py --before REV``."""

import sys

from harness.building import main

if __name__ == "__main__":
    sys.exit(main())
