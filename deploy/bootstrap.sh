#!/bin/sh
# Makes the virtual environment VENV with uv UV_VERSION in it, from any Python that Falx supports.
#
#   sh deploy/bootstrap.sh VENV UV_VERSION
#
# Needs a Python >= 3.11 with venv, and nothing else. $PYTHON, when set, is the only one that is tried.
set -eu
venv=$1
uv_version=$2
supported='import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 15))'

fail() {
    printf '%s\n' "$@" >&2
    exit 1
}

find_python() {
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11 python3.14 python}; do
        if command -v "$candidate" >/dev/null 2>&1 && "$candidate" -c "$supported" >/dev/null 2>&1; then
            printf '%s\n' "$candidate"
            return
        fi
    done
}

# An environment whose Python was upgraded away or is too old is made anew.
if ! "$venv/bin/python" -c "$supported" 2>/dev/null; then
    python=$(find_python)
    if [ -z "$python" ]; then
        found=$("${PYTHON:-python3}" --version 2>&1) || found='no python3'
        fail "Falx needs Python 3.11, 3.12, 3.13 or 3.14; found: $found." \
            'Install one, or name it: make run PYTHON=/path/to/python3.12'
    fi
    "$python" -m venv --clear "$venv" || fail "$python cannot make a virtual environment." \
        'On Debian and Ubuntu install its venv package (python3-venv), then try again.'
fi

if [ "$("$venv/bin/uv" --version 2>/dev/null | cut -d ' ' -f 2)" != "$uv_version" ]; then
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "uv==$uv_version" ||
        fail "uv $uv_version could not be installed with pip: the lines above say why."
fi
