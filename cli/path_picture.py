"""The hops of a packet as an SVG picture: a lane per namespace, a box per hop, arrows in their order. Pure; nothing of a hop is markup.

Source: SVG 1.1.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any, Final

WIDTH_MIN: Final = 900
CHARACTER: Final = 7.3  # how wide one is drawn, in the units of the picture
MARGIN: Final = 16
LINE: Final = 16
GAP: Final = 22
DETAIL_LINES_MAX: Final = 8
DETAIL_CHARACTERS_MAX: Final = 240


def svg(title: str, hops: Sequence[Mapping[str, Any]]) -> str:
    """`hops` as the node tells them: where, what, detail, packets."""
    longest = max((len(line) for hop in hops for line in _lines(hop)), default=0)
    width = max(WIDTH_MIN, math.ceil(longest * CHARACTER) + MARGIN * 4)
    body = list(_body(hops, width))
    height = MARGIN * 4 + sum(_height(hop) + GAP for hop in hops)
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="monospace" font-size="12">',
        '<defs><marker id="tip" markerWidth="8" markerHeight="8" refX="7" refY="4" orient="auto"><path d="M0 0 L8 4 L0 8 z"/></marker></defs>',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="{MARGIN}" y="{MARGIN + LINE}" font-size="14" font-weight="bold">{escape(title)}</text>',
        *body,
        "</svg>",
        "",
    ])  # fmt: skip


def _lines(hop: Mapping[str, Any]) -> list[str]:
    lines = str(hop.get("detail", "")).splitlines()
    if len(lines) > DETAIL_LINES_MAX:
        lines = [*lines[: DETAIL_LINES_MAX - 1], f"... {len(lines) - DETAIL_LINES_MAX + 1} more"]
    return [line if len(line) <= DETAIL_CHARACTERS_MAX else line[: DETAIL_CHARACTERS_MAX - 3] + "..." for line in lines]


def _height(hop: Mapping[str, Any]) -> int:
    return LINE * (2 + len(_lines(hop)))


def _body(hops: Sequence[Mapping[str, Any]], width: int) -> Iterator[str]:
    top = MARGIN * 3
    for number, hop in enumerate(hops, 1):
        height = _height(hop)
        if number > 1:
            yield f'<line x1="{width // 2}" y1="{top - GAP}" x2="{width // 2}" y2="{top}" stroke="black" marker-end="url(#tip)"/>'
        missing = str(hop.get("detail", "")).startswith("missing")
        yield f'<rect x="{MARGIN}" y="{top}" width="{width - 2 * MARGIN}" height="{height}" rx="4" fill="{"#fdd" if missing else "#eef"}" stroke="#446"/>'
        packets = hop.get("packets")
        counted = "" if packets in (None, -1) else f"  [{packets}]"
        head = f"{number}. {hop.get('where', '')}: {hop.get('what', '')}{counted}"
        yield f'<text x="{MARGIN + 8}" y="{top + LINE}" font-weight="bold">{escape(head)}</text>'
        for line, text in enumerate(_lines(hop), 2):
            yield f'<text x="{MARGIN + 16}" y="{top + LINE * line}" xml:space="preserve">{escape(text)}</text>'
        top += height + GAP
