"""When a certificate is renewed: between a half and eight tenths of the life that it was issued for."""

from __future__ import annotations

import datetime as dt

import pytest

from agent import renewal
from cluster.identity import certificates, keys
from cluster.model.specs import Role

ISSUED = dt.datetime(2030, 5, 1, 12, tzinfo=dt.UTC)


def certificate(expiry: dt.timedelta) -> str:
    root = certificates.new_root(ISSUED)
    return certificates.issue(*root, certificates.make_csr(keys.new_key()), "n", Role.WORKER, "c", ISSUED, expiry)


@pytest.mark.parametrize(
    ("expiry", "part", "due"),
    [
        (dt.timedelta(days=90), renewal.EARLIEST, dt.timedelta(days=45)),
        (dt.timedelta(days=90), renewal.LATEST, dt.timedelta(days=72)),
        (dt.timedelta(hours=1), renewal.EARLIEST, dt.timedelta(minutes=30)),
    ],
)
def test_the_hour_before_it_was_issued_is_no_part_of_its_life(expiry: dt.timedelta, part: float, due: dt.timedelta) -> None:
    assert renewal.due(certificate(expiry), part) == ISSUED + due
