from __future__ import annotations

import re

import pytest

from kubedns.cluster.selector import parse_selector

LABELS = {"tier": "front", "app.kubernetes.io/name": "web", "weight": "10", "empty": ""}


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        pytest.param("", True, id="everything"),
        pytest.param("  ", True, id="blanks"),
        pytest.param("tier=front", True, id="equal"),
        pytest.param("tier == front", True, id="equal, spelled twice, blanks"),
        pytest.param("tier=back", False, id="other value"),
        pytest.param("tier!=back", True, id="not equal"),
        pytest.param("missing!=back", True, id="not equal holds for a missing label"),
        pytest.param("tier in (front, back)", True, id="in"),
        pytest.param("tier in (a,b)", False, id="not in the set"),
        pytest.param("tier notin (a,b)", True, id="notin"),
        pytest.param("missing notin (a)", True, id="notin holds for a missing label"),
        pytest.param("tier", True, id="exists"),
        pytest.param("!tier", False, id="does not exist"),
        pytest.param("!missing", True, id="missing"),
        pytest.param("app.kubernetes.io/name=web,tier=front", True, id="both, with a prefix"),
        pytest.param("tier=front,weight=11", False, id="one of two"),
        pytest.param("weight>9", True, id="greater"),
        pytest.param("weight<9", False, id="less"),
        pytest.param("tier>9", False, id="greater than text"),
        pytest.param("empty=", True, id="empty value"),
        pytest.param("empty in (,a)", True, id="empty value in a set"),
        pytest.param("in in (a)", False, id="a key named in"),
    ],
)
def test_selector(text: str, matches: bool) -> None:
    assert parse_selector(text).matches(LABELS) is matches


@pytest.mark.parametrize(
    ("text", "error"),
    [
        pytest.param("=a", "found '=', expected: !, identifier, or 'end of string'", id="no key"),
        pytest.param("a=b=c", "found '=', expected: ',' or 'end of string'", id="two values"),
        pytest.param("a==(b)", "found '(', expected: identifier", id="a set after equal"),
        pytest.param("a,", "found '', expected: identifier after ','", id="comma at the end"),
        pytest.param("a in b", "found 'b' expected: '('", id="set without parentheses"),
        pytest.param("a in (b", "found '', expected: ',' or ')'", id="open set"),
        pytest.param("a b", "found 'b', expected: in, notin, =, ==, !=, gt, lt", id="two words"),
        pytest.param("!", "found '', expected: identifier", id="nothing to negate"),
        pytest.param("-a=b", 'key: Invalid value: "-a": ', id="bad key"),
        pytest.param("a=b_", 'values[0][a]: Invalid value: "b_": ', id="bad value"),
        pytest.param("a>b", 'values[0][a]: Invalid value: "b": ', id="greater than text"),
    ],
)
def test_what_is_no_selector(text: str, error: str) -> None:
    with pytest.raises(ValueError, match="^" + re.escape(error)):
        parse_selector(text)
