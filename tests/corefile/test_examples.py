"""Corefiles that CoreDNS 1.14.7 accepts and refuses, and what it makes of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from kubedns.corefile.errors import CorefileError
from kubedns.corefile.keys import expand_keys
from kubedns.corefile.overlap import Claim, check_overlaps
from kubedns.corefile.readers import once, one_argument, wrong_arguments
from tests.corefile.reading import lines, read, shape, texts

if TYPE_CHECKING:
    from pathlib import Path

ACCEPTED: dict[str, tuple[str, list[tuple[list[str], dict[str, Any]]]]] = {
    "1-key-alone": ("example.org", [(["example.org"], {})]),
    "2-no-braces": ("example.org\nwhoami\nlog", [(["example.org"], {"whoami": [("whoami", 2)], "log": [("log", 3)]})]),
    "3-block": ("example.org {\nwhoami\n}", [(["example.org"], {"whoami": [("whoami", 2)]})]),
    "4-brace-below": ("example.org\n{\nwhoami\n}", [(["example.org"], {"whoami": [("whoami", 3)]})]),
    "5-first-directive-beside-brace": (
        "example.org { whoami\nlog\n}",
        [(["example.org"], {"whoami": [("whoami", 1)], "log": [("log", 2)]})],
    ),
    "6-three-keys": (
        "a.org b.org:1053 c.org {\nwhoami\n}",
        [(["a.org", "b.org:1053", "c.org"], {"whoami": [("whoami", 2)]})],
    ),
    "7-comma": ("a.org,\nb.org {\nlog\n}", [(["a.org", "b.org"], {"log": [("log", 3)]})]),
    "8-comma-inside": ("a.org,b.org {\nlog\n}", [(["a.org,b.org"], {"log": [("log", 2)]})]),
    "9-brace-glued-to-key": ("example.org{\nwhoami\n}", [(["example.org{"], {"whoami": [("whoami", 2)]})]),
    "10-anonymous": ("{\nwhoami\n}", []),
    "11-empty-key": ('"" {\nwhoami\n}', []),
    "12-comment": ("# only a comment", []),
    "13-stray-brace": ("a.org {\nlog\n}\n}", [(["a.org"], {"log": [("log", 2)]}), (["}"], {})]),
    "14-no-plugins": ("a.org {\n}\nb.org {\n}", [(["a.org"], {}), (["b.org"], {})]),
    "15-block-behind-brace": (
        "a.org {\nlog\n} b.org {\nerrors\n}",
        [(["a.org"], {"log": [("log", 2)]}), (["b.org"], {"errors": [("errors", 4)]})],
    ),
    "16-repeated": (
        "a.org {\nlog a\nerrors\nlog b\n}",
        [(["a.org"], {"errors": [("errors", 3)], "log": [("log", 2), ("a", 2), ("log", 4), ("b", 4)]})],
    ),
    "17-comment-in-word": ("a.org {\nlog a#b c\n}", [(["a.org"], {"log": [("log", 2), ("a", 2)]})]),
    "18-hash-in-quotes": (
        'a.org {\nlog "a # b" c#d\n}',
        [(["a.org"], {"log": [("log", 2), ("a # b", 2), ("c", 2)]})],
    ),
    "19-quotes": (
        'a.org {\nlog "a b" "c \\"d\\" \\e" ""\n}',
        [(["a.org"], {"log": [("log", 2), ("a b", 2), ('c "d" \\e', 2), ("", 2)]})],
    ),
    "20-quote-in-word": (
        'a.org {\nlog a"b c"d\n}',
        [(["a.org"], {"log": [("log", 2), ('a"b', 2), ('c"d', 2)]})],
    ),
    "21-word-behind-quote": ('a.org {\nlog "a"b\n}', [(["a.org"], {"log": [("log", 2), ("a", 2), ("b", 2)]})]),
    "22-two-lines-in-quotes": (
        'a.org {\nlog "x\ny" z\nerrors\n}',
        [(["a.org"], {"log": [("log", 2), ("x\ny", 2), ("z", 3)], "errors": [("errors", 4)]})],
    ),
    "23-backslash": (
        "a.org {\nlog a \\\nerrors\n}",
        [(["a.org"], {"log": [("log", 2), ("a", 2), ("\\", 2)], "errors": [("errors", 3)]})],
    ),
    "24-single-quotes": ("a.org {\nlog 'a b'\n}", [(["a.org"], {"log": [("log", 2), ("'a", 2), ("b'", 2)]})]),
    "25-byte-order-mark": ("\ufeffa.org {\nlog\n}", [(["a.org"], {"log": [("log", 2)]})]),
    "26-carriage-returns": ("a.org {\r\nlog a\rb\r\n}", [(["a.org"], {"log": [("log", 2), ("ab", 2)]})]),
    "27-quoted-braces": ('a.org "{"\nlog\n"}"', [(["a.org"], {"log": [("log", 2)]})]),
    "28-word-behind-closing-brace": (
        "a.org {\ncache {\n} log\nerrors\n}",
        [(["a.org"], {"cache": [("cache", 2), ("{", 2), ("}", 3), ("log", 3)], "errors": [("errors", 4)]})],
    ),
    "29-nested": (
        "a.org {\nrewrite {\na {\nb\n}\n}\n}",
        [
            (
                ["a.org"],
                {"rewrite": [("rewrite", 2), ("{", 2), ("a", 3), ("{", 3), ("b", 4), ("}", 5), ("}", 6)]},
            )
        ],
    ),
    "30-snippet": (
        "(c) {\nlog\nerrors\n}\na.org {\nimport c\nwhoami\n}",
        [(["a.org"], {"log": [("log", 2)], "errors": [("errors", 3)], "whoami": [("whoami", 7)]})],
    ),
    "31-unused-snippet": ("(c) {\nnonsense\n}\na.org {\nlog\n}", [(["a.org"], {"log": [("log", 5)]})]),
    "32-empty-snippet": ("(c) {\n}\na.org {\nimport c\nlog\n}", [(["a.org"], {"log": [("log", 5)]})]),
    "33-snippet-twice": (
        "(c) {\nlog\n}\na.org {\nimport c\nimport c\n}",
        [(["a.org"], {"log": [("log", 2), ("log", 2)]})],
    ),
    "34-block-in-snippet": (
        "(b) {\nz.org {\nwhoami\n}\n}\nimport b",
        [(["z.org"], {"whoami": [("whoami", 3)]})],
    ),
    "35-properties-in-snippet": (
        "(o) {\npods verified\n}\na.org {\nkubernetes cluster.local {\nimport o\n}\n}",
        [
            (
                ["a.org"],
                {
                    "kubernetes": [
                        ("kubernetes", 5),
                        ("cluster.local", 5),
                        ("{", 5),
                        ("pods", 2),
                        ("verified", 2),
                        ("}", 7),
                    ]
                },
            )
        ],
    ),
    "36-import-as-argument": (
        "a.org {\nlog import c\n}",
        [(["a.org"], {"log": [("log", 2), ("import", 2), ("c", 2)]})],
    ),
    "49-one-zone-at-two-addresses": (
        "a.org:1053 {\nbind 127.0.0.1\n}\na.org:1053 {\nbind 127.0.0.2\n}",
        [
            (["a.org:1053"], {"bind": [("bind", 2), ("127.0.0.1", 2)]}),
            (["a.org:1053"], {"bind": [("bind", 5), ("127.0.0.2", 5)]}),
        ],
    ),
    "50-view": (
        ".:53 {\nview v\n}\n.:53 {\nwhoami\n}",
        [([".:53"], {"view": [("view", 2), ("v", 2)]}), ([".:53"], {"whoami": [("whoami", 5)]})],
    ),
}

KEYS = {
    "1": ("example.org", ["dns://example.org.:53"]),
    "6": ("a.org b.org:1053 c.org {\n}", ["dns://a.org.:53", "dns://b.org.:1053", "dns://c.org.:53"]),
    "8": ("a.org,b.org {\n}", ["dns://a.org,b.org.:53"]),
    "9": ("example.org{\n}", ["dns://example.org{.:53"]),
    "13": ("}", ["dns://}.:53"]),
    "43": ("Example.ORG:01053 {\n}", ["dns://example.org.:1053"]),
    "44": ("tls://example.org {\n}", ["tls://example.org.:853"]),
    "45": ("grpc://example.org https://. quic://. {\n}", ["grpc://example.org.:443", "https://.:443", "quic://.:853"]),
    "46": ("http://example.org {\n}", ["dns://http://example.org.:53"]),
    "47": ("example.org:abc {\n}", ["dns://example.org:abc.:53"]),
    "48": ("10.0.0.0/23:1053 {\n}", ["dns://0.0.10.in-addr.arpa.:1053", "dns://1.0.10.in-addr.arpa.:1053"]),
}

UNMATCHED = "Error during parsing: Unexpected '}' because no matching opening brace"

REFUSED = {
    "51-one-line-block": ("example.org { whoami }", f"Corefile:1 - {UNMATCHED}"),
    "52-brace-behind-directive": ("a.org {\nwhoami }\n}", f"Corefile:2 - {UNMATCHED}"),
    "53-second-block": (
        "example.org\nwhoami\nexample.net {\nlog\n}",
        "Corefile:3 - Error during parsing: Unknown directive 'example.net'",
    ),
    "54-comma-before-brace": (
        "a.org, {\nwhoami\n}",
        "Corefile:1 - Error during parsing: Expected another address but had '{' - check for extra comma",
    ),
    "55-comma-at-end": ("a.org,", "Corefile:1 - Error during parsing: Unexpected EOF"),
    "56-not-closed": ("a.org {\nwhoami", "Corefile:2 - Syntax error: Unexpected token 'whoami', expecting '}'"),
    "57-directive-not-closed": (
        "a.org {\nkubernetes z {\npods verified",
        "Corefile:3 - Error during parsing: Unexpected EOF",
    ),
    "58-unknown": ("a.org {\nfoobar x\n}", "Corefile:2 - Error during parsing: Unknown directive 'foobar'"),
    "58-capital": ("a.org {\nWhoami\n}", "Corefile:2 - Error during parsing: Unknown directive 'Whoami'"),
    "59-glued-brace": ("a.org {\ncache{\n}\n}", "Corefile:2 - Error during parsing: Unknown directive 'cache{'"),
    "60-brace-first": ("}\na.org {\nlog\n}", "Corefile:2 - Error during parsing: Unknown directive 'a.org'"),
    "61-brace-only": ("{", "Corefile:1 - Syntax error: Unexpected token '{', expecting '}'"),
    "62-open-quote": (
        'a.org {\nlog "x y\n}',
        "Corefile:2 - Syntax error: Unexpected token 'x y\n}', expecting '}'",
    ),
    "63-snippet-without-braces": ("(c)\nlog", "Corefile:2 - Syntax error: Unexpected token 'log', expecting '{'"),
    "64-snippet-twice": (
        "(c) {\nlog\n}\n(c) {\nlog\n}",
        "Corefile:4 - Error during parsing: redeclaration of previously declared snippet c",
    ),
    "65-import-before-definition": (
        "a.org {\nimport c\n}\n(c) {\nlog\n}",
        "Corefile:2 - Error during parsing: File to import not found: c",
    ),
    "66-self-import": (
        "(c) {\nimport c\n}",
        "Corefile:3 - Error during parsing: maximum snippet import depth (10000) exceeded",
    ),
    "67-one-line-import": (
        "a.org { import one.conf }",
        "Corefile:1 - Error during parsing: Import takes only one argument (glob pattern or file)",
    ),
}

INSPECTED = {
    "68-no-zone": (":1053 {\nwhoami\n}", "error inspecting server blocks: zone is not a valid domain name: "),
    "69-empty-label": ("a..b {\n}", "error inspecting server blocks: zone is not a valid domain name: a..b"),
}


@pytest.mark.parametrize(("text", "blocks"), ACCEPTED.values(), ids=ACCEPTED)
def test_accepted(text: str, blocks: list[tuple[list[str], dict[str, Any]]]) -> None:
    corefile = read(text)
    assert (texts(corefile.errors), shape(corefile)) == ([], blocks)


@pytest.mark.parametrize(("text", "zones"), KEYS.values(), ids=KEYS)
def test_keys(text: str, zones: list[str]) -> None:
    (block,) = read(text).blocks
    assert [str(key) for word in block.keys for key in expand_keys(word, 53)] == zones


@pytest.mark.parametrize(("text", "error"), REFUSED.values(), ids=REFUSED)
def test_refused(text: str, error: str, tmp_path: Path) -> None:
    (tmp_path / "one.conf").write_text("log")
    assert texts(read(text, path=tmp_path / "Corefile").errors) == [error]


@pytest.mark.parametrize(("text", "error"), INSPECTED.values(), ids=INSPECTED)
def test_refused_at_the_key(text: str, error: str) -> None:
    (block,) = read(text).blocks
    with pytest.raises(CorefileError) as raised:
        expand_keys(block.keys[0], 53)
    assert str(raised.value) == error


def test_37_glob_in_order_of_file_names(tmp_path: Path) -> None:
    for name in "ba":
        (tmp_path / f"srv_{name}.conf").write_text(f"{name}.org {{\nlog\n}}\n")
    corefile = read("import srv_*.conf", path=tmp_path / "Corefile")
    assert shape(corefile) == [(["a.org"], {"log": [("log", 2)]}), (["b.org"], {"log": [("log", 2)]})]


def test_38_glob_without_match(tmp_path: Path) -> None:
    warnings: list[str] = []
    corefile = read("a.org {\nimport nope*.conf\nlog\n}", path=tmp_path / "Corefile", warnings=warnings)
    assert (texts(corefile.errors), shape(corefile)) == ([], [(["a.org"], {"log": [("log", 3)]})])
    assert warnings == ["No files matching import glob pattern: nope*.conf"]


def test_39_environment() -> None:
    environment = {"ZONE": "z.org", "PORT": "1053", "FOO": "foo"}
    (block,) = read("{$ZONE}:{%PORT%} {\nlog {$FOO}bar {$UNSET} {$FOO\n}", environment).blocks
    assert [str(key) for key in expand_keys(block.keys[0], 53)] == ["dns://z.org.:1053"]
    assert block.directives["log"].texts == ("foobar", "", "{$FOO")


def test_40_environment_names_a_directive() -> None:
    assert shape(read("a.org {\n{$PLUG} x\n}", {"PLUG": "log"})) == [(["a.org"], {"log": [("{$PLUG}", 2), ("x", 2)]})]


def test_41_environment_is_not_split() -> None:
    (block,) = read("a.org {\nlog {$W}\n}", {"W": "a b"}).blocks
    assert block.directives["log"].texts == ("a b",)


def test_42_no_key_left() -> None:
    assert (shape(read("{$UNSET} {\nwhoami\n}")), read("{$UNSET} {\nwhoami\n}").errors) == ([], ())


def test_70_same_zone_twice() -> None:
    blocks = read("a.org {\n}\nA.ORG.:53 {\n}").blocks
    claims = [Claim(key) for block in blocks for word in block.keys for key in expand_keys(word, 53)]
    assert texts(tuple(check_overlaps(claims))) == ["cannot serve dns://a.org.:53 - it is already defined"]


def test_71_brace_on_the_next_line() -> None:
    (block,) = read(".:53 {\nkubernetes cluster.local\n{\nttl 50\n}\n}").blocks
    with pytest.raises(CorefileError) as raised:
        once(block.directives["kubernetes"])
    error = raised.value.prefixed("plugin/kubernetes: ")
    assert error.report() == lines(
        "plugin/kubernetes: this plugin can only be used once per Server Block",
        "  --> Corefile:3:1",
        "    {",
        "    ^",
        "  put the '{' on the line of 'kubernetes'",
    )


def test_72_block_on_one_line() -> None:
    (block,) = read(".:53 {\nkubernetes cluster.local { pods verified }\n}").blocks
    (use,) = block.directives["kubernetes"].uses
    (pods,) = use.properties
    with pytest.raises(CorefileError) as raised:
        one_argument(pods)
    assert str(raised.value.prefixed("plugin/kubernetes: ")) == (
        "plugin/kubernetes: Corefile:2 - Error during parsing: Wrong argument count or unexpected line ending after '}'"
    )


def test_73_what_each_plugin_is_given() -> None:
    first, second = read("a.org {\nwhoami x\n}\nb.org {\nerrors a\n}").blocks
    (use,) = first.directives["whoami"].uses
    assert str(wrong_arguments(use)).startswith("Corefile:2 - ")
    (use,) = second.directives["errors"].uses
    assert str(use.arguments[0].error("invalid log file: a")) == (
        "Corefile:5 - Error during parsing: invalid log file: a"
    )
