"""Sets and maps in parts are what plain ones are, and share what has not changed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from netfabric.parts import PARTS, PartedMap, PartedSet

NUMBERS = st.frozensets(st.integers(0, 5 * PARTS), max_size=40)
ENTRIES = st.dictionaries(st.text("abc", max_size=3), st.integers(0, 3), max_size=20)


@given(NUMBERS, NUMBERS, NUMBERS)
def test_a_set_in_parts_is_the_set_that_it_stands_for(first: frozenset[int], gone: frozenset[int], come: frozenset[int]) -> None:
    before = PartedSet(first)
    after, plain = before.changed(gone, come), first - gone | come
    assert (set(after), len(after)) == (plain, len(plain))
    assert after == plain == after == PartedSet(plain)
    assert (after == before) is (plain == first)
    assert (before - after, after - before) == (first - plain, plain - first)
    assert before - plain == plain.__rsub__(first) == first - after  # type: ignore[operator]
    assert all(one in after for one in plain)
    assert not any(one in after for one in gone - come)
    assert after.changed((), plain) is after


@given(ENTRIES, st.dictionaries(st.text("abc", max_size=3), st.none() | st.integers(0, 3), max_size=20))
def test_a_map_in_parts_is_the_map_that_it_stands_for_and_tells_what_changed(first: dict[str, int], changes: dict[str, int | None]) -> None:
    before = PartedMap(first)
    after = before.changed(changes.items())
    plain = {key: value for key, value in {**first, **changes}.items() if value is not None}
    assert dict(after) == plain
    assert (len(after), after) == (len(plain), PartedMap(plain))
    told = {key: (was, now) for key, was, now in after.since(before)}
    assert told == {key: (first.get(key), plain.get(key)) for key in first.keys() | plain.keys() if first.get(key) != plain.get(key)}


def test_only_the_parts_of_what_changed_are_others() -> None:
    before = PartedMap({f"key {n}": n for n in range(1000)})
    after = before.changed([("key 7", None), ("new", 1)])
    assert sum(mine is not its for mine, its in zip(before.parts, after.parts, strict=True)) <= 2
    assert before.changed([("key 7", 7), ("not there", None)]) is before
