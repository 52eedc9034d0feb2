"""Run one target under atheris: python -m tests.fuzz.run TARGET [CORPUS...] [libFuzzer's options]."""

import contextlib
import os
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["kubedns", "plugins"]):
    from tests.fuzz.targets import TARGETS

if __name__ == "__main__":
    target = TARGETS[sys.argv.pop(1)]
    atheris.Setup(sys.argv, target)
    # The log plugin writes a line for each query; what libFuzzer says goes to standard error.
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere, contextlib.redirect_stdout(nowhere):
        atheris.Fuzz()
