"""A working folder that the image has a file for is refused when the container is made."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent import working_folder
from cluster.model.errors import Internal


@pytest.fixture
def layers(tmp_path: Path) -> tuple[str, ...]:
    """Top first; `etc/passwd` is a file, `bin` a folder, `link` a link to a file."""
    for name in ("top", "base"):
        (tmp_path / name / "etc").mkdir(parents=True)
    (tmp_path / "base/etc/passwd").write_text("")
    (tmp_path / "base/bin").mkdir()
    (tmp_path / "base/link").symlink_to("etc/passwd")
    return str(tmp_path / "top"), str(tmp_path / "base")


@pytest.mark.parametrize("path", ["/", "/bin", "/new/deep", "/etc/new", "/link", "/etc/../etc/passwd"])
def test_what_can_become_one_passes(layers: tuple[str, ...], path: str) -> None:
    working_folder.check(layers, path)


@pytest.mark.parametrize("path", ["/etc/passwd", "/etc/passwd/x", "//etc//passwd/"])
def test_a_file_is_none(layers: tuple[str, ...], path: str) -> None:
    with pytest.raises(Internal, match=f"^Cannot mkdir: {path} is not a directory$"):
        working_folder.check(layers, path)
