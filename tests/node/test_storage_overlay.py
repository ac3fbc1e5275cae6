"""The folders of a container's root: made, found again, removed at any depth, and never across a mount."""

from __future__ import annotations

import os
from pathlib import Path

from runtime.storage import overlay


def test_folders_are_made_and_found_again(tmp_path: Path) -> None:
    container = tmp_path / "containers" / "c"
    first = overlay.prepare(container, ("/top", "/base"))
    (Path(first.upper) / "file").write_bytes(b"12345")
    assert overlay.prepare(container, ("/top", "/base")) == first
    assert first.lower == ("/top", "/base")
    assert overlay.size_bytes(container) == 5


def test_removal_goes_deeper_than_descriptors_reach(tmp_path: Path) -> None:
    container = tmp_path / "c"
    upper = overlay.prepare(container, ()).upper
    home = os.open(".", os.O_RDONLY)
    try:
        os.chdir(upper)
        for _ in range(1500):
            os.mkdir("d")
            os.chdir("d")
        Path("f").touch()
    finally:
        os.fchdir(home)
        os.close(home)
    (Path(upper) / "link").symlink_to(tmp_path)
    overlay.remove(container)
    overlay.remove(container)
    assert list(tmp_path.iterdir()) == []
