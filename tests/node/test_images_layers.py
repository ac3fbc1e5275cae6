"""Unpacking layers: what arrives on disk, and what hostile layers can't do. Needs root (owners, devices, trusted
attributes).
"""

from __future__ import annotations

import gzip
import io
import os
import stat
from pathlib import Path

import pytest

from runtime.errors import BadImage
from runtime.images.layers import DEFAULT_LIMITS, Limits, mark_opaque, unpack
from runtime.storage import unpacker
from tests.node.image_archives import digest, entry, tar

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="unpacking layers needs root")


def unpacked(tmp_path: Path, data: bytes, *, base: bool = False, limits: Limits = DEFAULT_LIMITS) -> Path:
    folder = tmp_path / "diff"
    folder.mkdir()
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        done = unpack(io.BytesIO(data).read, fd, base=base, limits=limits)
        assert done.diff_id == digest(data)
        mark_opaque(fd, done.opaque)
    finally:
        os.close(fd)
    return folder


def refused(tmp_path: Path, data: bytes, match: str, limits: Limits = DEFAULT_LIMITS) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    with pytest.raises(BadImage, match=match):
        unpacked(tmp_path, data, limits=limits)
    assert [p.name for p in outside.iterdir()] == ["kept"]
    assert (outside / "kept").read_text() == "kept"


def test_files_keep_their_owner_mode_time_and_links(tmp_path: Path) -> None:
    data = tar(
        [
            entry("./", None, mode=0o750),
            entry("bin", None, mtime=5),
            entry("bin/tool", b"#!", mode=0o4755, uid=7, gid=8, mtime=1234567890.5),
            entry("bin/other", hard="bin/tool"),
            entry("sh", link="/bin/tool", uid=3, mtime=9),
            entry("dev/null", b"", type=b"3", devmajor=1, devminor=3, mode=0o666),
            entry("pipe", b"", type=b"6"),
            entry("made/on/the/way", b"x"),
        ]
    )
    root = unpacked(tmp_path, data)
    tool = os.lstat(root / "bin/tool")
    assert (tool.st_uid, tool.st_gid, stat.S_IMODE(tool.st_mode)) == (7, 8, 0o4755)
    assert tool.st_mtime_ns == 1234567890_500000000
    assert os.lstat(root / "bin/other").st_ino == tool.st_ino
    assert os.lstat(root / "bin").st_mtime == 5  # although files were made in it afterwards
    assert os.readlink(root / "sh") == "/bin/tool"
    assert os.lstat(root / "sh").st_uid == 3
    assert os.lstat(root / "dev/null").st_rdev == os.makedev(1, 3)
    assert stat.S_ISFIFO(os.lstat(root / "pipe").st_mode)
    assert stat.S_IMODE(os.lstat(root).st_mode) == 0o750
    assert stat.S_IMODE(os.lstat(root / "made").st_mode) == 0o755


def test_attributes_of_users_and_capabilities_are_kept_and_others_are_not(tmp_path: Path) -> None:
    capability = bytes.fromhex("0000000201000000000000000000000000000000")
    records = {"SCHILY.xattr.security.capability": capability.decode("latin-1"), "SCHILY.xattr.security.evil": "x"}
    root = unpacked(tmp_path, tar([entry("ping", b"x", pax_headers=records)]))
    assert os.getxattr(root / "ping", "security.capability") == capability
    assert "security.evil" not in os.listxattr(root / "ping")


def test_whiteouts_take_overlayfs_form_above_a_base_only(tmp_path: Path) -> None:
    data = tar([entry("etc", None), entry("etc/.wh.passwd"), entry("var/.wh..wh..opq"), entry(".wh..wh.plnk", None)])
    root = unpacked(tmp_path, data)
    gone = os.lstat(root / "etc/passwd")
    assert stat.S_ISCHR(gone.st_mode)
    assert gone.st_rdev == 0
    assert os.getxattr(root / "var", "trusted.overlay.opaque") == b"y"
    assert sorted(p.name for p in root.iterdir()) == ["etc", "var"]
    (tmp_path / "b").mkdir()
    base = unpacked(tmp_path / "b", data, base=True)
    assert list((base / "etc").iterdir()) == []
    assert os.listxattr(base / "var") == []


def test_a_folder_that_replaces_a_whiteout_hides_what_is_below(tmp_path: Path) -> None:
    root = unpacked(
        tmp_path,
        tar([entry("a/.wh.b"), entry("a/b", None), entry("a/b/c", b"x"), entry("d/.wh.e"), entry("d/e/f", b"y")]),
    )
    assert os.getxattr(root / "a/b", "trusted.overlay.opaque") == b"y"
    assert os.getxattr(root / "d/e", "trusted.overlay.opaque") == b"y"
    assert (root / "d/e/f").read_text() == "y"


def test_a_whiteout_leaves_what_its_own_layer_brought(tmp_path: Path) -> None:
    root = unpacked(tmp_path, tar([entry("a/b", b"x"), entry("a/.wh.b"), entry("c/d", b"y"), entry(".wh.c")]))
    assert (root / "a/b").read_text() == "x"
    assert (root / "c/d").read_text() == "y"
    assert os.getxattr(root / "c", "trusted.overlay.opaque") == b"y"


def test_later_entries_replace_earlier_ones(tmp_path: Path) -> None:
    root = unpacked(
        tmp_path, tar([entry("a/b/c", b"x"), entry("a", b"file"), entry("l", link="a"), entry("l", b"own")])
    )
    assert (root / "a").read_text() == "file"
    assert (root / "l").read_text() == "own"


def test_names_of_every_format_arrive(tmp_path: Path) -> None:
    import tarfile

    long = "/".join(["folder" * 5] * 6) + "/é"
    for number, format_ in enumerate((tarfile.PAX_FORMAT, tarfile.GNU_FORMAT)):
        (tmp_path / str(number)).mkdir()
        root = unpacked(
            tmp_path / str(number), tar([entry(long, b"x", uid=3_000_000), entry("link", link=long)], format_)
        )
        assert (root / "link").read_text() == "x"
        assert os.stat(root / long).st_uid == 3_000_000


@pytest.mark.parametrize("name", ["../outside/x", "a/../../outside/x", "a/..", "b/.wh...", ".wh.", ".wh.."])
def test_names_that_leave_or_mean_nothing_are_refused(tmp_path: Path, name: str) -> None:
    refused(tmp_path, tar([entry(name, b"x")]), "invalid name in layer")


def test_an_absolute_name_is_below_the_layers_root(tmp_path: Path) -> None:
    root = unpacked(tmp_path, tar([entry(f"/{tmp_path.name}-x", b"x")]))
    assert (root / f"{tmp_path.name}-x").read_text() == "x"


def test_a_link_on_the_way_is_followed_inside_the_root_only(tmp_path: Path) -> None:
    root = unpacked(
        tmp_path,
        tar(
            [
                entry("usr/lib", None),
                entry("lib", link="/usr/lib"),
                entry("lib/x", b"x"),
                entry("e", link="/etc"),
                entry("e/y", b"y"),
            ]
        ),
    )
    assert (root / "usr/lib/x").read_text() == "x"
    assert (root / "etc/y").read_text() == "y"
    assert not Path("/etc/y").exists()


def test_a_link_that_leaves_is_refused_when_written_through(tmp_path: Path) -> None:
    refused(tmp_path, tar([entry("l", link="../outside"), entry("l/x", b"x")]), "leaves the layer through a link")


def test_links_in_a_circle_are_refused(tmp_path: Path) -> None:
    refused(tmp_path, tar([entry("a", link="b"), entry("b", link="a"), entry("a/x", b"x")]), "too many links")


@pytest.mark.parametrize("target", ["../outside/kept", "missing", "folder", "l/kept", "/"])
def test_hardlinks_to_the_outside_folders_or_nothing_are_refused(tmp_path: Path, target: str) -> None:
    data = tar([entry("folder", None), entry("l", link="../outside"), entry("x", hard=target)])
    refused(tmp_path, data, "invalid (name|hardlink)")


def test_a_hardlink_to_a_symlink_is_the_symlink_itself(tmp_path: Path) -> None:
    root = unpacked(tmp_path, tar([entry("s", link="/etc/passwd"), entry("h", hard="s"), entry("h", b"own")]))
    assert os.readlink(root / "s") == "/etc/passwd"
    assert (root / "h").read_text() == "own"


def test_overlayfs_own_marks_are_refused(tmp_path: Path) -> None:
    records = {"SCHILY.xattr.trusted.overlay.redirect": "/x"}
    refused(tmp_path, tar([entry("a", b"x", pax_headers=records)]), "trusted.overlay.redirect")
    (tmp_path / "2").mkdir()
    refused(tmp_path / "2", tar([entry("w", b"", type=b"3", devmajor=0, devminor=0)]), "whiteout")


def test_bombs_are_refused(tmp_path: Path) -> None:
    refused(tmp_path, tar([entry(str(n), b"") for n in range(11)]), "more than 10 entries", Limits(entries=10))
    (tmp_path / "2").mkdir()
    refused(tmp_path / "2", tar([entry("a", b"x" * 11)]), "more than 10 bytes", Limits(layer_bytes=10))
    (tmp_path / "3").mkdir()
    refused(tmp_path / "3", tar([entry("a", b"")]) + bytes(100_000), "more than 10 bytes", Limits(layer_bytes=10))


def test_damage_is_refused(tmp_path: Path) -> None:
    data = tar([entry("a", b"x" * 2000)])
    refused(tmp_path, data[:1000], "unexpected EOF")
    (tmp_path / "2").mkdir()
    refused(tmp_path / "2", b"b" + data[1:], "invalid tar header")
    (tmp_path / "3").mkdir()
    huge = bytearray(tar([entry("n" * 120, b"")]))
    huge[124:136] = b"77777777777\0"
    huge[148:156] = b" " * 8
    huge[148:156] = b"%06o\0 " % sum(huge[:512])
    refused(tmp_path / "3", bytes(huge), "extended header")


def test_the_confined_process_unpacks_everything_that_the_layer_has_too_its_root(tmp_path: Path) -> None:
    data = tar(
        [
            entry("./", None, mode=0o750, uid=3, gid=4),
            entry("bin", None),
            entry("bin/tool", b"#!", mode=0o4755, uid=7, gid=8),
            entry("bin/other", hard="bin/tool"),
            entry("bin/.wh..wh..opq", b""),
        ]
    )
    archive, folder = tmp_path / "layer.tar.gz", tmp_path / "diff"
    archive.write_bytes(gzip.compress(data))
    folder.mkdir()
    with archive.open("rb") as blob:
        done = unpacker.unpack(blob, folder, base=False, limits=DEFAULT_LIMITS)
    assert (done.diff_id, done.entries) == (digest(data), 5)
    facts = {name: (folder / name).stat() for name in (".", "bin/tool", "bin/other")}
    assert [(oct(f.st_mode), f.st_uid, f.st_gid) for f in facts.values()] == [("0o40750", 3, 4), ("0o104755", 7, 8), ("0o104755", 7, 8)]
    assert facts["bin/tool"].st_ino == facts["bin/other"].st_ino
    assert os.getxattr(folder / "bin", "trusted.overlay.opaque") == b"y"
