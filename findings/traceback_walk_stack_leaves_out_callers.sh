#!/usr/bin/env bash
# traceback.walk_stack(None), CPython 3.11.7, 3.12.1 and 3.13.0 (no more with 3.14.10 and 3.15.2): the stack that it walks
# begins two frames above whoever iterates over it, because it counts on being handed to StackSummary.extract(). Whoever
# iterates over it misses callers, the one who asks among them; how many depends on whether a comprehension is a frame of
# its own, which it was until 3.11.
#
# Seen: "['c', '<module>']" with 3.11.7, "['<module>']" with 3.12.1 and 3.13.0, and "['a', 'b', 'c', '<module>']" with
# the later ones. Exits with 1 if that changes.
set -euo pipefail
python3 - <<'PYTHON'
import sys, traceback

def a():
    return [frame.f_code.co_name for frame, line in traceback.walk_stack(None)]

def b():
    return a()

def c():
    return b()

seen = c()
print(f"Python {sys.version.split()[0]}: {seen}")
if sys.version_info >= (3, 14):
    expected = ["a", "b", "c", "<module>"]
else:
    expected = ["<module>"] if sys.version_info >= (3, 12) else ["c", "<module>"]
sys.exit(seen != expected)
PYTHON
