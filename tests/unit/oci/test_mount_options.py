"""Words of mount options to attributes, propagation and data."""

from __future__ import annotations

from runtime.kernel import constants as k
from runtime.oci.options import ATTR_ATIME, ATTR_STRICTATIME, parse


def test_the_last_word_wins() -> None:
    found, unsupported = parse(("ro", "rw", "nosuid", "suid", "nosuid"))
    assert (found.set, unsupported) == (k.MOUNT_ATTR_NOSUID, "")


def test_access_times_replace_each_other() -> None:
    found, _ = parse(("noatime", "strictatime"))
    assert found.set & ATTR_ATIME == ATTR_STRICTATIME
    assert found.clear & ATTR_ATIME == ATTR_ATIME


def test_words_for_the_tree_are_kept_apart() -> None:
    found, _ = parse(("rbind", "rro", "rshared", "nodev"))
    assert (found.tree_set, found.set, found.bind, found.recursive, found.propagate_tree) == (k.MOUNT_ATTR_RDONLY, k.MOUNT_ATTR_NODEV, True, True, True)


def test_other_words_are_the_file_systems() -> None:
    found, _ = parse(("size=64k", "mode=755", "newinstance", "defaults"))
    assert found.data == (("size", "64k"), ("mode", "755"), ("newinstance", ""))


def test_what_is_not_supported_is_named() -> None:
    assert parse(("ro", "ridmap"))[1] == "ridmap"
