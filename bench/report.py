"""Figures, their medians, and how they are shown. Ratios are what to trust: the machine is noisy."""

from __future__ import annotations

import statistics
from collections import defaultdict
from typing import Any


class Report:
    """Samples by (figure, peer); units in the figure's name."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.samples: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))

    def add(self, figure: str, peer: str, value: float) -> None:
        self.samples[figure][peer].append(value)

    def median(self, figure: str, peer: str) -> float | None:
        values = self.samples.get(figure, {}).get(peer)
        return statistics.median(values) if values else None

    def as_json(self) -> dict[str, Any]:
        return {
            "bench": self.name,
            "figures": {
                figure: {peer: {"median": statistics.median(v), "min": min(v), "max": max(v), "runs": len(v)} for peer, v in peers.items()}
                for figure, peers in self.samples.items()
            },
        }


def table(report: Report) -> str:
    """Figure, median (min..max) per peer, and the first peer's median divided by the second's."""
    peers = list(dict.fromkeys(p for by_peer in report.samples.values() for p in by_peer))
    rows = [["figure", *peers, *(["ratio"] if len(peers) > 1 else [])]]
    for figure, by_peer in report.samples.items():
        cells = [figure]
        for peer in peers:
            values = by_peer.get(peer)
            cells.append(f"{statistics.median(values):.2f} ({min(values):.2f}..{max(values):.2f})" if values else "-")
        if len(peers) > 1:
            first, second = report.median(figure, peers[0]), report.median(figure, peers[1])
            cells.append(f"{first / second:.2f}" if first is not None and second else "-")
        rows.append(cells)
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
