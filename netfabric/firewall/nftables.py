"""nftables tables as values, and the text of a transaction that turns one into another.

Pure. Owns the order in which chains, maps, rules and elements may come and go within one transaction; what the
rules say is firewall/rules.py's and ingress's business. A chain is replaced as a whole: its rules' counters start
again, those of other chains go on. Source: nft(8).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Pick:
    """How a rule picks a server: by turns, or with a seed by the hash of the client's address."""

    addresses: tuple[str, ...]
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Chain:
    """`hook` is the text of a base chain ("type nat hook prerouting priority dstnat; policy accept;"), empty for
    one that is jumped to. `pick` says what the only rule of a service's chain says, for who need not read its text.
    """

    name: str
    rules: tuple[str, ...] = ()
    hook: str = ""
    pick: Pick | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Map:
    """A named map. `kind` is "type mark : verdict;". `known` is False for an observed map whose elements are not
    what was wanted.
    """

    name: str
    kind: str
    elements: frozenset[tuple[str, str]] = frozenset()
    known: bool = True


@dataclass(frozen=True, slots=True)
class Table:
    name: str
    chains: tuple[Chain, ...] = ()
    maps: tuple[Map, ...] = ()
    family: str = "ip"


def whole(table: Table) -> str:
    """Commands that make this table, in place of any of that name."""
    target = f"{table.family} {table.name}"
    return "\n".join([f"add table {target}", f"delete table {target}", f"add table {target}", *_from_nothing(table), ""])


def changes(before: Table | None, after: Table | None) -> str:
    """Commands, to be run as one transaction, that turn `before` into `after`; empty when there is nothing to do."""
    if before == after:
        return ""
    if after is None:
        assert before is not None
        return f"delete table {before.family} {before.name}\n"
    if before is None:
        return whole(after)
    return "".join(f"{line}\n" for line in _turned(before, after))


def repicked(before: Table, after: Table) -> tuple[Chain, ...]:
    """The chains of services that get other servers, where nothing else changes; empty otherwise."""
    if len(before.chains) != len(after.chains) or before.maps != after.maps:
        return ()
    changed = [(old, new) for old, new in zip(before.chains, after.chains, strict=True) if old is not new and old != new]
    if any(new.pick is None or (old.name, old.hook) != (new.name, new.hook) for old, new in changed):
        return ()
    return tuple(new for _, new in changed)


def refilled(table: Table, chains: Sequence[Chain]) -> str:
    """Commands that replace the rules of these chains of a table."""
    target = f"{table.family} {table.name}"
    return "".join(f"flush chain {target} {chain.name}\n" + "".join(f"add rule {target} {chain.name} {rule}\n" for rule in chain.rules) for chain in chains)


def _from_nothing(table: Table) -> Iterator[str]:
    yield from _turned(Table(table.name, family=table.family), table)


def _turned(before: Table, after: Table) -> Iterator[str]:
    target = f"{after.family} {after.name}"
    chains_before, chains_after = {c.name: c for c in before.chains}, {c.name: c for c in after.chains}
    maps_before, maps_after = {m.name: m for m in before.maps}, {m.name: m for m in after.maps}
    remade = {n for n, c in chains_after.items() if n in chains_before and chains_before[n].hook != c.hook}
    gone = {n for n in chains_before if n not in chains_after} | remade
    made = {n for n in chains_after if n not in chains_before} | remade
    filled = {n for n, c in chains_after.items() if n in made or chains_before[n].rules != c.rules}
    maps_gone = {n for n, m in maps_before.items() if n not in maps_after or maps_after[n].kind != m.kind}

    for name, old in maps_before.items():
        yield from _elements_dropped(target, old, None if name in maps_gone else maps_after[name])
    for name in chains_before:
        if name in gone or name in filled:
            yield f"flush chain {target} {name}"
    yield from (f"delete map {target} {name}" for name in maps_before if name in maps_gone)
    yield from (f"delete chain {target} {name}" for name in chains_before if name in gone)
    for name, chain in chains_after.items():
        if name in made:
            yield f"add chain {target} {name}" + (f" {{ {chain.hook} }}" if chain.hook else "")
    for name, wanted in maps_after.items():
        if name not in maps_before or name in maps_gone:
            yield f"add map {target} {name} {{ {wanted.kind} }}"
    for name, chain in chains_after.items():
        if name in filled:
            yield from (f"add rule {target} {name} {rule}" for rule in chain.rules)
    for name, wanted in maps_after.items():
        yield from _elements_added(target, None if name in maps_gone else maps_before.get(name), wanted)


def _elements_dropped(target: str, before: Map, after: Map | None) -> Iterator[str]:
    if after is None or not before.known:
        yield f"flush map {target} {before.name}"
    elif dropped := before.elements - after.elements:
        yield f"delete element {target} {before.name} {{ {', '.join(sorted(key for key, _ in dropped))} }}"


def _elements_added(target: str, before: Map | None, after: Map) -> Iterator[str]:
    kept = before.elements if before is not None and before.known else frozenset()
    if added := after.elements - kept:
        yield f"add element {target} {after.name} {{ {', '.join(f'{key} : {value}' for key, value in sorted(added))} }}"


Blocks = Mapping[tuple[str, str], tuple[str, ...]]
"""A listing cut up: ("chain", name) -> its lines, in nft's own spelling."""


def blocks(listing: str) -> Blocks:
    """Cuts what `nft --stateless list table` prints into its chains and maps."""
    found: dict[tuple[str, str], tuple[str, ...]] = {}
    current: tuple[str, str] | None = None
    lines: list[str] = []
    for line in listing.splitlines():
        if line.startswith("\t") and line[1:2] not in {"\t", "}"} and line.endswith("{"):
            kind, name = line.split()[:2]
            current, lines = (kind, name), []
        elif line == "\t}" and current is not None:
            found[current] = tuple(lines)
            current = None
        elif current is not None:
            lines.append(line.strip())
    return found


def recognised(wanted: Table, canonical: Blocks, observed: Blocks) -> Table:
    """The observed table in the words of the wanted one.

    `canonical` is the wanted table as the kernel spells it, `observed` what is there. What agrees is the wanted
    value itself; what does not is kept under its name with the lines that were seen, so that a diff replaces it.
    """
    chains = {c.name: c for c in wanted.chains}
    maps = {m.name: m for m in wanted.maps}
    seen_chains: list[Chain] = []
    seen_maps: list[Map] = []
    for (kind, name), lines in observed.items():
        same = canonical.get((kind, name)) == lines
        if kind == "chain":
            based = bool(lines) and lines[0].startswith("type ")
            if same:
                seen_chains.append(chains[name])
            elif name in chains and canonical[kind, name][:1] == lines[:1] and based:
                seen_chains.append(Chain(name, lines[1:], chains[name].hook))
            else:
                seen_chains.append(Chain(name, lines[1:], lines[0]) if based else Chain(name, lines))
        elif kind == "map":
            kind_text = lines[0] + ";" if lines else ""
            seen_maps.append(maps[name] if same else Map(name, kind_text, known=False))
    return Table(wanted.name, tuple(seen_chains), tuple(seen_maps), wanted.family)
