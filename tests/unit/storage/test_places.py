"""How paths in a container are read."""

from __future__ import annotations

import pytest

from runtime.storage.places import absolute


@pytest.mark.parametrize(
    ("path", "read"),
    [
        ("/d/..", "/"), ("/d/e/../", "/d/"), ("/d/e/f/..", "/d/e"), ("/..", "/"), ("../d", "/d"), ("d", "/d"), ("/d//e", "/d/e"), ("//d", "/d"), ("/d/", "/d/"),
        ("/d/.", "/d/."), (".", "/."), ("/", "/"), ("/d/../.", "/."),
    ],
)  # fmt: skip
def test_dots_are_taken_away_as_written_and_what_means_the_folder_itself_stays(path: str, read: str) -> None:
    """Else an archive has members named `../…`, which lead out of where they are unpacked."""
    assert absolute(path) == read
