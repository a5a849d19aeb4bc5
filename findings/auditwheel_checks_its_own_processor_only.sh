#!/usr/bin/env bash
# auditwheel 6.8.2, x86-64, glibc: it reads wheels of other processors and says by itself what they may be tagged, but
# refuses to be asked for such a tag. Who cross-compiles has to let it choose, by "--plat auto", and compare what came.
#
# Seen: "invalid choice: 'manylinux_2_28_aarch64'". Exits with 1 if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check auditwheel==6.8.2
[[ $(uname -m) == x86_64 ]] || { echo "this is about x86-64"; exit 1; }
said=$("$folder/env/bin/auditwheel" repair --plat manylinux_2_28_aarch64 any.whl 2>&1 || true)
echo "$said" | grep -o "invalid choice: '[^']*'"
