"""Every message of the fuzzer's corpus, its finds among them, through every target: atheris itself isn't needed."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fuzz.seeds import CORPUS, odd, replies, valid
from tests.fuzz.targets import TARGETS


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
@pytest.mark.parametrize("path", sorted(CORPUS.iterdir()), ids=lambda path: path.name)
def test_holds_for_what_the_fuzzer_starts_from(target: Callable[[bytes], None], path: Path) -> None:
    target(path.read_bytes())


def test_corpus_holds_every_seed() -> None:
    seeds = {**valid(), **odd(), **replies()}
    assert {label for label, message in seeds.items() if (CORPUS / label).read_bytes() != message} == set()
