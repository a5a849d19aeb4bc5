"""Becomes the TCP relay in C, ``relay_in_c.py PROGRAM [BUFFERS BUFFER_SIZE]``, before the echo server of the others."""

import os
import sys

from relaying import UPSTREAM

if __name__ == "__main__":
    program, *pool = sys.argv[1:]
    os.execv(program, [program, str(UPSTREAM[1]), *pool])
