"""Transactions between tables, and listings read back."""

from __future__ import annotations

from netfabric.firewall.nftables import Chain, Map, Pick, Table, blocks, changes, recognised, refilled, repicked, whole

BASE = Chain("PREROUTING", ("jump A",), "type nat hook prerouting priority dstnat; policy accept;")
TABLE = Table("t", (Chain("A", ("counter accept",)), BASE))


def lines(before: Table | None, after: Table | None) -> list[str]:
    return changes(before, after).splitlines()


def test_a_whole_table_replaces_what_has_its_name() -> None:
    assert whole(TABLE).splitlines() == [
        "add table ip t",
        "delete table ip t",
        "add table ip t",
        "add chain ip t A",
        "add chain ip t PREROUTING { type nat hook prerouting priority dstnat; policy accept; }",
        "add rule ip t A counter accept",
        "add rule ip t PREROUTING jump A",
    ]


def test_equal_tables_need_no_transaction() -> None:
    assert changes(TABLE, Table("t", TABLE.chains)) == ""
    assert changes(None, None) == ""


def test_a_table_goes_whole() -> None:
    assert lines(TABLE, None) == ["delete table ip t"]


def test_a_changed_chain_leaves_the_others_and_their_counters_alone() -> None:
    after = Table("t", (Chain("A", ("counter drop",)), BASE))
    assert lines(TABLE, after) == ["flush chain ip t A", "add rule ip t A counter drop"]


def test_a_changed_hook_makes_the_chain_anew() -> None:
    hook = "type nat hook prerouting priority -90; policy accept;"
    after = Table("t", (TABLE.chains[0], Chain("PREROUTING", ("jump A",), hook)))
    assert lines(TABLE, after) == [
        "flush chain ip t PREROUTING",
        "delete chain ip t PREROUTING",
        f"add chain ip t PREROUTING {{ {hook} }}",
        "add rule ip t PREROUTING jump A",
    ]


def test_elements_come_and_go_one_by_one() -> None:
    chains = (Chain("A"), Chain("B"), Chain("C"))
    before = Table("t", chains, (Map("m", "type mark : verdict;", frozenset({("0x100", "goto A"), ("0x101", "goto B")})),))
    after = Table("t", chains, (Map("m", "type mark : verdict;", frozenset({("0x100", "goto A"), ("0x102", "goto C")})),))
    assert lines(before, after) == ["delete element ip t m { 0x101 }", "add element ip t m { 0x102 : goto C }"]


def test_an_element_is_gone_before_the_chain_that_it_names() -> None:
    before = Table("t", (Chain("A"),), (Map("m", "type mark : verdict;", frozenset({("0x100", "goto A")})),))
    after = Table("t", (), (Map("m", "type mark : verdict;"),))
    assert lines(before, after) == ["delete element ip t m { 0x100 }", "flush chain ip t A", "delete chain ip t A"]


def test_a_map_of_unknown_content_is_filled_anew() -> None:
    before = Table("t", (Chain("A"),), (Map("m", "type mark : verdict;", known=False),))
    after = Table("t", (Chain("A"),), (Map("m", "type mark : verdict;", frozenset({("0x100", "goto A")})),))
    assert lines(before, after) == ["flush map ip t m", "add element ip t m { 0x100 : goto A }"]


LISTING = """table ip t {
\tmap m {
\t\ttype mark : verdict
\t\telements = { 0x00000100 : goto A,
\t\t\t     0x00000101 : goto B }
\t}

\tchain A {
\t\tcounter accept
\t}

\tchain PREROUTING {
\t\ttype nat hook prerouting priority dstnat; policy accept;
\t\tjump A
\t}
}
"""


def test_a_listing_is_cut_into_chains_and_maps() -> None:
    cut = blocks(LISTING)
    assert set(cut) == {("map", "m"), ("chain", "A"), ("chain", "PREROUTING")}
    assert cut["chain", "A"] == ("counter accept",)
    assert cut["map", "m"][-1] == "0x00000101 : goto B }"


def test_what_agrees_is_recognised_as_what_was_wanted() -> None:
    wanted = Table("t", TABLE.chains, (Map("m", "type mark : verdict;", frozenset({("0x100", "goto A")})),))
    seen = recognised(wanted, blocks(LISTING), blocks(LISTING))
    assert {c.name: c for c in seen.chains} == {c.name: c for c in wanted.chains}
    assert seen.maps == wanted.maps


def test_a_lost_rule_a_foreign_chain_and_another_element_are_mended() -> None:
    wanted = Table("t", TABLE.chains, (Map("m", "type mark : verdict;", frozenset({("0x100", "goto A")})),))
    damaged = LISTING.replace("\t\tcounter accept\n", "").replace("0x00000100", "0x00000999")
    damaged = damaged[:-2] + "\tchain X {\n\t\taccept\n\t}\n}\n"
    commands = lines(recognised(wanted, blocks(LISTING), blocks(damaged)), wanted)
    assert commands == [
        "flush map ip t m",
        "flush chain ip t A",
        "flush chain ip t X",
        "delete chain ip t X",
        "add rule ip t A counter accept",
        "add element ip t m { 0x100 : goto A }",
    ]


def picked(*addresses: str) -> Chain:
    return Chain("FWM-256", (f"counter dnat to {' or '.join(addresses)}",), pick=Pick(addresses))


def test_services_that_only_get_other_servers_are_told() -> None:
    before, after = Table("t", (picked("10.0.0.1", "10.0.0.2"), BASE)), Table("t", (picked("10.0.0.1"), BASE))
    assert repicked(before, after) == (picked("10.0.0.1"),)
    assert refilled(after, repicked(before, after)) == changes(before, after)


def test_with_any_other_change_none_are() -> None:
    before, after = picked("10.0.0.1"), picked("10.0.0.2")
    vmap = Map("m", "type mark : verdict;")
    assert repicked(Table("t", (before, BASE)), Table("t", (after, Chain("PREROUTING", ("jump B",), BASE.hook)))) == ()
    assert repicked(Table("t", (before,)), Table("t", (after, BASE))) == ()
    assert repicked(Table("t", (before,)), Table("t", (after,), (vmap,))) == ()
    assert repicked(Table("t", (before,)), Table("t", (before,))) == ()
