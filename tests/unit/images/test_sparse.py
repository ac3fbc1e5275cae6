"""Sparse files in tar streams, as GNU tar writes them in each of its formats; a map that lies is refused."""

from __future__ import annotations

import io
import shutil
import subprocess
from pathlib import Path

import pytest

from runtime.errors import BadImage
from runtime.images.sparse import MAX_SEGMENTS, Segment, SparseMap, checked, of_content, of_records
from runtime.images.tar import Kind, TarReader

FORMATS = (("--format=gnu",), *(("--format=pax", f"--sparse-version={version}") for version in ("0.0", "0.1", "1.0")))
HOLE = 300_000


def sparse_file(path: Path, pieces: int) -> bytes:
    with path.open("wb") as file:
        for number in range(pieces):
            file.seek(HOLE, 1)
            file.write(b"%d" % number * 5000)
        file.truncate(file.tell() + HOLE)
    return path.read_bytes()


@pytest.mark.parametrize("form", FORMATS, ids=" ".join)
@pytest.mark.parametrize("pieces", [0, 1, 3, 60])
def test_a_sparse_file_comes_out_as_it_was(tmp_path: Path, form: tuple[str, ...], pieces: int) -> None:
    if shutil.which("tar") is None:
        pytest.skip("needs GNU tar")
    wanted = sparse_file(tmp_path / "sparse", pieces)
    (tmp_path / "after").write_bytes(b"after")
    packed = subprocess.run(["tar", "--sparse", *form, "-cf", "-", "sparse", "after"], cwd=tmp_path, capture_output=True, check=True).stdout
    assert len(packed) < len(wanted)
    reader = TarReader(io.BytesIO(packed).read)
    found = [(entry.name, entry.kind, entry.size_bytes, b"".join(reader.data())) for entry in reader]
    assert found == [("sparse", Kind.FILE, len(wanted), wanted), ("after", Kind.FILE, 5, b"after")]
    skipped = TarReader(io.BytesIO(packed).read)
    assert [entry.name for entry in skipped] == ["sparse", "after"]
    damaged = TarReader(io.BytesIO(packed[: len(packed) // 2]).read)
    if pieces > 1:
        with pytest.raises(BadImage, match="unexpected EOF"):
            _ = [b"".join(damaged.data()) for _ in damaged]


@pytest.mark.parametrize(
    ("segments", "real", "packed"),
    [
        ([Segment(0, 10), Segment(5, 10)], 20, 20),  # overlap
        ([Segment(10, 5), Segment(0, 5)], 20, 10),  # out of order
        ([Segment(0, 10)], 5, 10),  # beyond the end
        ([Segment(0, 10)], 20, 11),  # not what the stream holds
        ([], 1 << 62, 0),  # a file of exabytes
    ],
)
def test_a_map_that_lies_is_refused(segments: list[Segment], real: int, packed: int) -> None:
    with pytest.raises(BadImage):
        checked(segments, real, packed)


def test_maps_are_bounded() -> None:
    stream = io.BytesIO(b"%d\n" % (MAX_SEGMENTS + 1) + b"0\n" * 10_000_000)
    with pytest.raises(BadImage, match="segments"):
        of_content({"GNU.sparse.realsize": b"1"}, 1 << 40, stream.read)
    with pytest.raises(BadImage):
        of_content({"GNU.sparse.realsize": b"1"}, 1024, io.BytesIO(b"9" * 1024).read)
    with pytest.raises(BadImage):
        of_records({"GNU.sparse.map": b"1,2,3", "GNU.sparse.size": b"9"}, 2)
    with pytest.raises(BadImage):
        of_records({"GNU.sparse.map": b"0,x", "GNU.sparse.size": b"9"}, 2)


def test_holes_are_zeros() -> None:
    pieces = SparseMap((Segment(3, 2),), 8).expand(lambda count: iter([b"ab"] if count else []), bytes(2))
    assert b"".join(pieces) == b"\0\0\0ab\0\0\0"
