#!/usr/bin/env bash
# find-python.sh 3.13: print the path of that Python, from PATH or pyenv; fail if it is not here.
set -euo pipefail

version=$1
works() {
    "$1" -c 'import sys, ensurepip, venv; sys.exit("%d.%d" % sys.version_info[:2] != sys.argv[1])' "$version" \
        >/dev/null 2>&1
}

if works "python$version"; then
    command -v "python$version"
    exit
fi
# pyenv's shim on PATH refuses to run a version that is installed but not chosen.
command -v pyenv >/dev/null || exit 1
release=$(pyenv versions --bare | grep -E "^${version//./\\.}\.[0-9]+$" | sort -V | tail -n 1)
path=$(PYENV_VERSION=$release pyenv which "python$version")
works "$path"
echo "$path"
