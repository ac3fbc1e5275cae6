"""One step of a pull or push, as the Engine API's progress lines have it. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

SHORT_CHARACTERS = 12
MAX_LINES_PER_BLOB = 100
MIN_STEP_BYTES = 512 * 1024


@dataclass(frozen=True, slots=True)
class Progress:
    """`id` names a layer, a tag, or nothing; `total_bytes` 0 where there is nothing to count."""

    status: str
    id: str = ""
    current_bytes: int = 0
    total_bytes: int = 0
    layer: bool = False  # Docker's lines of layers always have a progressDetail


Report = Callable[[Progress], None]


def short(digest: str) -> str:
    return digest.removeprefix("sha256:")[:SHORT_CHARACTERS]


class Steps:
    """Reports a blob's progress, at most MAX_LINES_PER_BLOB times."""

    def __init__(self, report: Report, status: str, name: str, total_bytes: int) -> None:
        self._report, self._status, self._name, self._total = report, status, name, total_bytes
        self._step = max(MIN_STEP_BYTES, total_bytes // MAX_LINES_PER_BLOB)
        self._said = 0

    def at(self, current_bytes: int) -> None:
        if current_bytes >= self._said + self._step or (current_bytes < self._said) or current_bytes == self._total > self._said:
            self._said = current_bytes
            self._report(Progress(self._status, self._name, current_bytes, self._total, layer=True))
