"""Showing a pull or push as it goes: a line for each layer, rewritten in place on a terminal; every step as a line of its
own elsewhere, without the bars. Source: moby pkg/jsonmessage.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from typing import Any, Final, TextIO

from cli.failures import CliFailure

NARROW_COLUMNS: Final = 110
"""Below this, a terminal gets the numbers without the bar."""


class Transfer:
    """State: which line of the screen belongs to which layer."""

    def __init__(self, out: TextIO, *, quiet: bool = False) -> None:
        self._out, self._quiet = out, quiet
        self._terminal = out.isatty()
        self._wide = self._terminal and _columns(out) >= NARROW_COLUMNS
        self._rows: dict[str, int] = {}
        self.aux: dict[str, Any] = {}

    def show(self, lines: Iterable[bytes]) -> None:
        """All of a stream. Raises CliFailure with the error that ends it."""
        for line in lines:
            if line.strip():
                self._one(json.loads(line))

    def _one(self, message: dict[str, Any]) -> None:
        if message.get("error"):
            raise CliFailure(str(message["error"]))
        if message.get("aux"):
            self.aux = message["aux"]
            return
        if message.get("stream"):
            self._rows.clear()  # what follows is below it
            self._say(str(message["stream"]))
            return
        status, name = str(message.get("status") or ""), str(message.get("id") or "")
        if self._quiet or not status:
            return
        detail = message.get("progressDetail")
        if not self._terminal:
            if not detail:
                self._say(f"{name}: {status}\n" if name else f"{status}\n")
            return
        if detail is None or not name:
            self._rows.clear()  # what follows is below it
            self._say(f"{name}: {status}\n" if name else f"{status}\n")
            return
        bar = str(message.get("progress") or "")
        shown = bar if self._wide else bar.rpartition("]")[2].strip()
        self._row(name, f"{name}: {status} {shown}".rstrip())

    def _row(self, name: str, text: str) -> None:
        if name not in self._rows:
            self._rows[name] = len(self._rows)
            self._say(f"{text}\n")
            return
        up = len(self._rows) - self._rows[name]
        self._say(f"\x1b[{up}A\r\x1b[2K{text}\r\x1b[{up}B")

    def _say(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()


def _columns(out: TextIO) -> int:
    try:
        return os.get_terminal_size(out.fileno()).columns
    except OSError:
        return 0
