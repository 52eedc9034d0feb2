from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from kubedns.cluster.yaml_reader import YamlError, read_yaml


def values(text: bytes) -> list[Any]:
    return [document.value for document in read_yaml(text) if document is not None]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(b"", [], id="empty"),
        pytest.param(b"a: 1\n---\nb: [x, null]\n", [{"a": 1}, {"b": ["x", None]}], id="two documents"),
        pytest.param(
            b"a: yes\nb: 'yes'\nc: No\nd: !!str 5", [{"a": True, "b": "yes", "c": False, "d": "5"}], id="text"
        ),
        pytest.param(
            b"a: 0x1f\nb: 017\nc: 0o17\nd: -1_0\ne: 1.5",
            [{"a": 31, "b": 15, "c": 15, "d": -10, "e": 1.5}],
            id="numbers",
        ),
        pytest.param(b"a: 2026-01-01T00:00:00Z", [{"a": "2026-01-01T00:00:00Z"}], id="timestamp"),
        pytest.param(b"1: a\ntrue: b", [{"1": "a", "true": "b"}], id="keys are text"),
        pytest.param(
            b"a: &x {k: v}\nb: *x\nc: {<<: *x, l: w}",
            [{"a": {"k": "v"}, "b": {"k": "v"}, "c": {"l": "w", "k": "v"}}],
            id="aliases",
        ),
        pytest.param(b"'<<': {a: b}", [{"<<": {"a": "b"}}], id="quoted merge key"),
        pytest.param(b"a: 1" + b"0" * 5000, [{"a": float("inf")}], id="huge number"),
        pytest.param(
            b"items:\n- kind: A\n- b\nkind: List",
            [{"kind": "A"}, {"items": ["b"], "kind": "List"}],
            id="items come first",
        ),
    ],
)
def test_values(text: bytes, expected: list[Any]) -> None:
    assert values(text) == expected


BOMB = b"a0: &a0 [x,x]\n" + b"".join(
    b"a%d: &a%d [%s]\n" % (i, i, b",".join([b"*a%d" % (i - 1)] * 9)) for i in range(1, 30)
)


@pytest.mark.parametrize(
    ("text", "line", "column", "error"),
    [
        pytest.param(b"a: 1\nb: [1", 3, 1, "while parsing a flow sequence", id="open list"),
        pytest.param(b"a: \xff", 1, 4, "invalid leading UTF-8 octet", id="no UTF-8"),
        pytest.param(b"a: &a [*a]", 1, 8, "alias *a stands for nothing read before it", id="alias of itself"),
        pytest.param(BOMB, 7, 26, "aliases expand to more than 1000000 values", id="billion laughs"),
        pytest.param(b"[" * 500, 1, 101, "nested more than 100 deep", id="deep"),
        pytest.param(b"a: {{ .Values.x }}", 1, 5, "a key must be text, not a mapping or a list", id="template"),
    ],
)
def test_errors_know_their_place(text: bytes, line: int, column: int, error: str) -> None:
    with pytest.raises(YamlError) as raised:
        values(text)
    assert (raised.value.line, raised.value.column) == (line, column)
    assert str(raised.value).startswith(error)


@given(st.binary(max_size=60) | st.text(alphabet="ab:-[]{}&*!|>?'\"#\n <,1.~", max_size=60).map(str.encode))
def test_any_octets_give_values_or_a_yaml_error(text: bytes) -> None:
    try:
        values(text)
    except YamlError as error:
        assert error.line >= 0  # noqa: PT017 - either outcome will do


PLAIN = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.text(st.characters(codec="ascii", categories=["L", "N", "P"]))
)


@given(
    st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc"), inner, max_size=4))
)
def test_what_pyyaml_writes_is_read_back(value: Any) -> None:
    assert values(yaml.safe_dump(value).encode()) == [value]


def test_far_too_deep_is_an_error_whoever_finds_it() -> None:
    """From 1,000 on libyaml says so itself, where it is new enough."""
    with pytest.raises(YamlError, match="nest"):
        values(b"[" * 100_000)
