"""A counterexample for people: what led to the failure in a few lines, and the same as a picture. Pure.

Owns the choice of lines: the steps of the scenario that came before, and the chain of causes that ends at the failure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import Final

from sim.run import Result
from sim.world import SECOND, Line

MAX_LINES: Final = 9
MAX_CAUSES: Final = 3
MILESTONES: Final = ("is leader", "loses", "is killed", "is cut off", "stops", "its ", "the container", "node ")
"""How lines of managers and agents begin that tell of life and death."""
WIDTH: Final = 1000
ROW: Final = 26
MARGIN: Final = 20
LANE: Final = 130


def chosen(result: Result) -> list[Line]:
    """At most MAX_LINES, in order: the failure, what directly led to it, and the latest things that were done or that changed
    who is alive and who leads.
    """
    lines = result.lines
    if not lines:
        return []
    by_number = {line.number: line for line in lines}
    kept: dict[int, Line] = {lines[-1].number: lines[-1]}
    cause = lines[-1].cause
    while cause and len(kept) < MAX_CAUSES:
        kept[cause] = by_number[cause]
        cause = by_number[cause].cause
    for line in reversed(lines[:-1]):
        if len(kept) >= MAX_LINES:
            break
        if line.who == "world" or line.text.startswith(MILESTONES):
            kept.setdefault(line.number, line)
    return [kept[number] for number in sorted(kept)]


def text(result: Result) -> str:
    """The timeline, and the state before and after the step that broke it."""
    rows = [f"{line.at_ns / SECOND:10.3f} s  {line.who:<6} {line.text}" for line in chosen(result)]
    rows += ["before:", *(f"  {row}" for row in result.before)] if result.before else []
    rows += ["after:", *(f"  {row}" for row in result.after)] if result.after else []
    return "\n".join(rows)


def svg(result: Result) -> str:
    """A lane for each who, time from top to bottom, arrows from causes."""
    lines = chosen(result)
    lanes = {who: number for number, who in enumerate(dict.fromkeys(line.who for line in lines))}
    states = [*(f"before: {row}" for row in result.before), *(f"after: {row}" for row in result.after)]
    height = MARGIN * 4 + ROW * (len(lines) + len(states) + 1)
    title = result.failure or "all is well"
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH + LANE * len(lanes)}" height="{height}" font-family="monospace" font-size="12">',
        '<defs><marker id="tip" markerWidth="8" markerHeight="8" refX="7" refY="4" orient="auto"><path d="M0 0 L8 4 L0 8 z"/></marker></defs>',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="{MARGIN}" y="{MARGIN}" font-size="14" font-weight="bold">seed {result.scenario.seed}: {escape(title)}</text>',
        *_lanes(lanes, len(lines)),
        *_rows(lines, lanes),
        *_states(states, MARGIN * 3 + ROW * (len(lines) + 1)),
        "</svg>",
        "",
    ])  # fmt: skip


def _lanes(lanes: dict[str, int], rows: int) -> Iterator[str]:
    for who, lane in lanes.items():
        x = MARGIN + LANE * lane
        yield f'<text x="{x}" y="{MARGIN * 2 + 4}" font-weight="bold">{escape(who)}</text>'
        yield f'<line x1="{x + 8}" y1="{MARGIN * 2 + 10}" x2="{x + 8}" y2="{MARGIN * 3 + ROW * rows}" stroke="#ccc"/>'


def _rows(lines: Sequence[Line], lanes: dict[str, int]) -> Iterator[str]:
    at = {line.number: (MARGIN + LANE * lanes[line.who] + 8, MARGIN * 3 + ROW * row) for row, line in enumerate(lines)}
    right = MARGIN + LANE * len(lanes)
    for line in lines:
        x, y = at[line.number]
        if line.cause in at:
            from_x, from_y = at[line.cause]
            yield f'<line x1="{from_x}" y1="{from_y}" x2="{x}" y2="{y - 5}" stroke="#446" marker-end="url(#tip)"/>'
        colour = "#c00" if line.text.startswith("BROKEN") else "#446"
        yield f'<circle cx="{x}" cy="{y}" r="5" fill="{colour}"/>'
        yield f'<text x="{right}" y="{y + 4}" fill="{colour}">{line.at_ns / SECOND:.3f} s  {escape(line.text)}</text>'


def _states(states: Sequence[str], top: int) -> Iterator[str]:
    for row, state in enumerate(states):
        yield f'<text x="{MARGIN}" y="{top + ROW * row}">{escape(state)}</text>'
