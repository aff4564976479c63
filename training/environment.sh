#!/bin/sh
# Makes training's environment VENV: training/requirements.txt, and pytest with what belongs to it as uv.lock has them.
#
#   sh training/environment.sh VENV SERVICES EXTRA
#
# SERVICES is the services' environment, whose Python and uv are used. With EXTRA=cpu torch comes from its index of
# wheels for CPUs, which are a tenth of the size, where that index can be reached; else pip takes what it finds.
set -eu
venv=$1
services=$2
extra=$3
cpu_wheels=https://download.pytorch.org/whl/cpu
reachable='import sys, urllib.request; urllib.request.urlopen(sys.argv[1], timeout=10).close()'

"$venv/bin/python" -m pip --version >/dev/null 2>&1 || "$services/bin/python" -m venv --clear "$venv"

"$services/bin/uv" export --quiet --frozen --only-group dev --no-hashes --no-annotate --no-header >"$venv/dev.txt"
grep -E '^(hypothesis|pytest[a-z-]*)==' "$venv/dev.txt" >"$venv/pytest.txt"

set --
# Elsewhere every wheel of torch is for CPUs.
if [ "$extra" = cpu ] && [ "$(uname)" = Linux ] && "$venv/bin/python" -c "$reachable" "$cpu_wheels/torch/" 2>/dev/null; then
    set -- --extra-index-url "$cpu_wheels"
fi
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check "$@" -r training/requirements.txt -r "$venv/pytest.txt"
