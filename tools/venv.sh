#!/usr/bin/env bash
# venv.sh FOLDER PYTHON LOCK...: make the virtual environment, install the locks by hash, then the project as it stands.
set -euo pipefail

venv=$1 python=$2
shift 2

fail() {
    printf '%s\n' "$@" >&2
    exit 1
}

# An environment without pip was left half made.
if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    command -v "$python" >/dev/null ||
        fail "kubedns needs Python 3.11 or newer, and there is no '$python'." \
            "Install it (Debian: apt-get install python3 python3-venv), or name another: make PYTHON=/path/to/python3"
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        fail "kubedns needs Python 3.11 or newer; '$python' is $("$python" --version 2>&1)." \
            "Name a newer one: make PYTHON=/path/to/python3"
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        fail "'$python' can't make virtual environments." \
            "Install its venv module (Debian: apt-get install python3-venv)."
    echo "Making $venv with $("$python" --version)"
    "$python" -m venv --clear "$venv"
fi

export PIP_DISABLE_PIP_VERSION_CHECK=1
locks=()
for lock in "$@"; do
    locks+=(--requirement "$lock")
done
echo "Installing into $venv: $*"
"$venv/bin/python" -m pip install --require-hashes "${locks[@]}"
"$venv/bin/python" -m pip install --no-deps --no-build-isolation --quiet --editable .
