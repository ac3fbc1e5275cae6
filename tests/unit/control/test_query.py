"""What users read of the store, in pieces that a message has room for."""

from __future__ import annotations

from cluster.model.changes import Kind
from cluster.model.ids import ServiceId
from cluster.model.objects import Service
from cluster.model.specs import ContainerSpec, ServiceSpec, TaskSpec
from cluster.wire.calls import Objects, Query, joined
from manager.control import query
from manager.store import Store
from tests.unit.control.test_control_objects import store_of

LARGE = "x" * (query.PIECE_BYTES // 3 - 1024)


def service(name: str) -> Service:
    return Service(ServiceId(f"id{name}"), ServiceSpec(name, TaskSpec(ContainerSpec("busybox", env=(LARGE,)))))


def test_a_long_answer_comes_in_pieces_and_is_one_again() -> None:
    store: Store = store_of(*(service(f"s{number}") for number in range(8)))
    pieces = list(query.pieces(store, Query(Kind.SERVICE), {}))
    assert [len(piece.services) for piece in pieces] == [3, 3, 2]
    assert joined(pieces) == query.query(store, Query(Kind.SERVICE), {})


def test_nothing_is_one_piece() -> None:
    assert list(query.pieces(Store(), Query(Kind.SERVICE), {})) == [Objects()]
