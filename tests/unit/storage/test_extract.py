"""A tar stream over what is there: what can't be put in its place leaves it."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from runtime.errors import BadImage
from runtime.storage.extract import Extraction
from runtime.storage.places import Problem


def archive(name: str, kind: bytes, target: str = "") -> io.BytesIO:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        entry = tarfile.TarInfo(name)
        entry.type, entry.linkname = kind, target
        entry.uid, entry.gid = os.getuid(), os.getgid()
        tar.addfile(entry)
    out.seek(0)
    return out


def extract(folder: Path, data: io.BytesIO) -> None:
    root = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        Extraction(root, "/", keep_kinds=False, owner=None).run(data.read)
    finally:
        os.close(root)


def test_a_device_that_is_refused_leaves_the_file_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("still here")
    with pytest.raises(BadImage, match="whiteout"):
        extract(tmp_path, archive("kept", tarfile.CHRTYPE))
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("kept", "still here")]


def test_a_link_takes_the_place_of_a_file_and_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    (tmp_path / "b").mkdir()
    for name in ("a", "b", "c"):
        extract(tmp_path, archive(name, tarfile.SYMTYPE, "target"))
    assert {each.name: os.readlink(each) for each in tmp_path.iterdir()} == dict.fromkeys("abc", "target")


def test_what_the_file_system_refuses_names_the_member(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Problem, match=r"^Error processing tar file\(exit status 1\): /file/x: not a directory$"):
        extract(tmp_path, archive("file/x", tarfile.REGTYPE))
