"""The picture of a path: well-formed whatever a hop says, a box per hop in order."""

from __future__ import annotations

import itertools
import xml.etree.ElementTree as ElementTree

from cli.path_picture import svg

HOPS = (
    {"where": "node1", "what": "nat chain DOCKER-INGRESS", "detail": "tcp dport 8080 dnat to <172.18.0.2> & on", "packets": 3},
    {"where": "ingress_sbox", "what": "mark 0x100", "detail": "missing", "packets": None},
    {"where": "1-abc", "what": "overlay", "detail": "\n".join(f"line {n}" for n in range(40)), "packets": None},
)


def test_every_hop_is_a_box_in_its_order() -> None:
    root = ElementTree.fromstring(svg("A packet to port <8080>", HOPS))
    texts = [text.text or "" for text in root.iter("{http://www.w3.org/2000/svg}text")]
    heads = [text for text in texts if text[:2] in {"1.", "2.", "3."}]
    assert heads == ["1. node1: nat chain DOCKER-INGRESS  [3]", "2. ingress_sbox: mark 0x100", "3. 1-abc: overlay"]
    assert "tcp dport 8080 dnat to <172.18.0.2> & on" in texts
    assert "... 33 more" in texts
    assert len([r for r in root.iter("{http://www.w3.org/2000/svg}rect") if r.get("fill") == "#fdd"]) == 1


def test_a_long_rule_is_whole_and_the_picture_as_wide() -> None:
    rule = "rule ip festoon POSTROUTING: " + "x" * 160
    root = ElementTree.fromstring(svg("x", ({"where": "node1", "what": "node", "detail": rule},)))
    assert rule in [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert int(root.get("width") or 0) > 7 * len(rule)


def test_boxes_do_not_overlap() -> None:
    root = ElementTree.fromstring(svg("x", HOPS))
    boxes = [(int(r.get("y") or 0), int(r.get("height") or 0)) for r in root.iter("{http://www.w3.org/2000/svg}rect") if r.get("rx")]
    assert all(y + height < after for (y, height), (after, _) in itertools.pairwise(boxes))
    assert boxes[-1][0] + boxes[-1][1] <= int(root.get("height") or 0)
