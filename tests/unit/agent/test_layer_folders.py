"""What an image has at a path: no file where a working folder should be; the mode of a folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent import layer_folders
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
    layer_folders.check_working_folder(layers, path)


@pytest.mark.parametrize("path", ["/etc/passwd", "/etc/passwd/x", "//etc//passwd/"])
def test_a_file_is_none(layers: tuple[str, ...], path: str) -> None:
    with pytest.raises(Internal, match=f"^Cannot mkdir: {path} is not a directory$"):
        layer_folders.check_working_folder(layers, path)


@pytest.mark.parametrize(
    ("path", "there", "missing"),
    [
        ("/new/deep", "/", ("new", "deep")),
        ("/etc/new", "/etc", ("new",)),
        ("/bin/", "/bin", ()),
        ("/link/x", "/", ()),
        ("/etc/../new", "/", ()),
    ],
)
def test_what_is_missing_on_the_way_to_a_folder(layers: tuple[str, ...], path: str, there: str, missing: tuple[str, ...]) -> None:
    assert layer_folders.to_be_made(layers, path) == (there, missing), "nothing where it can't be told"


def test_the_mode_of_a_folder_is_the_topmost_ones(layers: tuple[str, ...]) -> None:
    (Path(layers[0]) / "etc").chmod(0o1777)
    (Path(layers[1]) / "bin").chmod(0o700)
    assert [layer_folders.mode_of(layers, path) for path in ("/etc", "/bin/", "/etc/passwd", "/link", "/none", "/")] == [0o1777, 0o700, None, None, None, None]
