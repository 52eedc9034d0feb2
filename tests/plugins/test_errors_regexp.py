"""errors: the regular expressions of consolidate are RE2's, and take time in proportion to the text."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plugins.errors.characters import RegexpError
from plugins.errors.regexp import Regexp

TIMEOUT = "read udp 10.0.0.5:40312->10.0.0.1:53: i/o timeout"

MATCHES = [
    (".*timeout$", TIMEOUT, True),
    ("^read udp .* i/o timeout$", TIMEOUT, True),
    ("^udp", TIMEOUT, False),
    ("", "", True),
    ("x", "", False),
    ("a|b|", "c", True),
    ("^(a|bc)+$", "abcbca", True),
    ("^(a|bc)+$", "abcb", False),
    ("^a{2,3}$", "aaa", True),
    ("^a{2,3}$", "aaaa", False),
    ("^a{2,}$", "aaaaa", True),
    ("^a{2,}$", "a", False),
    ("^a{0}b$", "b", True),
    ("a{,2}", "a{,2}", True),
    ("a{,2}", "aa", False),
    ("^a+?b??c*?$", "aac", True),
    (r"\d+\.\d+", "10.0", True),
    (r"^\D+$", "abc1", False),
    (r"\bup\b", "is up now", True),
    (r"\bup\b", "upper", False),
    (r"\Bpp", "upper", True),
    (r"\Aa\z", "a", True),
    ("a$", "a\n", False),
    ("(?m)^b$", "a\nb\nc", True),
    ("a.b", "a\nb", False),
    ("(?s)a.b", "a\nb", True),
    ("(?i)TIMEOUT", TIMEOUT, True),
    ("(?i:NO) healthy", "no healthy", True),
    ("(?i:NO) healthy", "no HEALTHY", False),
    ("(?i)[A-C]", "b", True),
    ("(?i)[^a]", "A", False),
    ("(?i)a(?-i)b", "Ab", True),
    ("(?i)a(?-i)b", "AB", False),
    ("(a(?i)b)c", "aBc", True),
    ("(a(?i)b)c", "aBC", False),
    ("(?U)a+", "aa", True),
    ("(?P<what>a)(?<that>b)", "ab", True),
    ("[]a]", "]", True),
    ("[^]a]", "]", False),
    ("[a-]", "-", True),
    (r"[\d.]+x", "1.2x", True),
    (r"[\]\-]", "-", True),
    ("[[:digit:]x]", "7", True),
    ("[[:^digit:]]", "7", False),
    ("[^[:alpha:]]", "a", False),
    (r"\pL", "ß", True),
    (r"\p{Lu}", "a", False),
    (r"\P{Lu}", "a", True),
    (r"\p{^Lu}", "A", False),
    (r"\x41\x{42}\103\t", "ABC\t", True),
    (r"\Qa.b*\E+", "a.b**", True),
    (r"\Qa.b", "axb", False),
    (r"\.\-\_\/", ".-_/", True),
    ("no next.*", "plugin/forward: no next plugin found", True),
]


@pytest.mark.parametrize(("pattern", "text", "found"), MATCHES, ids=[f"{row[0]}~{row[1]}"[:40] for row in MATCHES])
def test_matches(pattern: str, text: str, found: bool) -> None:
    assert Regexp(pattern).search(text) is found


REFUSED = [
    (r"(a)\1", r"invalid escape sequence: `\1`"),
    ("(?=a)", "invalid or unsupported Perl syntax: `(?=`"),
    ("(?!a)", "invalid or unsupported Perl syntax: `(?!`"),
    ("(?<=a)", "invalid or unsupported Perl syntax: `(?<`"),
    ("(?>a)", "invalid or unsupported Perl syntax: `(?>`"),
    ("(?#a)", "invalid or unsupported Perl syntax: `(?#`"),
    ("(?P=a)", "invalid or unsupported Perl syntax: `(?P`"),
    ("(?P<a b>x)", "invalid named capture: `(?P<a b>`"),
    ("a**", "invalid nested repetition operator: `**`"),
    ("a*+", "invalid nested repetition operator: `*+`"),
    ("*", "missing argument to repetition operator: `*`"),
    ("a|?", "missing argument to repetition operator: `?`"),
    ("(a", "missing closing ): `(a`"),
    ("(?i", "missing closing ): `(?i`"),
    ("a)", "unexpected ): `a)`"),
    ("[a", "missing closing ]: `[a`"),
    ("[]", "missing closing ]: `[]`"),
    ("[a-", "missing closing ]: `[a-`"),
    ("[z-a]", "invalid character class range: `z-a`"),
    ("[[:foo:]]", "invalid character class range: `[:foo:]`"),
    (r"\p{Klingon}", r"invalid character class range: `\p{Klingon}`"),
    (r"\Z", r"invalid escape sequence: `\Z`"),
    (r"\x{110000}", r"invalid escape sequence: `\x{110000}`"),
    ("a\\", "trailing backslash at end of expression: ``"),
    ("a{1001}", "invalid repeat count: `{1001}`"),
    ("a{2,1}", "invalid repeat count: `{2,1}`"),
    ("a{" + "9" * 5000 + "}", "invalid repeat count: `{" + "9" * 5000 + "}`"),
    ("((a{100}){100}){100}", "expression too large: `((a{100}){100}){100}`"),
    ("((){1000}){1000}", "expression too large: `((){1000}){1000}`"),
    ("(" * 200 + ")" * 200, "expression nests too deeply: `" + "(" * 200 + ")" * 200 + "`"),
]


@pytest.mark.parametrize(("pattern", "text"), REFUSED, ids=[row[0][:20] for row in REFUSED])
def test_what_re2_lacks_is_refused(pattern: str, text: str) -> None:
    with pytest.raises(RegexpError) as raised:
        Regexp(pattern)
    assert str(raised.value) == f"error parsing regexp: {text}"


@pytest.mark.parametrize(
    "pattern", ["^(a+)+$", "^(a|a)*$", "(a*)*b", "(.*)*x", "a?" * 50 + "a" * 50 + "b", ".*.*.*=.*"]
)
def test_no_text_keeps_it_busy(pattern: str) -> None:
    regexp, text = Regexp(pattern), "a" * 1024 + "!"
    started = time.process_time()
    assert not regexp.search(text)
    assert time.process_time() - started < 1


def test_memory_is_bounded() -> None:
    regexp = Regexp("(?:a|b)*$c")
    for point in range(0x4E00, 0x4E00 + 3000):
        assert not regexp.search(f"{chr(point)}{chr(point + 1)}")
    assert sum(len(one.steps) for one in regexp._known.values()) < 5000  # noqa: SLF001


ATOMS = st.sampled_from(["a", "b", ".", "[ab]", "[^a]", r"\w", r"\b", "^", r"\Z", "(?:)", "ab"])


def grow(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    repeated = st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{1,3}", "{0,2}", "*?"])).map(
        lambda t: f"(?:{t[0]}){t[1]}"
    )
    branches = st.tuples(inner, inner).map("(?:{0[0]}|{0[1]})".format)
    return st.one_of(repeated, branches, st.tuples(inner, inner).map("".join))


@settings(max_examples=300, deadline=None)
@given(st.recursive(ATOMS, grow, max_leaves=8), st.text("ab.\n", max_size=6))
def test_agrees_with_re(pattern: str, text: str) -> None:
    expected = re.search(pattern, text, re.ASCII) is not None
    assert Regexp(pattern.replace(r"\Z", r"\z")).search(text) is expected
