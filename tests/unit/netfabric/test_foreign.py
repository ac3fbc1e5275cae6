"""Which chains of a host's own firewall are named, from rulesets as `nft -j` gives them."""

from __future__ import annotations

from typing import Any

import pytest

from netfabric.firewall.foreign import drops

ACCEPT: dict[str, Any] = {"accept": None}


def chain(hook: str, policy: str = "accept", table: str = "filter") -> dict[str, Any]:
    return {"chain": {"family": "ip", "table": table, "name": hook.upper(), "type": "filter", "hook": hook, "prio": 0, "policy": policy}}


def rule(hook: str, *expressions: dict[str, Any]) -> dict[str, Any]:
    return {"rule": {"family": "ip", "table": "filter", "chain": hook.upper(), "expr": list(expressions)}}


def match(left: dict[str, Any], right: object) -> dict[str, Any]:
    return {"match": {"op": "==", "left": left, "right": right}}


OUT = {"meta": {"key": "oifname"}}
PORT = {"payload": {"protocol": "udp", "field": "dport"}}


@pytest.mark.parametrize(
    "ruleset",
    [
        [chain("forward")],
        [chain("forward", "drop", table="festoon")],
        [chain("forward", "drop"), rule("forward", match(OUT, "docker_gwbridge"), ACCEPT)],
        [chain("forward", "drop"), rule("forward", match(OUT, "docker*"), ACCEPT)],
        [chain("forward", "drop"), rule("forward", match({"ct": {"key": "status"}}, "dnat"), ACCEPT)],
        [chain("forward", "drop"), rule("forward", {"counter": {"packets": 0}}, ACCEPT)],
        [chain("input", "drop"), rule("input", match(PORT, {"set": [22, 4789]}), ACCEPT)],
    ],
)
def test_a_firewall_that_lets_us_through_is_not_named(ruleset: list[dict[str, Any]]) -> None:
    assert drops(ruleset, ("docker_gwbridge",), 4789) == ()


def test_a_policy_of_drop_is_named_with_what_would_help() -> None:
    (sentence,) = drops([chain("forward", "drop"), rule("forward", match(OUT, "eth0"), ACCEPT)], ("docker_gwbridge",), 4789)
    assert "'ip filter FORWARD' drops forwarded packets" in sentence
    assert '(nft insert rule ip filter FORWARD oifname "docker_gwbridge" accept)' in sentence
    assert drops([chain("forward", "drop")], (), 0) == ()


def test_a_last_rule_that_rejects_everything_is_named() -> None:
    last = rule("input", {"counter": {"packets": 3}}, {"reject": {"type": "icmpx"}})
    (sentence,) = drops([chain("input"), rule("input", match(PORT, 53), ACCEPT), last], (), 4789)
    assert "udp dport 4789 accept" in sentence
    assert drops([chain("input"), last], (), 0) == ()


def test_what_drops_the_packets_of_ipsec_is_named_where_networks_are_encrypted() -> None:
    open_port = [chain("input", "drop"), rule("input", match(PORT, 4789), ACCEPT)]
    (sentence,) = drops(open_port, (), 4789, esp=True)
    assert "(nft insert rule ip filter INPUT meta l4proto esp accept)" in sentence
    for said in ("esp", 50):
        assert drops([*open_port, rule("input", match({"payload": {"protocol": "ip", "field": "protocol"}}, said), ACCEPT)], (), 4789, esp=True) == ()


ESP = {"payload": {"protocol": "ip", "field": "protocol"}}
FROM = {"payload": {"protocol": "ip", "field": "saddr"}}
DROP: dict[str, Any] = {"drop": None}


@pytest.mark.parametrize(("hook", "direction"), [("input", "incoming"), ("output", "outgoing")])
def test_a_rule_that_drops_just_our_packets_is_named_where_the_rest_is_let_through(hook: str, direction: str) -> None:
    for said in ("esp", 50, {"set": ["esp", "ah"]}):
        ruleset = [chain(hook), rule(hook, match(ESP, said), {"counter": {"packets": 0}}, DROP)]
        (sentence,) = drops(ruleset, (), 4789, esp=True)
        assert f"has a rule that drops {direction} packets of IPsec" in sentence
        assert f"(nft -a list chain ip filter {hook.upper()})" in sentence
        assert drops(ruleset, (), 4789) == ()  # nothing here is encrypted
    (sentence,) = drops([chain(hook), rule(hook, match(PORT, 4789), DROP)], (), 4789, esp=True)
    assert f"has a rule that drops {direction} packets of VXLAN" in sentence


@pytest.mark.parametrize(
    "rules",
    [
        [rule("input", match(ESP, "esp"), ACCEPT), rule("input", match(ESP, "esp"), DROP)],
        [rule("input", match(FROM, "192.0.2.1"), match(ESP, "esp"), DROP)],
        [rule("input", {"match": {"op": "!=", "left": ESP, "right": "esp"}}, DROP)],
        [rule("input", match(ESP, "ah"), DROP)],
    ],
)
def test_a_rule_that_is_about_others_is_not_named(rules: list[dict[str, Any]]) -> None:
    assert drops([chain("input"), *rules], (), 4789, esp=True) == ()
