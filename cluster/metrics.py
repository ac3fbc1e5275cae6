"""Measured values as text for Prometheus: the exposition format 0.0.4, and the histogram that is counted into. Pure: knows no metric's meaning, reads no clock.

Source: Prometheus, "Exposition formats"; the buckets are its client libraries' default ones, as in Docker.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from typing import Final

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

BOUNDS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of a histogram's buckets; what is longer goes into one more."""

Labels = Mapping[str, str]
NO_LABELS: Final[Labels] = {}


class Histogram:
    """How long something took, counted by bucket. Its size never grows."""

    __slots__ = ("counts", "sum_s")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_S) + 1)
        self.sum_s = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(BOUNDS_S, seconds)] += 1
        self.sum_s += seconds


def gauge(name: str, meaning: str, samples: Iterable[tuple[Labels, float]]) -> str:
    """One family: its HELP and TYPE lines and a line for each sample."""
    return _head(name, meaning, "gauge") + "".join(_sample(name, labels, value) for labels, value in samples)


def histogram(name: str, meaning: str, measured: Histogram) -> str:
    """One family, its buckets counted up as the format wants it."""
    lines = [_head(name, meaning, "histogram")]
    total = 0
    for bound, count in zip((*(f"{bound:g}" for bound in BOUNDS_S), "+Inf"), measured.counts, strict=True):
        total += count
        lines.append(_sample(f"{name}_bucket", {"le": bound}, total))
    lines += [_sample(f"{name}_sum", NO_LABELS, measured.sum_s), _sample(f"{name}_count", NO_LABELS, total)]
    return "".join(lines)


def _head(name: str, meaning: str, kind: str) -> str:
    return f"# HELP {name} {_escaped(meaning)}\n# TYPE {name} {kind}\n"


def _sample(name: str, labels: Labels, value: float) -> str:
    inner = ",".join(f'{key}="{_escaped(text, quotes=True)}"' for key, text in labels.items())
    return f"{name}{{{inner}}} {value!r}\n" if inner else f"{name} {value!r}\n"


def _escaped(text: str, *, quotes: bool = False) -> str:
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    return text.replace('"', '\\"') if quotes else text
