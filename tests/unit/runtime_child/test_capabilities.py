"""Capability names to masks."""

from __future__ import annotations

from runtime.child.capabilities import NAMES, capset_data, mask_of
from runtime.spec import DEFAULT_CAPABILITIES


def test_dockers_default_mask() -> None:
    assert mask_of(DEFAULT_CAPABILITIES, 40) == 0xA80425FB


def test_names_with_and_without_prefix_and_all() -> None:
    assert mask_of(("cap_net_admin",), 40) == mask_of(("NET_ADMIN",), 40) == 1 << 12
    assert mask_of(("ALL",), 40) == (1 << 41) - 1
    assert NAMES[21] == "SYS_ADMIN"
    assert NAMES[40] == "CHECKPOINT_RESTORE"


def test_a_capability_that_this_kernel_lacks_is_left_out() -> None:
    assert mask_of(("BPF", "CHOWN"), 37) == 1


def test_nothing_is_inheritable() -> None:
    assert capset_data(1 << 40 | 3) == b"\3\0\0\0" * 2 + bytes(4) + b"\0\1\0\0" * 2 + bytes(4)
