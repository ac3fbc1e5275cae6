"""The host's own firewall where it stands in our way: base chains of others that drop what our rules accept. Pure.

In nftables a packet must pass every base chain of a hook: an accept of ours overrides no drop of another table (firewalld, ufw, iptables-nft, a file in
/etc/nftables.conf), and we never change the tables of others. So it is found and named, with the rule that would help. A chain that says anything about us
is given the benefit of the doubt, unless a rule of it drops just our packets. What iptables-legacy holds is not to be seen from here. Source: nft(8),
libnftables-json(5).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from netfabric.firewall.rules import TABLE

_FAMILIES: Final = frozenset({"ip", "inet"})
_HARMLESS: Final = frozenset({"counter", "log", "limit", "xt"})
_ESP: Final = ("esp", 50)  # the protocol's name and number
_DIRECTIONS: Final = {"input": "incoming", "output": "outgoing"}
Objects = Sequence[Mapping[str, Any]]


def drops(ruleset: Objects, bridges: Sequence[str], vxlan_port: int, *, esp: bool = False) -> tuple[str, ...]:
    """One sentence for each chain that drops packets to or from the bridges, (port not 0) the tunnels' packets, or encrypted ones. `ruleset` is
    `nft -j list ruleset`'s."""
    found = []
    for chain in (one["chain"] for one in ruleset if "chain" in one):
        if chain.get("family") not in _FAMILIES or chain.get("type") != "filter" or chain["table"] == TABLE:
            continue
        rules = [one["rule"]["expr"] for one in ruleset if "rule" in one and _of_table(one["rule"], chain)]
        own = [one["rule"]["expr"] for one in ruleset if "rule" in one and _of_table(one["rule"], chain) and one["rule"]["chain"] == chain["name"]]
        name = f"{chain['family']} {chain['table']} {chain['name']}"
        if (direction := _DIRECTIONS.get(str(chain.get("hook")))) is not None:
            for wanted, words, what, cut in ((vxlan_port, (vxlan_port,), "VXLAN", "overlay"), (esp, _ESP, "IPsec", "encrypted")):
                if wanted and _singled_out(own, words):
                    found.append(
                        f"the firewall chain '{name}' has a rule that drops {direction} packets of {what}, and nothing of ours can override it: "
                        f"{cut} networks end at this node until that rule is gone (nft -a list chain {name})"
                    )
        if not _ends_in_drop(chain, own):
            continue
        if chain.get("hook") == "forward" and bridges and not any(_accepts(rule, (*bridges, "dnat")) for rule in rules):
            found.append(
                f"the firewall chain '{name}' drops forwarded packets, and nothing of ours can override it: "
                f'published ports and containers are cut off until it accepts them (nft insert rule {name} oifname "{bridges[0]}" accept)'
            )
        if chain.get("hook") == "input" and vxlan_port and not any(_accepts(rule, (vxlan_port,)) for rule in rules):
            found.append(
                f"the firewall chain '{name}' drops incoming packets, and nothing of ours can override it: "
                f"overlay networks end at this node until it accepts them (nft insert rule {name} udp dport {vxlan_port} accept)"
            )
        if chain.get("hook") == "input" and esp and not any(_accepts(rule, _ESP) for rule in rules):
            found.append(
                f"the firewall chain '{name}' drops incoming packets of IPsec, and nothing of ours can override it: "
                f"encrypted networks end at this node until it accepts them (nft insert rule {name} meta l4proto esp accept)"
            )
    return tuple(found)


def _of_table(rule: Mapping[str, Any], chain: Mapping[str, Any]) -> bool:
    return (rule["family"], rule["table"]) == (chain["family"], chain["table"])


def _ends_in_drop(chain: Mapping[str, Any], rules: Sequence[Sequence[Mapping[str, Any]]]) -> bool:
    """Whether a packet that no other rule takes is dropped."""
    unconditional = [verdict for rule in rules if (verdict := _verdict(rule)) and all(set(e) <= _HARMLESS | {verdict} for e in rule)]
    if unconditional:
        return unconditional[0] in {"drop", "reject"}
    return chain.get("policy") == "drop"


def _singled_out(rules: Sequence[Sequence[Mapping[str, Any]]], words: Sequence[str | int]) -> bool:
    """Whether the first rule that is about just these packets, whoever sends them, drops them."""
    for rule in rules:
        matches = [part["match"] for part in rule if "match" in part]
        if matches and all(one.get("op") == "==" and _mentions(one["right"], words) for one in matches):
            return _verdict(rule) in {"drop", "reject"}
    return False


def _verdict(rule: Sequence[Mapping[str, Any]]) -> str:
    return next((name for part in rule for name in ("accept", "drop", "reject") if name in part), "")


def _accepts(rule: Sequence[Mapping[str, Any]], words: Sequence[str | int]) -> bool:
    """Whether the rule accepts something that it knows by one of these words (an interface, a port, a state)."""
    return _verdict(rule) == "accept" and any(_mentions(part["match"], words) for part in rule if "match" in part)


def _mentions(value: object, words: Sequence[str | int]) -> bool:
    if isinstance(value, dict):
        return any(_mentions(inner, words) for inner in value.values())
    if isinstance(value, list):
        return any(_mentions(inner, words) for inner in value)
    if isinstance(value, str):
        return any(isinstance(word, str) and (value == word or (value.endswith("*") and word.startswith(value[:-1]))) for word in words)
    return not isinstance(value, bool) and isinstance(value, int) and value in words
