"""Images between registries and this node's store: one pull of an image at a time, shared by all who wait for it; pushes.

Owns who waits for whom. The pull itself belongs to one of those who asked; when that one goes away, the next takes it up
where it stands. What speaks HTTP is loaded at the first use: a node that never pulls does not pay for it.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from agent import image_passing
from cluster.model.errors import ClusterError
from cluster.model.reference import Reference, parse
from runtime.errors import BadImage, NoSuchImage, RegistryFailed
from runtime.images import auth
from runtime.images.auth import ANONYMOUS, Credentials
from runtime.images.endpoints import Registries
from runtime.images.progress import Progress, Report
from runtime.images.store import ImageStore

if TYPE_CHECKING:
    from runtime.images.manifest import Platform
    from runtime.images.puller import Found, Pulled, Puller
    from runtime.images.pusher import Pushed, Pusher
    from runtime.images.search import Found as IndexEntry

log = logging.getLogger("festoon.pulls")
NODES_TRIED = 3
"""That an image may be taken from, one after the other, before its registry is asked."""

PARTIAL = "partial"
"""Beside the store's own folders."""

Key = tuple[str, str, Credentials]


@dataclass(slots=True)
class _Pull:
    """One that runs. `said`: the last line of each layer, for those who come later; `outcome` is None when its owner went away."""

    listeners: list[Report] = field(default_factory=list)
    said: dict[str, Progress] = field(default_factory=dict)
    done: trio.Event = field(default_factory=trio.Event)
    outcome: Pulled | RegistryFailed | BadImage | OSError | None = None

    def report(self, step: Progress) -> None:
        self.said[step.id or step.status] = step
        for listener in self.listeners:
            listener(step)


class Pulls:
    """State: the pulls that run, by image, platform and credentials."""

    def __init__(self, images: ImageStore, root: Path, registries: Registries) -> None:
        self._images, self._partial, self.registries = images, root / PARTIAL, registries
        self._running: dict[Key, _Pull] = {}
        self.managers: image_passing.Managers | None = None  # while the node may ask them
        self._passing: dict[str, trio.Lock] = {}  # by image
        self._programs: tuple[Puller, Pusher] | None = None

    async def pull(self, name: Reference, report: Report, credentials: Credentials = ANONYMOUS, platform: Platform | None = None) -> Pulled:
        """Bring the image here. Raises RegistryFailed, BadImage, OSError; whoever waits for the same pull gets the same. Cancelling the last of them
        ends it."""
        name = name.with_default_tag()
        key = (name.canonical, str(platform or ""), credentials)
        while True:
            running = self._running.get(key)
            if running is None:
                return await self._lead(key, name, report, credentials, platform)
            for step in tuple(running.said.values()):
                report(step)
            running.listeners.append(report)
            try:
                await running.done.wait()
            finally:
                running.listeners.remove(report)
            if isinstance(running.outcome, Exception):
                raise running.outcome
            if running.outcome is not None:
                return running.outcome

    async def _lead(self, key: Key, name: Reference, report: Report, credentials: Credentials, platform: Platform | None) -> Pulled:
        running = self._running[key] = _Pull([report])
        try:
            puller, _ = await self._loaded()
            running.outcome = await puller.pull(name, running.report, credentials, platform)
            return running.outcome
        except (RegistryFailed, BadImage, OSError) as error:
            running.outcome = error
            raise
        finally:
            del self._running[key]
            running.done.set()

    async def ensure(self, image: str, registry_auth: str = "") -> None:
        """For a task: bring the image here if it is not, from its registry or from another node. One whose digest is not said is asked of the other nodes
        first, so that all run the same. `registry_auth` is an X-Registry-Auth. Raises NoSuchImage, as when nobody had ever heard of a registry; why is in
        the log."""
        try:
            await trio.to_thread.run_sync(self._images.get, image)
            return
        except NoSuchImage as error:
            missing = error
        name = parse(image)
        if not name.digest and await self._passed_on(image):
            return
        try:
            await self.pull(name, _unheard, auth.from_header(registry_auth))
        except (RegistryFailed, BadImage, ClusterError) as error:
            log.warning("pulling image failed", extra={"fields": {"image": image, "error": str(error)}})
            if name.digest and await self._passed_on(image):
                return
            raise missing from error

    async def _passed_on(self, image: str) -> bool:
        """Whether another node had it and it is here now; the next one is asked when the first goes away in the middle."""
        if self.managers is None:
            return False
        lock = self._passing.setdefault(image, trio.Lock())
        try:
            async with lock:
                for _ in range(NODES_TRIED):
                    if await trio.to_thread.run_sync(self._has, image):
                        return True
                    source = await image_passing.look(self.managers, image)
                    if source is None:
                        return False
                    puller, _ = await self._loaded()
                    try:
                        await puller.take(source, source.manifest, parse(image).with_default_tag(), _unheard)
                        return True
                    except (RegistryFailed, BadImage, OSError) as error:
                        log.warning("an image was not passed on", extra={"fields": {"image": image, "error": str(error)}})
                return False
        finally:
            if not lock.statistics().tasks_waiting:
                self._passing.pop(image, None)

    def _has(self, image: str) -> bool:
        try:
            self._images.get(image)
        except NoSuchImage:
            return False
        return True

    async def push(self, name: Reference, report: Report, credentials: Credentials) -> Pushed:
        """Raises NoSuchImage, RegistryFailed, OSError."""
        _, pusher = await self._loaded()
        return await pusher.push(name, report, credentials)

    async def push_all(self, name: Reference, report: Report, credentials: Credentials) -> Pushed:
        """Every tag that a repository has here, one after the other; what became of the last. Raises as `push`."""
        images = await trio.to_thread.run_sync(self._images.list)
        names = sorted((parsed for image in images for text in image.references if (parsed := parse(text)).repository == name.repository), key=str)
        for tagged in names[:-1]:
            await self.push(tagged, report, credentials)
        return await self.push(names[-1] if names else name, report, credentials)

    async def look_up(self, name: Reference, credentials: Credentials) -> Found:
        """What the registry says of a name. Raises RegistryFailed, BadImage."""
        puller, _ = await self._loaded()
        return await puller.look_up(name, credentials)

    async def pull_all(self, name: Reference, report: Report, credentials: Credentials, platform: Platform | None) -> None:
        """Every tag of a repository, one after the other. Raises as `pull`."""
        puller, _ = await self._loaded()
        for tag in await puller.tags(name, credentials):
            await self.pull(parse(f"{name.repository}:{tag}"), report, credentials, platform)

    async def log_in(self, server: str, credentials: Credentials) -> None:
        """Raises RegistryFailed (401) when the registry does not know them."""
        puller, _ = await self._loaded()
        await puller.log_in(server, credentials)

    async def search(self, term: str, limit: int, credentials: Credentials) -> tuple[IndexEntry, ...]:
        """What an index of images has of a term. Raises RegistryFailed."""
        find = await trio.to_thread.run_sync(_load_search)
        return await find(term, limit, credentials, self.registries)

    async def _loaded(self) -> tuple[Puller, Pusher]:
        if self._programs is None:
            make = await trio.to_thread.run_sync(_load)
            if self._programs is None:
                self._programs = make(self._images, self._partial, self.registries)
        return self._programs


def _load() -> Callable[[ImageStore, Path, Registries], tuple[Puller, Pusher]]:
    from runtime.images.puller import Puller
    from runtime.images.pusher import Pusher

    return lambda images, partial, registries: (Puller(images, partial, registries), Pusher(images, registries))


def _load_search() -> Callable[[str, int, Credentials, Registries], Awaitable[tuple[IndexEntry, ...]]]:
    from runtime.images.search import search

    return search


def _unheard(_: Progress) -> None:
    """A task shows no progress."""
