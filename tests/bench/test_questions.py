"""The questions are what README says of them, and every one of them is about the cluster that is served."""

from __future__ import annotations

import random
from itertools import islice
from typing import TYPE_CHECKING

import pytest

from bench import cluster, zones
from bench.questions import FLOOD, KINDS, Files

if TYPE_CHECKING:
    from pathlib import Path

    from bench.questions import Kind

MANY = 20_000
ALL_KINDS = [*KINDS.values(), FLOOD]


def asked(kind: Kind, count: int = MANY) -> list[str]:
    return list(islice(kind.lines(random.Random(1)), count))


@pytest.mark.parametrize("kind", ALL_KINDS, ids=lambda kind: kind.name)
def test_a_line_is_a_name_and_a_type_and_the_same_in_every_run(kind: Kind) -> None:
    lines = asked(kind, 2_000)
    assert lines == asked(kind, 2_000)
    for line in lines:
        domain_name, rrtype = line.split(" ")
        assert rrtype in {"A", "AAAA", "SRV", "PTR"}
        assert len(domain_name) < 253
        assert all(0 < len(label) < 64 for label in domain_name.split("."))


@pytest.mark.parametrize("kind", [kind for kind in ALL_KINDS if kind.fresh], ids=lambda kind: kind.name)
def test_no_name_comes_twice_where_none_may(kind: Kind, tmp_path: Path) -> None:
    files, seen = Files(tmp_path), set[str]()
    for _ in range(3):
        files.renew(kind, 0.02)
        lines = [line for line in files.file(kind).read_text().splitlines() if line.startswith("host")]
        assert len(set(lines)) == len(lines) >= 2_500
        assert not seen & set(lines)
        seen |= set(lines)


def test_the_working_set_and_reverse_names_are_as_many_as_told() -> None:
    warm = asked(KINDS["hot"])
    assert len(warm) == len(set(warm)) == 2_000
    reverse = asked(KINDS["ptr"], 200_000)
    assert len(reverse) == len(set(reverse)) == 100_000


def test_the_mix_has_the_shares_of_its_name() -> None:
    lines = asked(KINDS["mix"])
    misses = sum(line.startswith("api") for line in lines) / MANY
    other = sum(line.endswith(" SRV") or _headless(line) for line in lines) / MANY
    assert misses == pytest.approx(0.3, abs=0.02)
    assert other == pytest.approx(0.1, abs=0.02)


def _headless(line: str) -> bool:
    return line.startswith("svc-") and cluster.headless(int(line.split(".", maxsplit=1)[0].removeprefix("svc-")))


def test_a_zone_file_has_what_is_asked(tmp_path: Path) -> None:
    zones.write_zones(tmp_path)
    forward = zones.zone_file(tmp_path, cluster.ZONE).read_text().splitlines()
    owners = {(line.split()[0].rstrip("."), line.split()[1]) for line in forward[4:]}
    for name in ("headless", "srv"):
        for line in asked(KINDS[name]):
            domain_name, rrtype = line.split()
            assert (domain_name, rrtype) in owners
    reverse = {line.split(".in-addr")[0] for line in zones.zone_file(tmp_path, zones.REVERSE).read_text().splitlines()}
    assert {line.split(".in-addr")[0] for line in asked(KINDS["ptr"])} <= reverse
