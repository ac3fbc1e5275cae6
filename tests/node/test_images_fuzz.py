"""Damaged layers and archives: whatever the bytes, the unpacker refuses with a sentence, and writes nowhere else."""

from __future__ import annotations

import gzip
import io
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.errors import RuntimeFault
from runtime.images import archive
from runtime.images.layers import Limits, unpack
from tests.node.image_archives import docker_archive, entry, oci_layout, tar

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="unpacking layers needs root")

LAYER = tar(
    [
        entry("a", None, mode=0o700),
        entry("a/f", b"x" * 700, uid=5, pax_headers={"SCHILY.xattr.user.k": "v", "path": "a/ff", "mtime": "1.5"}),
        entry("a/l", link="../a/ff"),
        entry("a/h", hard="a/ff"),
        entry("dev", b"", type=b"3", devmajor=1, devminor=3),
        entry("a/.wh.gone"),
        entry("n" * 150, b"y"),
    ]
)
ARCHIVES = (docker_archive([LAYER], ["a:1"]), oci_layout(LAYER, "a:1"))
SMALL = Limits(layer_bytes=1 << 20, entries=1000)
edits = st.lists(st.tuples(st.integers(0, 1 << 16), st.binary(min_size=1, max_size=12)), min_size=1, max_size=6)


def damaged(data: bytes, changes: list[tuple[int, bytes]], *, mend: bool) -> bytes:
    """With bytes replaced; `mend` puts the headers' checksums right again, so that the damage gets further."""
    changed = bytearray(data)
    for where, piece in changes:
        at = where % len(changed)
        changed[at : at + len(piece)] = piece[: len(changed) - at]
    if mend:
        for start in range(0, len(changed) - 511, 512):
            if data[start + 257 : start + 262] == b"ustar":
                changed[start + 148 : start + 156] = b" " * 8
                changed[start + 148 : start + 156] = b"%06o\0 " % sum(changed[start : start + 512])
    return bytes(changed)


@settings(max_examples=300, deadline=None)
@given(edits, st.booleans(), st.booleans())
def test_a_damaged_layer_is_unpacked_or_refused_inside_its_folder(changes: list[tuple[int, bytes]], mend: bool, base: bool) -> None:
    data = damaged(LAYER, changes, mend=mend)
    parent = Path(tempfile.mkdtemp())
    try:
        (parent / "diff").mkdir()
        fd = os.open(parent / "diff", os.O_RDONLY | os.O_DIRECTORY)
        try:
            unpack(io.BytesIO(data).read, fd, base=base, limits=SMALL)
        except (RuntimeFault, OSError):  # OSError: a name too long, an attribute that this file system has not
            pass
        finally:
            os.close(fd)
        assert [p.name for p in parent.iterdir()] == ["diff"]
    finally:
        shutil.rmtree(parent)


@settings(max_examples=200, deadline=None)
@given(edits, st.booleans(), st.booleans(), st.sampled_from(ARCHIVES))
def test_a_damaged_archive_is_read_or_refused(changes: list[tuple[int, bytes]], mend: bool, compress: bool, original: bytes) -> None:
    data = damaged(original, changes, mend=mend)
    with tempfile.TemporaryDirectory() as staging:
        try:
            archive.read(io.BytesIO(gzip.compress(data) if compress else data).read, Path(staging), "linux/amd64")
        except RuntimeFault:
            pass
        assert all(p.name.startswith("member-") for p in Path(staging).iterdir())
