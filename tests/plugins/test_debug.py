"""debug: a setting for the server, and no options."""

from __future__ import annotations

import pytest

from kubedns.corefile.errors import CorefileError
from kubedns.plugin.contract import ServerBlock, Settings
from plugins import debug
from tests.plugins.helpers import directive, placed

BLOCK = ServerBlock((".",))


@pytest.mark.parametrize("text", ["debug", "debug\ndebug"], ids=["once", "twice"])
def test_setting(text: str) -> None:
    assert debug.setup(directive(text), BLOCK) == Settings(debug=True)


REFUSED = [
    ("argument", "debug on", "Wrong argument count or unexpected line ending after 'on'", "2:7"),
    ("block", "debug {\n}", "Unexpected token '{', expecting argument", "2:7"),
]


@pytest.mark.parametrize(("text", "message", "place"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_refused(text: str, message: str, place: str) -> None:
    with pytest.raises(CorefileError) as raised:
        debug.setup(directive(text), BLOCK)
    assert str(raised.value) == f"Corefile:2 - Error during parsing: {message}"
    assert placed(raised.value) == place
