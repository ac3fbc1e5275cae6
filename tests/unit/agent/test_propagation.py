"""Binds that want to be told of what is mounted below them later."""

from __future__ import annotations

import pytest

from agent import propagation
from cluster.model.errors import Internal

MOUNTS = r"""
22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw
23 22 8:2 / /shared rw,relatime shared:7 - ext4 /dev/sda2 rw
24 22 8:3 / /slave\040one rw,relatime master:8 - ext4 /dev/sda3 rw
25 23 8:4 / /shared/private rw,relatime - ext4 /dev/sda4 rw
""".strip()


@pytest.mark.parametrize(
    ("path", "mode"),
    [("/a", "rprivate"), ("/a", "private"), ("/shared", "shared"), ("/shared/x", "rshared"), ("/shared/x", "rslave"), ("/slave one/x", "slave")],
)
def test_possible(path: str, mode: str) -> None:
    propagation.check(path, mode, MOUNTS)


@pytest.mark.parametrize(
    ("path", "mode", "sentence"),
    [
        ("/a", "shared", "path /a is mounted on / but it is not a shared mount"),
        ("/a", "rslave", "path /a is mounted on / but it is not a shared or slave mount"),
        ("/sharedness", "slave", "path /sharedness is mounted on / but it is not a shared or slave mount"),
        ("/slave one", "rshared", "path /slave one is mounted on /slave one but it is not a shared mount"),
        ("/shared/private/x", "slave", "path /shared/private/x is mounted on /shared/private but it is not a shared or slave mount"),
    ],
)
def test_impossible(path: str, mode: str, sentence: str) -> None:
    with pytest.raises(Internal) as caught:
        propagation.check(path, mode, MOUNTS)
    assert caught.value.message == sentence
