"""A strict reader of Prometheus' text format 0.0.4: whatever the format does not allow is an error."""

from __future__ import annotations

import re
from typing import NamedTuple

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\\\|\\"|\\n)*)"'
SAMPLE = re.compile(rf"({NAME})(?:\{{({LABEL}(?:,{LABEL})*)\}})? (\S+)")
HEAD = re.compile(rf"# HELP ({NAME}) (\S.*)\n# TYPE ({NAME}) (gauge|counter|histogram)\n")
ESCAPED = {"\\\\": "\\", '\\"': '"', "\\n": "\n"}

Labels = tuple[tuple[str, str], ...]


class Family(NamedTuple):
    meaning: str
    kind: str
    samples: dict[tuple[str, Labels], float]


def parse(text: str) -> dict[str, Family]:
    """Families by name. Every one has its HELP and TYPE lines first, all its samples together, no sample twice; a histogram's buckets add up."""
    assert text.startswith("# HELP ")
    assert text.endswith("\n")
    families: dict[str, Family] = {}
    for block in re.split(r"(?m)^(?=# HELP )", text)[1:]:
        head = HEAD.match(block)
        assert head, block
        name, meaning, typed, kind = head.groups()
        assert name == typed
        assert name not in families, name
        families[name] = Family(meaning, kind, {})
        for line in block[head.end() : -1].split("\n"):
            _take(families[name], name, line)
        if kind == "histogram":
            _check_histogram(name, families[name])
    return families


def _take(family: Family, name: str, line: str) -> None:
    match = SAMPLE.fullmatch(line)
    assert match, line
    suffixes = ("_bucket", "_sum", "_count") if family.kind == "histogram" else ("",)
    assert match[1] in {name + suffix for suffix in suffixes}, line
    labels = tuple((key, re.sub(r'\\[\\"n]', lambda found: ESCAPED[found[0]], text)) for key, text in re.findall(LABEL, match[2] or ""))
    assert len(dict(labels)) == len(labels), line
    assert (match[1], labels) not in family.samples, line
    family.samples[match[1], labels] = float(match.groups()[-1])


def _check_histogram(name: str, family: Family) -> None:
    buckets = [(float(dict(labels)["le"]), value) for (sample, labels), value in family.samples.items() if sample == f"{name}_bucket"]
    assert buckets == sorted(buckets)
    assert [value for _, value in buckets] == sorted(value for _, value in buckets)
    assert buckets[-1] == (float("inf"), family.samples[f"{name}_count", ()])
    assert (f"{name}_sum", ()) in family.samples


def value(families: dict[str, Family], sample: str, **labels: str) -> float:
    """Of one sample, its family found by name."""
    name = sample if sample in families else sample.rpartition("_")[0]
    return families[name].samples[sample, tuple(labels.items())]
