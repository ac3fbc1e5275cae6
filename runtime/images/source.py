"""Where a pull's bytes come from: a registry, or another node of the cluster. Shapes only."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Blob:
    """A blob as it comes: from which byte on, and its pieces, as often as the network gives them."""

    start: int
    pieces: AsyncIterator[bytes]


class Source(Protocol):
    """Both raise RegistryUnreachable for what is worth another try, RegistryRefused for what is not."""

    async def small_blob(self, digest: str, limit_bytes: int) -> bytes: ...

    def blob(self, digest: str, offset: int = 0) -> AbstractAsyncContextManager[Blob]:
        """The blob from `offset` on, or from its beginning where the source can't do that."""
