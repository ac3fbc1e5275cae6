"""Autolock on disk: a manager's key file follows the cluster's wish, and wherever it is interrupted the directory opens with the key that the file says."""

from __future__ import annotations

import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest
import trio

from cluster.identity import unlock_key
from cluster.model.changes import Kind, created, updated
from cluster.model.errors import FailedPrecondition, InvalidArgument
from cluster.model.ids import ClusterId
from cluster.model.objects import Cluster
from cluster.model.specs import ClusterSpec
from manager import autolock as room
from manager.autolock import Autolock
from manager.raft.driver import Driver, open_driver
from manager.raft_storage import key
from manager.store import Store

ONE, TWO = bytes([1]) * 32, bytes([2]) * 32
Body = Callable[[Store, Driver, Autolock], Awaitable[None]]


def running(folder: Path, body: Body, unlocking: bytes | None = None) -> None:
    """A manager's store, driver and autolock on this folder while `body` runs."""

    async def main() -> None:
        store = Store()
        async with open_driver(folder, store, unlocking=unlocking) as driver, trio.open_nursery() as nursery:
            await driver.wait_leader()
            if not store.all(Kind.CLUSTER):
                await driver.propose((created(Cluster(ClusterId("c"), ClusterSpec())),))
            lock = Autolock(folder, folder / "node", store, driver, unlocking)
            with trio.fail_after(20):
                await nursery.start(lock.run)
                await body(store, driver, lock)
            nursery.cancel_scope.cancel()

    trio.run(main)


async def want(store: Store, driver: Driver, lock: Autolock, unlocking: bytes | None) -> None:
    (cluster,) = store.all(Kind.CLUSTER)
    spec = msgspec.structs.replace(cluster.spec, autolock=unlocking is not None)
    text = unlock_key.text_of(unlocking) if unlocking is not None else ""
    await driver.propose((updated(msgspec.structs.replace(cluster, spec=spec, unlock_key=text)),))
    await lock.settled()


async def one_key_left(driver: Driver) -> None:
    while driver.keys.older:
        await trio.sleep(0.01)


def test_locking_makes_another_data_key_and_forgets_the_one_that_lay_open(tmp_path: Path) -> None:
    before: list[bytes] = []

    async def body(store: Store, driver: Driver, lock: Autolock) -> None:
        before.append(driver.keys.current)
        await want(store, driver, lock, ONE)
        await one_key_left(driver)

    running(tmp_path, body)
    assert key.is_locked(tmp_path)
    with pytest.raises(FailedPrecondition, match="Swarm is encrypted and needs to be unlocked"):
        key.open_keys(tmp_path)
    for wrong in (TWO, b"short"):
        with pytest.raises(InvalidArgument, match="invalid key provided"):
            key.open_keys(tmp_path, wrong)
    keys = key.open_keys(tmp_path, ONE)
    assert keys.older == ()
    assert keys.current != before[0]

    async def again(store: Store, driver: Driver, lock: Autolock) -> None:
        (cluster,) = store.all(Kind.CLUSTER)
        assert cluster.spec.autolock
        await want(store, driver, lock, None)

    running(tmp_path, again, ONE)
    assert not key.is_locked(tmp_path)
    assert key.open_keys(tmp_path) == keys, "unlocking rotates nothing"


def test_another_unlock_key_takes_the_place_of_the_old_one_and_the_data_key_stays(tmp_path: Path) -> None:
    async def body(store: Store, driver: Driver, lock: Autolock) -> None:
        await want(store, driver, lock, ONE)
        await one_key_left(driver)
        before = driver.keys.current
        await want(store, driver, lock, TWO)
        assert driver.keys.current == before

    running(tmp_path, body)
    with pytest.raises(InvalidArgument):
        key.open_keys(tmp_path, ONE)
    assert key.open_keys(tmp_path, TWO)


def test_a_crash_between_any_two_steps_leaves_what_opens_and_is_finished_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The directory as it is on disk before and after each of the steps, as a kill -9 there would leave it."""
    live, copies = tmp_path / "live", []

    def copy() -> None:
        copies.append(tmp_path / str(len(copies)))
        shutil.copytree(live, copies[-1])

    saved, used, replaced = key.save, Driver.use_keys, Driver.replace_older

    def save(directory: Path, keys: key.DataKeys, locking: bytes | None = None) -> None:
        copy()
        saved(directory, keys, locking)
        copy()

    async def use_keys(self: Driver, keys: key.DataKeys) -> None:
        await used(self, keys)
        copy()

    async def replace_older(self: Driver) -> bool:
        done = await replaced(self)
        copy()
        return done

    async def body(store: Store, driver: Driver, lock: Autolock) -> None:
        monkeypatch.setattr(room.key, "save", save)
        monkeypatch.setattr(Driver, "use_keys", use_keys)
        monkeypatch.setattr(Driver, "replace_older", replace_older)
        await want(store, driver, lock, ONE)
        await one_key_left(driver)
        await want(store, driver, lock, TWO)
        monkeypatch.undo()

    running(live, body)
    assert len(copies) >= 8
    opened = set()
    for copied in copies:
        unlocking = next((k for k in (None, ONE, TWO) if _opens(copied, k)), b"")
        assert unlocking != b"", f"{copied} opens with no key that the file or its owner has"
        opened.add(unlocking)

        async def finish(store: Store, driver: Driver, lock: Autolock) -> None:
            await lock.settled()
            await one_key_left(driver)
            assert store.all(Kind.CLUSTER)

        running(copied, finish, unlocking)
    assert opened == {None, ONE, TWO}


def _opens(folder: Path, unlocking: bytes | None) -> bool:
    try:
        key.open_keys(folder, unlocking)
    except (FailedPrecondition, InvalidArgument):
        return False
    return unlocking is None or key.is_locked(folder)
