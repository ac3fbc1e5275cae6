"""The store's folders, swept while others write."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PosixPath

from runtime.images.blobs import Folders


class Busy(PosixPath):
    """A folder that lists what its writer takes away a moment later."""

    def iterdir(self) -> Iterator[Path]:
        yield self / "taken"
        yield from super().iterdir()


def test_what_a_writer_has_just_taken_away_itself_is_no_fault_of_the_sweep(tmp_path: Path) -> None:
    """A daemon that began while images were loaded into its store ended with it."""
    folders = Folders(tmp_path)
    (folders.tmp / "left").write_text("by one that was killed")
    with folders.staging() as mine, folders.locked():
        folders.tmp = Busy(folders.tmp)
        folders.sweep(set(), set())
        assert list(tmp_path.joinpath("tmp").iterdir()) == [mine]
