"""Keys of server blocks, zones of plugins, and zones claimed twice."""

import pytest

from kubedns.corefile.errors import CorefileError
from kubedns.corefile.keys import expand_keys, expand_zones
from kubedns.corefile.overlap import Claim, check_overlaps
from kubedns.corefile.text import read_text
from kubedns.corefile.values import Key, Word

LABEL = "x" * 63


def word(text: str) -> Word:
    return read_text(f'"{text}"', "Corefile").words[0].with_text(text)


def keys(text: str, default_port: str | int = 53) -> list[str]:
    return [str(key) for key in expand_keys(word(text), default_port)]


KEYS = {
    "root": (".", ["dns://.:53"]),
    "root-and-port": (".:1053", ["dns://.:1053"]),
    "scheme": ("dns://a.org", ["dns://a.org.:53"]),
    "tls": ("tls://a.org", ["tls://a.org.:853"]),
    "tls-and-port": ("tls://a.org:54", ["tls://a.org.:54"]),
    "quic": ("quic://.", ["quic://.:853"]),
    "grpc": ("grpc://.", ["grpc://.:443"]),
    "https": ("https://.", ["https://.:443"]),
    "https3": ("https3://.", ["https3://.:443"]),
    "unix": ("unix://x", ["unix://x.:0"]),
    "scheme-in-capitals": ("TLS://a", ["dns://tls://a.:53"]),
    "no-scheme": ("ftp://a", ["dns://ftp://a.:53"]),
    "signed-port": ("a:+53", ["dns://a.:53"]),
    "negative-port": ("a:-1", ["dns://a.:-1"]),
    "port-with-zeros": ("a:01053", ["dns://a.:1053"]),
    "port-not-of-ascii-digits": ("a:\u0665", ["dns://a:\u0665.:53"]),
    "port-with-underscore": ("a:5_3", ["dns://a:5_3.:53"]),
    "port-beyond-64-bits": ("a:99999999999999999999", ["dns://a:99999999999999999999.:53"]),
    "two-ports": ("a:1:2", ["dns://a:1.:2"]),
    "capitals": ("A.ORG", ["dns://a.org.:53"]),
    "not-ascii": ("ÄÖ.org", ["dns://ÄÖ.org.:53"]),
    "wildcard": ("*.a.org", ["dns://*.a.org.:53"]),
    "escaped-dot": (r"a\.b", ["dns://a\\.b.:53"]),
    "escaped-last-dot": (r"a\.", ["dns://a\\..:53"]),
    "address": ("10.0.0.0", ["dns://10.0.0.0.:53"]),
    "address-6": ("2001:db8::1", ["dns://2001:db8:.:1"]),
    "brackets": ("[::1]:53", ["dns://[::1].:53"]),
    "longest-label": (LABEL, [f"dns://{LABEL}.:53"]),
    "longest-name": (f"{LABEL}.{LABEL}.{LABEL}.{'x' * 61}.", [f"dns://{LABEL}.{LABEL}.{LABEL}.{'x' * 61}.:53"]),
    "8": ("10.0.0.0/8", ["dns://10.in-addr.arpa.:53"]),
    "24": ("10.0.0.0/24", ["dns://0.0.10.in-addr.arpa.:53"]),
    "24-host-bits": ("10.0.0.5/24", ["dns://0.0.10.in-addr.arpa.:53"]),
    "23": ("10.0.0.0/23", ["dns://0.0.10.in-addr.arpa.:53", "dns://1.0.10.in-addr.arpa.:53"]),
    "9": ("10.0.0.0/9", [f"dns://{number}.10.in-addr.arpa.:53" for number in range(128)]),
    "25": ("10.0.0.128/25", [f"dns://{number}.0.0.10.in-addr.arpa.:53" for number in range(128, 256)]),
    "32": ("10.0.0.1/32", ["dns://1.0.0.10.in-addr.arpa.:53"]),
    "0": ("0.0.0.0/0", ["dns://in-addr.arpa.:53"]),
    "1": ("0.0.0.0/1", [f"dns://{number}.in-addr.arpa.:53" for number in range(128)]),
    "v6-32": ("2001:db8::/32", ["dns://8.b.d.0.1.0.0.2.ip6.arpa.:53"]),
    "v6-30": ("2001:db8::/30", [f"dns://{digit}.b.d.0.1.0.0.2.ip6.arpa.:53" for digit in "89ab"]),
    "v6-34": ("2001:db8::/34", [f"dns://{digit}.8.b.d.0.1.0.0.2.ip6.arpa.:53" for digit in "0123"]),
    "v6-8": ("fd00::/8", ["dns://d.f.ip6.arpa.:53"]),
    "v6-0": ("1::/0", ["dns://ip6.arpa.:53"]),
    "v6-128": ("fd00::1/128", [f"dns://1.{'0.' * 29}d.f.ip6.arpa.:53"]),
    "v6-and-port": ("fd00::/8:1053", ["dns://d.f.ip6.arpa.:1053"]),
    "cidr-scheme-and-port": ("tls://10.0.0.0/8:54", ["tls://10.in-addr.arpa.:54"]),
    "prefix-with-zero": ("10.0.0.0/08", ["dns://10.in-addr.arpa.:53"]),
    "no-cidr-33": ("10.0.0.0/33", ["dns://10.0.0.0/33.:53"]),
    "no-cidr-short": ("10.0/16", ["dns://10.0/16.:53"]),
    "no-cidr-zero": ("010.0.0.0/8", ["dns://010.0.0.0/8.:53"]),
    "no-cidr-mask": ("10.0.0.0/255.0.0.0", ["dns://10.0.0.0/255.0.0.0.:53"]),
    "no-cidr-zone": ("fe80::%1/64", ["dns://fe80::%1/64.:53"]),
}

REFUSED = {
    "empty": (":1053", "zone is not a valid domain name: "),
    "nothing": ("dns://", "zone is not a valid domain name: "),
    "colon": ("z:", 'expecting data after last colon: "z:"'),
    "colon-6": ("fd00::", 'expecting data after last colon: "fd00::"'),
    "empty-label": ("a..b", "zone is not a valid domain name: a..b"),
    "leading-dot": (".a", "zone is not a valid domain name: .a"),
    "two-dots": ("..", "zone is not a valid domain name: .."),
    "label": ("x" * 64, f"zone is not a valid domain name: {'x' * 64}"),
    "label-in-octets": ("ä" * 32, f"zone is not a valid domain name: {'ä' * 32}"),
    "name": ("x." * 150, "specified zone is too long: 300 > 255"),
    "name-with-final-dot": (f"{LABEL}." * 3 + LABEL, "specified zone is too long: 256 > 255"),
    "name-on-the-wire": (
        f"{LABEL}." * 3 + "x" * 62 + ".",
        f"zone is not a valid domain name: {LABEL}.{LABEL}.{LABEL}.{'x' * 62}.",
    ),
    "last-backslash": ("a\\", "zone is not a valid domain name: a\\"),
    "all-of-v6": ("::/0", "invalid CIDR ::/0"),
    "v6-zero": ("0::/8", "invalid CIDR 0::/8"),
}


@pytest.mark.parametrize(("text", "expected"), KEYS.values(), ids=KEYS)
def test_key(text: str, expected: list[str]) -> None:
    assert keys(text) == expected


@pytest.mark.parametrize(("text", "error"), REFUSED.values(), ids=REFUSED)
def test_refused(text: str, error: str) -> None:
    with pytest.raises(CorefileError) as raised:
        keys(text)
    assert str(raised.value) == f"error inspecting server blocks: {error}"
    assert raised.value.word is not None


@pytest.mark.parametrize(("port", "expected"), [("1053", "dns://a.:1053"), (5353, "dns://a.:5353")])
def test_default_port(port: str | int, expected: str) -> None:
    assert keys("a", port) == [expected]
    assert keys("tls://a", port) == ["tls://a.:853"]


def test_default_port_that_is_no_number() -> None:
    with pytest.raises(CorefileError, match="unknown port"):
        keys("a", "domain-x")


def test_key_knows_its_word() -> None:
    (key,) = expand_keys(word("a.org"), 53)
    assert key.word.location == "Corefile:1:1"


ZONES = {
    "none": ([], ()),
    "several": (["Cluster.Local", "10.0.0.0/23"], ("cluster.local.", "0.0.10.in-addr.arpa.", "1.0.10.in-addr.arpa.")),
    "scheme-and-port": (["tls://a.org:54"], ("a.org.",)),
    "malformed-left-out": (["a..b", "b.org", "z:", "::/0", ""], ("b.org.",)),
}


@pytest.mark.parametrize(("texts", "expected"), ZONES.values(), ids=ZONES)
def test_zones(texts: list[str], expected: tuple[str, ...]) -> None:
    assert expand_zones(texts) == expected


Row = tuple[str, str, bool]
ONE, TWO = "127.0.0.1", "127.0.0.2"
A = "dns://a.org.:53"
OVERLAP = "zone overlap listener capacity with"

CLAIMS: dict[str, tuple[list[Row], list[str]]] = {
    "different": (
        [("a.org", "", False), ("b.org", "", False), ("a.org:54", "", False), ("tls://a.org", "", False)],
        [],
    ),
    "twice": ([("a.org", "", False), ("A.org.:53", "", False)], [f"cannot serve {A} - it is already defined"]),
    "thrice": ([("a.org", "", False)] * 3, [f"cannot serve {A} - it is already defined"] * 2),
    "two-addresses": ([("a.org", ONE, False), ("a.org", TWO, False)], []),
    "twice-at-an-address": (
        [("a.org", ONE, False), ("a.org", ONE, False)],
        [f"cannot serve {A} on {ONE} - it is already defined"],
    ),
    "bound-first": ([("a.org", ONE, False), ("a.org", "", False)], [f"cannot serve {A} - {OVERLAP} {A} on {ONE}"]),
    "unbound-first": ([("a.org", "", False), ("a.org", ONE, False)], [f"cannot serve {A} on {ONE} - {OVERLAP} {A}"]),
    "views-first": ([("a.org", "", True), ("a.org", "", True), ("a.org", "", False)], []),
    "views-last": ([("a.org", "", False), ("a.org", "", True), ("a.org", "", True)], []),
    "view-bound": ([("a.org", "", False), ("a.org", ONE, True)], [f"cannot serve {A} on {ONE} - {OVERLAP} {A}"]),
    "view-unbound": ([("a.org", ONE, False), ("a.org", "", True)], [f"cannot serve {A} - {OVERLAP} {A} on {ONE}"]),
    "ports": (
        [("a:99999", "", False), ("b:-1", "", False), ("c:0", "", False), ("d:65535", "", False)],
        ["address 99999: invalid port", "address -1: invalid port"],
    ),
}


@pytest.mark.parametrize(("rows", "expected"), CLAIMS.values(), ids=CLAIMS)
def test_claims(rows: list[Row], expected: list[str]) -> None:
    claims = [Claim(expand_keys(word(text), 53)[0], address, has_view) for text, address, has_view in rows]
    assert [str(error) for error in check_overlaps(claims)] == expected


def test_overlap_names_the_first() -> None:
    first, second = read_text("a.org\nA.org", "Corefile").words
    (error,) = check_overlaps([Claim(Key("dns", "a.org.", 53, first)), Claim(Key("dns", "a.org.", 53, second))])
    assert (error.word, error.cure) == (second, "the first is at Corefile:1:1")
