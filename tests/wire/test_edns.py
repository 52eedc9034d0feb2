import pytest

from kubedns.wire.edns import Edns, echoed_options, opt_record, read_options, write_options
from kubedns.wire.errors import WireError
from tests.wire.asking import opt, option

ECS4 = b"\0\1\x18\0\xc0\0\2"

GOOD = {
    "none": (b"", ()),
    "NSID empty": (option(3), ((3, b""),)),
    "NSID": (option(3, b"ab"), ((3, b"ab"),)),
    "COOKIE of 8": (option(10, b"8octets."), ((10, b"8octets."),)),
    "COOKIE of 3": (option(10, b"abc"), ((10, b"abc"),)),
    "EXPIRE empty": (option(9), ((9, b""),)),
    "EXPIRE": (option(9, b"\0\0\1\0"), ((9, b"\0\0\1\0"),)),
    "EXPIRE of more is read as four": (option(9, b"\0\0\1\0more"), ((9, b"\0\0\1\0"),)),
    "TCP-KEEPALIVE empty": (option(11), ((11, b""),)),
    "TCP-KEEPALIVE": (option(11, b"\0\x64"), ((11, b"\0\x64"),)),
    "PADDING": (option(12, bytes(9)), ((12, bytes(9)),)),
    "LLQ": (option(1, bytes(18)), ((1, bytes(18)),)),
    "UL of 4": (option(2, bytes(4)), ((2, bytes(4)),)),
    "UL of 8": (option(2, bytes(8)), ((2, bytes(8)),)),
    "EDE": (option(15, b"\0\3"), ((15, b"\0\3"),)),
    "ECS": (option(8, ECS4), ((8, ECS4),)),
    "ECS without address": (option(8, ECS4[:4]), ((8, ECS4[:4]),)),
    "ECS of IPv6": (option(8, b"\0\2\x80\0" + bytes(16)), ((8, b"\0\2\x80\0" + bytes(16)),)),
    "ECS of family 0": (option(8, bytes(4)), ((8, bytes(4)),)),
    "unknown": (option(65001, b"x"), ((65001, b"x"),)),
    "several in order": (option(10, b"a") + option(3) + option(10, b"b"), ((10, b"a"), (3, b""), (10, b"b"))),
}


@pytest.mark.parametrize(("rdata", "options"), GOOD.values(), ids=GOOD)
def test_read_options(rdata: bytes, options: tuple[tuple[int, bytes], ...]) -> None:
    assert read_options(rdata) == options


BAD = {
    "code alone": b"\0\3",
    "length cut": b"\0\3\0",
    "data cut": option(3, b"ab")[:-1],
    "behind a good one": option(3) + b"\0",
    "LLQ of 17": option(1, bytes(17)),
    "UL of 5": option(2, bytes(5)),
    "EXPIRE of 3": option(9, bytes(3)),
    "TCP-KEEPALIVE of 1": option(11, bytes(1)),
    "TCP-KEEPALIVE of 3": option(11, bytes(3)),
    "EDE of 1": option(15, bytes(1)),
    "ECS of 3": option(8, bytes(3)),
    "ECS of IPv4 with a prefix of 33": option(8, b"\0\1\x21\0" + bytes(5)),
    "ECS of IPv4 with a scope of 33": option(8, b"\0\1\x18\x21" + bytes(3)),
    "ECS of IPv6 with a prefix of 129": option(8, b"\0\2\x81\0" + bytes(17)),
    "ECS of family 0 with a prefix": option(8, b"\0\0\1\0"),
    "ECS of family 3": option(8, b"\0\3\0\0"),
}


@pytest.mark.parametrize("rdata", BAD.values(), ids=BAD)
def test_refuse_options(rdata: bytes) -> None:
    with pytest.raises(WireError, match="EDNS option"):
        read_options(rdata)


RECORDS = {
    "plain": (opt_record(1232, 0, 0), opt(1232)),
    "nothing": (opt_record(0, 0, 0), opt(0)),
    "largest": (opt_record(65535, 0, 0xFF00), opt(65535, 0xFF00)),
    "RCODE below 16 is the header's": (opt_record(512, 5, 0), opt(512)),
    "BADVERS": (opt_record(0, 16, 0), opt(0, 1 << 24)),
    "BADCOOKIE": (opt_record(0, 23, 0x8000), opt(0, 1 << 24 | 0x8000)),
    "highest RCODE": (opt_record(0, 4095, 0), opt(0, 255 << 24)),
    "options": (opt_record(512, 0, 0, option(3, b"ab")), opt(512, 0, option(3, b"ab"))),
}


@pytest.mark.parametrize(("made", "expected"), RECORDS.values(), ids=RECORDS)
def test_opt_record(made: bytes, expected: bytes) -> None:
    assert made == expected


@pytest.mark.parametrize("code", [3, 9, 10, 11, 12])
def test_echoed(code: int) -> None:
    assert echoed_options(Edns(512, 0, 0, ((code, b"data"),))) == option(code, b"data")


@pytest.mark.parametrize("code", [1, 2, 5, 6, 7, 8, 13, 14, 15, 65001])
def test_not_echoed(code: int) -> None:
    assert echoed_options(Edns(512, 0, 0, ((code, b"data"), (3, b"")))) == option(3)


def test_write_options() -> None:
    assert write_options(()) == b""
    assert write_options(((10, b"a"), (3, b""))) == option(10, b"a") + option(3)
