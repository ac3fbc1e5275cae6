"""Mount options of a bundle, as the kernel's numbers. Pure: owns the table of the words that `mount(8)` and the OCI runtime specification use.

Source: the OCI runtime specification, config.md ("Mounts", "Linux mount options"); mount_setattr(2).
"""

from __future__ import annotations

from typing import NamedTuple

from runtime.kernel import constants as k

ATTR_ATIME = 0x70
ATTR_NOATIME = 0x10
ATTR_STRICTATIME = 0x20
ATTR_NODIRATIME = 0x80
ATTR_NOSYMFOLLOW = 0x20_0000
MS_UNBINDABLE = 1 << 17

_ATTRIBUTES: dict[str, tuple[int, int]] = {
    "ro": (k.MOUNT_ATTR_RDONLY, 0), "rw": (0, k.MOUNT_ATTR_RDONLY),
    "nosuid": (k.MOUNT_ATTR_NOSUID, 0), "suid": (0, k.MOUNT_ATTR_NOSUID),
    "nodev": (k.MOUNT_ATTR_NODEV, 0), "dev": (0, k.MOUNT_ATTR_NODEV),
    "noexec": (k.MOUNT_ATTR_NOEXEC, 0), "exec": (0, k.MOUNT_ATTR_NOEXEC),
    "relatime": (0, ATTR_ATIME), "norelatime": (0, ATTR_ATIME),
    "noatime": (ATTR_NOATIME, ATTR_ATIME), "atime": (0, ATTR_ATIME),
    "strictatime": (ATTR_STRICTATIME, ATTR_ATIME), "nostrictatime": (0, ATTR_ATIME),
    "nodiratime": (ATTR_NODIRATIME, 0), "diratime": (0, ATTR_NODIRATIME),
    "nosymfollow": (ATTR_NOSYMFOLLOW, 0), "symfollow": (0, ATTR_NOSYMFOLLOW),
}  # fmt: skip
"""What is set and what is cleared; the same words with an `r` in front are meant for the whole tree."""

ATTRIBUTE_WORDS = tuple(_ATTRIBUTES)
PROPAGATIONS: dict[str, tuple[int, bool]] = {
    "private": (k.MS_PRIVATE, False), "rprivate": (k.MS_PRIVATE, True), "slave": (k.MS_SLAVE, False), "rslave": (k.MS_SLAVE, True),
    "shared": (k.MS_SHARED, False), "rshared": (k.MS_SHARED, True), "unbindable": (MS_UNBINDABLE, False), "runbindable": (MS_UNBINDABLE, True),
}  # fmt: skip

_WITHOUT_EFFECT = frozenset({"defaults", "async", "auto", "noauto", "user", "nouser", "_netdev", "loud", "silent", "nomand", "noiversion"})
_SUPERBLOCK_FLAGS = frozenset({"sync", "dirsync", "lazytime", "nolazytime", "mand", "iversion"})
_REFUSED = frozenset({"remount", "ridmap"})


class MountOptions(NamedTuple):
    """Attributes to set and clear on the mount itself and, apart, on its whole tree; `data` is for the file system."""

    set: int = 0
    clear: int = 0
    tree_set: int = 0
    tree_clear: int = 0
    bind: bool = False
    recursive: bool = False
    propagation: int = 0
    propagate_tree: bool = False
    data: tuple[tuple[str, str], ...] = ()
    copy_up: bool = False  # a tmpfs begins with what its place holds
    id_mapped: bool = False


def parse(words: tuple[str, ...]) -> tuple[MountOptions, str]:
    """The options, and the first word that is not supported (empty: all are)."""
    found = MountOptions()
    data: list[tuple[str, str]] = []
    for word in words:
        if word in ("bind", "rbind"):
            found = found._replace(bind=True, recursive=word == "rbind")
        elif word in ("tmpcopyup", "idmap"):
            found = found._replace(copy_up=found.copy_up or word == "tmpcopyup", id_mapped=found.id_mapped or word == "idmap")
        elif word in _ATTRIBUTES:
            on, off = _ATTRIBUTES[word]
            found = found._replace(set=(found.set & ~off) | on, clear=(found.clear | off) & ~on | (off & ATTR_ATIME))
        elif word[:1] == "r" and word[1:] in _ATTRIBUTES:
            on, off = _ATTRIBUTES[word[1:]]
            found = found._replace(tree_set=(found.tree_set & ~off) | on, tree_clear=(found.tree_clear | off) & ~on | (off & ATTR_ATIME))
        elif word in PROPAGATIONS:
            propagation, tree = PROPAGATIONS[word]
            found = found._replace(propagation=propagation, propagate_tree=tree)
        elif word in _REFUSED:
            return found, word
        elif word in _SUPERBLOCK_FLAGS:
            data.append((word, ""))
        elif word and word not in _WITHOUT_EFFECT:
            key, _, value = word.partition("=")
            data.append((key, value))
    return found._replace(data=tuple(data)), ""
