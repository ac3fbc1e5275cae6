"""A frozen store: the bytes are those of the moment, and of the form that a snapshot always had."""

from __future__ import annotations

import msgspec
import pytest

from cluster.model.changes import created, deleted
from manager.store import Store, freezing
from manager.store.tables import SAVED_KINDS, Saved
from tests.unit.store.test_store_apply import service, task


@pytest.mark.parametrize("tasks", [0, 15, 16, 65_535, 65_536])
def test_the_bytes_are_those_of_the_whole_encoded_at_once(tasks: int) -> None:
    columns = ((), (), (service("s1", "web"),), tuple([task("t1")] * tasks), (), (), ())
    assert len(columns) == len(SAVED_KINDS)
    pieces = freezing.encode(300, columns)
    data = b"".join(pieces)
    assert max(map(len, pieces)) < freezing.PIECE_BYTES * 2
    assert data == msgspec.msgpack.encode([freezing.FORMAT, 300, *columns])
    assert len(msgspec.msgpack.decode(data, type=Saved).tasks) == tasks


def test_what_is_frozen_does_not_see_what_comes_later() -> None:
    store = Store()
    store.apply(1, (created(service("s1", "web")), created(task("t1"))))
    frozen, then = store.freeze(), store.digest()
    store.apply(2, (created(task("t2")), deleted(task("t1"))))
    again = Store()
    again.restore(b"".join(frozen()))
    assert (again.index, again.digest()) == (1, then)
    assert store.digest() != then
