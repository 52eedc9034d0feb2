#!/usr/bin/env bash
# lock.sh PYTHON: write requirements/*.txt from pyproject.toml: every release pinned and hashed, for all Pythons we run on.
set -euo pipefail

python=$1
if [ ! -x .venv-lock/bin/uv ]; then
    "$python" -m venv .venv-lock
    .venv-lock/bin/python -m pip install --require-hashes --requirement requirements/lock.txt
fi

compile() {
    .venv-lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
        --no-header --no-emit-index-url --no-emit-find-links "$@"
}

# The largest first; the others take its versions.
compile --upgrade pyproject.toml --group build --group dev --output-file requirements/dev.txt
compile pyproject.toml --constraint requirements/dev.txt --no-annotate --output-file requirements/run.txt
compile --group build --constraint requirements/dev.txt --no-annotate --output-file requirements/build.txt
compile --upgrade --group fuzz --output-file requirements/fuzz.txt
compile --upgrade --group lock --output-file requirements/lock.txt
