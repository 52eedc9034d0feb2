#!/usr/bin/env bash
# test.sh VENV: run the tests there, then on whichever of Python 3.11 and 3.13 is here and is another version.
set -euo pipefail

export PATH=$PATH:/usr/sbin:/sbin
locks=requirements/dev.txt

tests() {
    echo "Testing on $("$1/bin/python" --version)"
    "$1/bin/python" -m pytest --numprocesses auto --dist loadgroup
}

tests "$1"
tested=$("$1/bin/python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
for version in 3.11 3.13; do
    [ "$version" != "$tested" ] || continue
    if ! python=$(tools/find-python.sh $version); then
        echo "There is no Python $version here: not tested on it."
        continue
    fi
    venv=.venv-$version
    if [ ! "$venv/.dev" -nt $locks ] || [ ! "$venv/.dev" -nt pyproject.toml ]; then
        tools/venv.sh "$venv" "$python" $locks
        touch "$venv/.dev"
    fi
    tests "$venv"
done
