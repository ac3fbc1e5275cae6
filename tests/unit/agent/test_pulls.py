"""One pull of an image at a time: who waits shares it, and takes it over when its owner goes away."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import trio
import trio.testing

from agent.pulls import Pulls
from cluster.model.reference import Reference, parse
from runtime.errors import NoSuchImage, RegistryRefused
from runtime.images.auth import Credentials
from runtime.images.endpoints import Registries
from runtime.images.progress import Progress, Report
from runtime.images.puller import Pulled

NAME = parse("busybox")
DONE = Pulled("sha256:1", "sha256:2", fresh=True)


class World:
    """A puller that pulls when the test says so, and a store that has nothing."""

    def __init__(self) -> None:
        self.begun: list[Reference] = []
        self.go = trio.Event()
        self.fails = False

    async def pull(self, name: Reference, report: Report, *_: Any) -> Pulled:
        self.begun.append(name)
        report(Progress("Downloading", "abc", 1, 2, layer=True))
        await self.go.wait()
        report(Progress("Pull complete", "abc", layer=True))
        if self.fails:
            raise RegistryRefused("denied: no", "DENIED", 404)
        return DONE

    def get(self, name: str) -> None:
        raise NoSuchImage(f"No such image: {name}")


def pulls(world: World) -> Pulls:
    made = Pulls(cast(Any, world), Path("/nowhere"), Registries())
    made._programs = cast(Any, (world, world))
    return made


def run(work: Callable[[World, Pulls], Any]) -> None:
    async def main() -> None:
        world = World()
        with trio.fail_after(5):
            await work(world, pulls(world))

    trio.run(main)


def test_waiters_share_a_pull_and_hear_what_was_said() -> None:
    async def work(world: World, made: Pulls) -> None:
        said: list[Progress] = []
        got: list[Pulled] = []

        async def one() -> None:
            got.append(await made.pull(NAME, said.append))

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(one)
            await trio.testing.wait_all_tasks_blocked()
            world.go.set()
        assert got == [DONE] * 3
        assert len(world.begun) == 1
        assert sorted(p.status for p in said) == ["Downloading"] * 3 + ["Pull complete"] * 3

    run(work)


def test_other_credentials_are_another_pull() -> None:
    async def work(world: World, made: Pulls) -> None:
        world.go.set()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(made.pull, NAME, lambda _: None)
            nursery.start_soon(made.pull, NAME, lambda _: None, Credentials("alice", "secret"))
        assert len(world.begun) == 2

    run(work)


def test_the_next_takes_over_when_the_owner_goes_away() -> None:
    async def work(world: World, made: Pulls) -> None:
        owner = trio.CancelScope()

        async def first() -> None:
            with owner:
                await made.pull(NAME, lambda _: None)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(first)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(made.pull, NAME, lambda _: None)
            await trio.testing.wait_all_tasks_blocked()
            owner.cancel()
            await trio.testing.wait_all_tasks_blocked()
            assert len(world.begun) == 2
            world.go.set()

    run(work)


def test_a_task_hears_that_there_is_no_such_image() -> None:
    async def work(world: World, made: Pulls) -> None:
        world.fails = True
        world.go.set()
        with pytest.raises(NoSuchImage, match=r"^No such image: nosuch:1$"):
            await made.ensure("nosuch:1")
        assert [name.familiar for name in world.begun] == ["nosuch:1"]

    run(work)
