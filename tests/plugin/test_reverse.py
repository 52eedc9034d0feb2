"""Reverse names and their addresses."""

from __future__ import annotations

import pytest

from kubedns.plugin.reverse import is_reverse, reverse_address
from kubedns.wire.name import labels, name


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("4.3.2.1.in-addr.arpa", bytes((1, 2, 3, 4))),
        ("04.3.2.1.in-addr.arpa", None),
        ("256.3.2.1.in-addr.arpa", None),
        ("3.2.1.in-addr.arpa", None),
        ("5.4.3.2.1.in-addr.arpa", None),
        ("-4.3.2.1.in-addr.arpa", None),
        ("4\\.5.3.2.1.in-addr.arpa", None),
        ("in-addr.arpa", None),
        ("arpa", None),
        (".", None),
        ("4.3.2.1.in-addr.example", None),
        ("1." + "0." * 31 + "ip6.arpa", bytes(15) + b"\1"),
        ("a.b.c.1." + "0." * 31 + "ip6.arpa", bytes(15) + b"\1"),
        ("a.b.c.d.1." + "0." * 31 + "ip6.arpa", None),
        ("1." + "0." * 30 + "ip6.arpa", None),
        ("g." + "0." * 31 + "ip6.arpa", None),
        ("10." + "0." * 31 + "ip6.arpa", None),
        ("4.0.3.0.2.0.1.0.f.f.f.f." + "0." * 20 + "ip6.arpa", bytes((1, 2, 3, 4))),
    ],
)
def test_reverse_address(text: str, expected: bytes | None) -> None:
    assert reverse_address(labels(name(text))) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("in-addr.arpa", False),
        ("10.in-addr.arpa", True),
        ("web.default.svc.ip6.arpa", True),
        ("ip6.arpa", False),
        ("example.arpa", False),
        ("in-addr.arpa.example", False),
        (".", False),
    ],
)
def test_is_reverse(text: str, *, expected: bool) -> None:
    assert is_reverse(labels(name(text))) == expected
