"""Watching commits: everything in order, shared, bounded, and honest about what was missed."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from cluster.model.changes import Kind, created
from cluster.model.ids import NetworkId
from cluster.model.objects import Network
from cluster.model.specs import NetworkSpec
from manager.store import BadSnapshot, Batch, Store, Watch, WatchLagged
from manager.store.watch import RECENT_EVENTS
from tests.unit.store.test_store_apply import task


def commit(store: Store, index: int) -> Batch:
    return store.apply(index, (created(Network(NetworkId(f"n{index}"), NetworkSpec(f"net{index}"))),))


def test_all_that_is_queued_comes_at_once_and_is_shared() -> None:
    async def main() -> None:
        store = Store()
        commit(store, 1)
        first, second = store.watch(), store.watch()
        batches = (commit(store, 2), commit(store, 3))
        got, same = await first.next(), await second.next()
        assert got == batches
        assert all(one is other for one, other in zip(got, same, strict=True))

    trio.run(main)


def test_a_watcher_waits_for_the_next_commit() -> None:
    async def main() -> None:
        store = Store()
        watch = store.watch()
        got: list[Batch] = []

        async def watcher() -> None:
            got.extend(await watch.next())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watcher)
            await trio.testing.wait_all_tasks_blocked()
            assert got == []
            batch = commit(store, 1)
        assert got == [batch]

    trio.run(main)


def test_a_watcher_that_falls_behind_is_told_and_starts_anew() -> None:
    async def main() -> None:
        store = Store()
        watch = store.watch(queue_batches=3)
        for index in range(1, 6):
            commit(store, index)
        with pytest.raises(WatchLagged):
            await watch.next()
        assert len(store.all(Kind.NETWORK)) == 5
        batch = commit(store, 6)
        assert await watch.next() == (batch,)

    trio.run(main)


def test_a_restored_store_has_no_continuation_for_its_watchers() -> None:
    async def main() -> None:
        store, other = Store(), Store()
        watch = store.watch()
        commit(other, 4)
        store.restore(other.save())
        with pytest.raises(WatchLagged):
            await watch.next()
        assert store.digest() == other.digest()
        assert store.by_name(Kind.NETWORK, "net4") is not None

    trio.run(main)


def test_bytes_that_are_no_snapshot_leave_the_store_as_it_was() -> None:
    store = Store()
    commit(store, 1)
    before = store.digest()
    for data in (b"", b"\x90", store.save()[:-1], b"\x92\x63\x01"):
        with pytest.raises(BadSnapshot):
            store.restore(data)
    assert store.digest() == before


def test_closing_wakes_the_watcher_and_ends_the_queue() -> None:
    async def main() -> None:
        store = Store()
        watch = store.watch()

        async def watcher() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await watch.next()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watcher)
            await trio.testing.wait_all_tasks_blocked()
            watch.close()
            watch.close()
        commit(store, 1)
        with pytest.raises(trio.ClosedResourceError):
            await watch.next()

    trio.run(main)


def test_a_cancelled_wait_takes_nothing_and_two_waits_are_a_mistake() -> None:
    async def main() -> None:
        store = Store()
        watch = store.watch()
        with trio.CancelScope() as scope:
            scope.cancel()
            await watch.next()
        batch = commit(store, 1)
        assert await watch.next() == (batch,)

        async def second(watch: Watch) -> None:
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(trio.BusyResourceError):
                await watch.next()
            commit(store, 2)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(second, watch)
            assert len(await watch.next()) == 1

    trio.run(main)


def test_who_comes_back_gets_what_was_missed_and_goes_on_from_there() -> None:
    store = Store()
    for index in range(1, 6):
        store.apply(index, (created(task(f"t{index}")),))
    missed = store.after(2)
    assert missed is not None
    assert [(batch.index, batch.events[0].id) for batch in missed] == [(3, "t3"), (4, "t4"), (5, "t5")]
    assert store.after(5) == store.after(9) == ()
    watch = store.watch()
    store.apply(6, (created(task("t6")),))
    assert [batch.index for batch in (*missed, *watch.take())] == [3, 4, 5, 6]


def test_what_is_not_known_any_more_is_said_to_be_so() -> None:
    store = Store()
    for index in range(1, RECENT_EVENTS + 3):
        store.apply(index, (created(task(f"t{index}")),))
    assert store.after(1) is None
    kept = store.after(2)
    assert kept is not None
    assert len(kept) == RECENT_EVENTS
    other = Store()
    other.restore(store.save())
    assert other.after(store.index - 1) is None
    assert other.after(store.index) == ()
