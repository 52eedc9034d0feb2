"""Error reports: CoreDNS's text, the place, the line, the caret, the cure; and several mistakes in one file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kubedns.corefile.errors import CorefileError, CorefileErrors, Kind, Step
from kubedns.corefile.keys import expand_keys
from kubedns.corefile.text import read_text
from tests.corefile.reading import lines, read, texts

if TYPE_CHECKING:
    from pathlib import Path

    from kubedns.corefile.values import Corefile

P = "Error during parsing: "

REPORTS = {
    "tabs": (
        "a.org {\n\t\tlog\n\t\tfoobar\tx\n}",
        [f"Corefile:3 - {P}Unknown directive 'foobar'", "  --> Corefile:3:3", "    \t\tfoobar\tx", "    \t\t^^^^^^"],
    ),
    "quoted-word": (
        'a.org {\n  "foo bar" x\n}',
        [f"Corefile:2 - {P}Unknown directive 'foo bar'", "  --> Corefile:2:3", '      "foo bar" x', "      ^^^^^^^^^"],
    ),
    "over-two-lines": (
        'a.org {\nlog "x y\n}',
        [
            "Corefile:2 - Syntax error: Unexpected token 'x y",
            "}', expecting '}'",
            "  --> Corefile:2:5",
            '    log "x y',
            "        ^^^^",
            "  the quote opened at Corefile:2:5 is never closed",
        ],
    ),
    "wide-characters": (
        "a.org {\n漢字 x\n}",
        [f"Corefile:2 - {P}Unknown directive '漢字'", "  --> Corefile:2:1", "    漢字 x", "    ^^^^"],
    ),
    "carriage-return": (
        "a.org {\r\n  qqq\r\n}",
        [f"Corefile:2 - {P}Unknown directive 'qqq'", "  --> Corefile:2:3", "      qqq", "      ^^^"],
    ),
    "nothing-for-the-terminal": (
        "a.org {\nqqq \x1b[2J\n}",
        [f"Corefile:2 - {P}Unknown directive 'qqq'", "  --> Corefile:2:1", "    qqq \ufffd[2J", "    ^^^"],
    ),
    "long-line": (
        f"a.org {{\nlog {'x' * 500} }} {'y' * 500}\n}}",
        [
            f"Corefile:2 - {P}Unexpected '}}' because no matching opening brace",
            "  --> Corefile:2:506",
            f"    {'x' * 59} }} {'y' * 98}",
            f"    {' ' * 60}^",
            "  put the '}' on a line of its own",
        ],
    ),
    "nearest-name": (
        "a.org {\n    kubernets cluster.local {\n        ttl 5\n    }\n}",
        [
            f"Corefile:2 - {P}Unknown directive 'kubernets'",
            "  --> Corefile:2:5",
            "        kubernets cluster.local {",
            "        ^^^^^^^^^",
            "  did you mean 'kubernetes'?",
        ],
    ),
}

CURES = {
    "capital": ("a.org {\nWhoami\n}", "did you mean 'whoami'?"),
    "glued-brace": ("a.org {\ncache{\n}\n}", "put a blank before '{'"),
    "brace-as-directive": ("a.org\n{\n{\n}\n}", "'{' belongs on the line of a directive"),
    "blocks-without-braces": (
        "a.org\nwhoami\nb.org {\nlog\n}",
        "of several server blocks each needs braces: put '{' behind 'a.org'",
    ),
    "block-not-closed": (
        "a.org {\n  whoami\nb.org {\n  log\n}",
        "the '{' of Corefile:1 (a.org {) has no '}'",
    ),
    "directive-not-closed": (
        "a.org {\n  kubernetes z {\n    ttl 5\n\n}\nb.org {\n  log\n}",
        "the '{' of Corefile:2 (kubernetes z {) has no '}'; the '}' of line 5 is indented as if for an outer one",
    ),
    "line-of-a-block-not-opened": (
        "a.org {\n  cache\n    denial 5\n    success 5\n  }\n}",
        "if it is for 'cache' on line 2, end that line with '{'",
    ),
    "misspelt-behind-a-snippet": (
        "(c) {\n  cache\n}\na.org {\n    import c\n    logg\n}",
        "did you mean 'log'?",
    ),
    "brace-glued-behind": ("a.org {\nwhoami}\n", "put the '}' on a line of its own"),
    "one-line-block": ("a.org { whoami }", "put the '}' on a line of its own"),
    "one-line-import": ("(c) {\n}\na.org { import c }", "put the '}' on a line of its own"),
    "two-imports": ("(c) {\n}\na.org {\nimport c c\n}", "write an import for each"),
    "nothing-to-import": ("a.org {\nimport\n}", "name a snippet or a file"),
    "snippet-below": (
        "a.org {\nimport c\n}\n(c) {\n}",
        "the snippet (c) is defined further down, on line 4: move it up",
    ),
    "snippet-misspelt": ("(common) {\n}\na.org {\nimport comon\n}", "did you mean 'common'?"),
    "comma": ("a.org, {\n}", "leave out the last comma"),
    "comma-at-end": ("a.org,", "leave out the last comma"),
    "snippet-braces": ("(c)\nlog", "a snippet needs braces: (c) {"),
    "snippet-twice": ("(c) {\n}\n(c) {\n}", "give it another name"),
    "self-import": ("(c) {\nimport c\n}", "the snippet (c) imports itself"),
}

# Mistakes of different kinds, and what goes on behind each: one error for each mistake, none for what it leads to.
SEVERAL = {
    "two-unknown": ("a.org {\nfoo {\nbar\n}\nlog\nbaz\n}\nb.org {\nqux\n}", [(2, "foo"), (6, "baz"), (9, "qux")]),
    "unknown-with-brace-glued": ("a.org {\ncache{\nx y\n}\nlog\n}\nb.org {\nlog\n}", [(2, "cache{")]),
    "brace-behind-directive": ("a.org {\nwhoami }\nlog\n}\nb.org {\nfoo\n}", [(2, "'}'"), (6, "foo")]),
    "brace-behind-last-directive": ("a.org {\nwhoami }\nb.org {\nfoo\n}", [(2, "'}'"), (4, "foo")]),
    "brace-missing-between-blocks": ("a.org {\nwhoami\nb.org {\nfoo\n}\nc.org {\n}", [(3, "b.org"), (4, "foo")]),
    "brace-missing-in-directive": ("a.org {\ncache {\nwhoami\n}\nb.org {\nfoo\n}\n", [(5, "b.org"), (6, "foo")]),
    "no-braces": ("a.org\nwhoami\nb.org {\nlog\n}\nc.org {\nfoo\n}", [(3, "b.org"), (7, "foo")]),
    "one-line-blocks": ("a.org { whoami }\nb.org { log }", [(1, "'}'"), (2, "'}'")]),
    "nested-blocks": ("a.org {\nb.org {\nlog\n}\n}\nc.org {\nlog\n}", [(2, "b.org")]),
    "unclosed-at-the-end": ("a.org {\nfoo\n}\nb.org {\nlog", [(2, "foo"), (5, "'log', expecting '}'")]),
    "directive-unclosed-at-the-end": ("a.org {\nforward . 9.9.9.9 {\nfoo", [(3, "Unexpected EOF")]),
    "two-opening-braces": ("a.org { {\nlog\n}\nb.org {\nfoo\n}", [(1, "'{'"), (5, "foo")]),
    "brace-glued-behind": ("a.org {\nwhoami}\nb.org {\nfoo\n}", [(2, "whoami}"), (4, "foo")]),
    "block-not-opened": (
        "a.org {\n  cache\n    denial 5\n    success 5\n  }\n  log\n  foo\n}\nb.org {\n  bar\n}",
        [(3, "denial"), (7, "foo"), (10, "bar")],
    ),
    "snippet-not-closed": ("(c) {\nlog\na.org {\nimport c\n}", [(5, "expecting '}'")]),
    "imports": (
        "a.org {\nimport\nimport nope\nimport a b\nlog\n}\nb.org {\nfoo\n}",
        [(2, "'import'"), (3, "nope"), (4, "Import takes only one"), (4, "not found: a"), (8, "foo")],
    ),
    "comma": ("a.org, {\nlog\n}\nb.org {\nfoo\n}", [(1, "extra comma"), (5, "foo")]),
    "snippet": ("(c)\nlog\n}\n(d) {\nfoo\n}\na.org {\nimport c\nimport d\nimport d\n}", [(2, "'{'"), (5, "foo")]),
    "snippet-twice": ("(c) {\nlog\n}\n(c) {\nfoo\n}\na.org {\nimport c\nbar\n}", [(4, "redeclaration"), (9, "bar")]),
}


def reports(corefile: Corefile) -> list[str]:
    return "\n\n".join(error.report() for error in corefile.errors).split("\n")


@pytest.mark.parametrize(("text", "expected"), REPORTS.values(), ids=REPORTS)
def test_report(text: str, expected: list[str]) -> None:
    assert reports(read(text)) == expected


@pytest.mark.parametrize(("text", "cure"), CURES.values(), ids=CURES)
def test_cure(text: str, cure: str) -> None:
    assert read(text).errors[0].cure == cure


@pytest.mark.parametrize(("text", "expected"), SEVERAL.values(), ids=SEVERAL)
def test_each_mistake_is_one_error(text: str, expected: list[tuple[int, str]]) -> None:
    errors = read(text).errors
    assert [error.word and error.word.line for error in errors] == [line for line, _ in expected], texts(errors)
    for error, (_, part) in zip(errors, expected, strict=True):
        assert part in str(error)


def test_blocks_behind_a_mistake_are_whole() -> None:
    blocks = read("a.org {\nwhoami }\nb.org {\nlog\nerrors\n}").blocks
    assert [([key.text for key in block.keys], sorted(block.directives)) for block in blocks] == [
        (["a.org"], ["whoami"]),
        (["b.org"], ["errors", "log"]),
    ]


def test_imported_file_is_named_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "more.conf"
    path.write_text("\tlog\n\tfoobar\n")
    (error,) = read("a.org {\nimport more.conf\n}", path=tmp_path / "Corefile").errors
    assert error.report() == lines(
        f"{path}:2 - {P}Unknown directive 'foobar'", f"  --> {path}:2:2", "    \tfoobar", "    \t^^^^^^"
    )


def test_unused_braces_of_an_imported_file(tmp_path: Path) -> None:
    (tmp_path / "more.conf").write_text("  cache {\n    denial 5\n")
    (error,) = read("a.org {\nimport more.conf\n", path=tmp_path / "Corefile").errors
    assert str(error) == f"{tmp_path}/more.conf:2 - {P}Unexpected EOF"
    assert error.cure == f"the '{{' of {tmp_path}/more.conf:1 (cache {{) has no '}}'"


def test_key_without_a_position_in_the_text_has_one_in_the_report() -> None:
    (block,) = read("ok.org\n, a..b {\n}".replace("\n, ", ",\n")).blocks
    with pytest.raises(CorefileError) as raised:
        expand_keys(block.keys[1], 53)
    assert raised.value.report() == lines(
        "error inspecting server blocks: zone is not a valid domain name: a..b",
        "  --> Corefile:2:1",
        "    a..b {",
        "    ^^^^",
    )


def test_unsupported_directive() -> None:
    text = "a.org {\n  dnssec\n  foo\n}"
    corefile = read(text, unsupported={"dnssec"})
    assert texts(corefile.errors) == [
        f"Corefile:3 - {P}Unknown directive 'foo'",
        "no action found for directive 'dnssec' with server type 'dns' (missing a plugin?)",
    ]
    assert corefile.errors[1].report().split("\n")[1:] == [
        "  --> Corefile:2:3",
        "      dnssec",
        "      ^^^^^^",
        "  dnssec is not supported yet by kubedns: leave it out",
    ]


def test_prefixed() -> None:
    word = read_text("a b", "Corefile").words[1]
    error = word.error("wrong", "mend it")
    assert str(error.prefixed("plugin/log: ")) == f"plugin/log: Corefile:1 - {P}wrong"
    assert str(word.error("wrong", kind=Kind.SYNTAX)) == "Corefile:1 - Syntax error: wrong"
    assert str(word.error("wrong", kind=Kind.BARE).prefixed("plugin/log: ")) == "plugin/log: wrong"
    assert str(error) == f"Corefile:1 - {P}wrong"
    assert str(CorefileError("wrong")) == CorefileError("wrong").report() == "wrong"


def test_several_in_the_order_of_coredns() -> None:
    first, second, third = read_text("a\nb\nc", "Corefile").words
    setup, server = first.error("x"), CorefileError("y", second, step=Step.SERVERS)
    key = CorefileError("z", third, step=Step.KEYS)
    errors = CorefileErrors([CorefileErrors([setup, server]).prefixed("plugin/p: "), key])
    assert texts(errors.errors) == ["z", f"plugin/p: Corefile:1 - {P}x", "plugin/p: y"]
    assert str(errors) == "\n\n".join(error.report() for error in errors.errors)
    assert (errors.text, errors.word) == ("z", third)


def test_errors_of_nothing() -> None:
    with pytest.raises(ValueError, match="without an error"):
        CorefileErrors([])


def test_no_more_errors_than_anyone_reads() -> None:
    assert len(read("a.org {\n" + "".join(f"x{number}\n" for number in range(1000)) + "}").errors) == 50


WHOLE = """\
(common) {
    errors
    log . {
        class error
    }
}
.:53 {
    import common
    health {
        lameduck 5s
    }
    kubernetes cluster.local in-addr.arpa {
        pods insecure
        ttl 30
    }
    forward . 9.9.9.9 {
        max_concurrent 1000
    }
    cache 30
}
example.org:1053 {
    import common
    hosts {
        10.0.0.1 a.example.org
        fallthrough
    }
    whoami
}
b.org {
    log
}
"""
BRACES = [index for index, character in enumerate(WHOLE) if character in "{}"]


@pytest.mark.parametrize("index", BRACES, ids=[f"line-{WHOLE.count(chr(10), 0, index) + 1}" for index in BRACES])
@pytest.mark.parametrize("instead", ["", "{ {", "} }"], ids=["missing", "{", "}"])
def test_one_brace_wrong_is_one_error(index: int, instead: str) -> None:
    if instead and instead[0] != WHOLE[index]:
        instead = WHOLE[index] + " " + instead[0]
    errors = read(WHOLE[:index] + instead + WHOLE[index + 1 :]).errors
    # The brace of the snippet's `log . {` is missed at a place that is no sign of it: that makes a second error.
    assert len(errors) <= (2 if index == WHOLE.index("{", 10) else 1), texts(errors)
