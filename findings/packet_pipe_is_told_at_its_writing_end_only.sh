#!/usr/bin/env bash
# Linux, pipe2(O_DIRECT): F_GETFL shows O_DIRECT at the writing end and not at the reading end, although it is the reader
# who has to know that each read() takes one packet and loses what does not fit.
#
# Seen: "writing end: True, reading end: False; a read of 2 of 3 bytes, then: b'de'". Exits with 1 if that changes.
set -euo pipefail
python3 - <<'PYTHON'
import fcntl, os, platform, sys

reading, writing = os.pipe2(os.O_DIRECT)
shown = [bool(fcntl.fcntl(end, fcntl.F_GETFL) & os.O_DIRECT) for end in (writing, reading)]
os.write(writing, b"abc")
os.write(writing, b"de")
first, second = os.read(reading, 2), os.read(reading, 10)
print(f"Linux {platform.release()}: writing end: {shown[0]}, reading end: {shown[1]}; {first}, then: {second}")
sys.exit((shown, first, second) != ([True, False], b"ab", b"de"))
PYTHON
