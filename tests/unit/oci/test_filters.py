"""Kept filters: found by all that they were compiled from, believed only where nobody else may write, bounded."""

from __future__ import annotations

from pathlib import Path

from runtime.oci import filters

POLICY: dict[str, object] = {"defaultAction": "SCMP_ACT_ALLOW"}
PROGRAM = bytes(range(16))


def test_a_program_is_found_by_its_whole_key(tmp_path: Path) -> None:
    folder = str(tmp_path / "kept")
    key = filters.key_of(POLICY, frozenset({"CHOWN"}), "x86_64")
    assert filters.find(folder, key) is None
    filters.keep(folder, key, PROGRAM)
    assert filters.find(folder, key) == PROGRAM
    for other in (
        filters.key_of({**POLICY, "x": 1}, frozenset({"CHOWN"}), "x86_64"),
        filters.key_of(POLICY, frozenset(), "x86_64"),
        filters.key_of(POLICY, frozenset({"CHOWN"}), "aarch64"),
    ):
        assert filters.find(folder, other) is None
        (tmp_path / "kept" / filters._name(other)).write_bytes((tmp_path / "kept" / filters._name(key)).read_bytes())
        assert filters.find(folder, other) is None, "the name alone is not enough"


def test_what_others_could_have_written_or_is_cut_off_is_not_believed(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    key = filters.key_of(POLICY, frozenset(), "x86_64")
    filters.keep(str(folder), key, PROGRAM)
    folder.chmod(0o777)
    assert filters.find(str(folder), key) is None
    folder.chmod(0o700)
    file = folder / filters._name(key)
    file.write_bytes(file.read_bytes()[:-3])
    assert filters.find(str(folder), key) is None


def test_the_folder_stays_small(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    for number in range(filters.FILTERS_MAX + 5):
        filters.keep(str(folder), filters.key_of({"n": number}, frozenset(), "x86_64"), PROGRAM)
    assert len(list(folder.iterdir())) <= filters.FILTERS_MAX
