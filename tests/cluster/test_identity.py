"""Certificates of a whole cluster: renewed while it runs, and after everybody slept past their expiry."""

from __future__ import annotations

import datetime as dt
import json
import time
from collections.abc import Callable
from pathlib import Path

from cluster.identity import certificates, folder
from tests.cluster.test_survival import kill_all
from tests.driver import MANAGER, OWN_SUBNET, WORKER1, WORKER2, Lab, until
from tests.node.aged import age

LAB_STATE = Path("/var/lib/festoon-lab")


def state(lab: Lab, node: str) -> Path:
    return LAB_STATE / lab.name / node / "state"


def asleep(lab: Lab, nodes: tuple[str, ...], issued_days_ago: float) -> dict[str, str]:
    """Kill what runs on the nodes and give them the certificates of so many days ago: their keys, by node."""
    for node in nodes:
        kill_all(lab, node)
    where = {json.loads((state(lab, node) / "node" / "identity.json").read_text())["node_id"]: state(lab, node) / "node" for node in nodes}
    age(state(lab, MANAGER) / "raft", where, issued_days_ago)
    for node in nodes:
        assert (expiry(lab, node) < time.time()) is (issued_days_ago > 90)
    return {node: folder.load(state(lab, node) / "node").key_pem for node in nodes}


def all_have_renewed(lab: Lab, keys_before: dict[str, str]) -> None:
    for node, old in keys_before.items():
        assert until(lambda n=node, k=old: folder.load(state(lab, n) / "node").key_pem != k), f"{node} did not renew"  # type: ignore[misc]
        assert expiry(lab, node) > time.time() + 80 * 86400


def expiry(lab: Lab, node: str) -> float:
    return certificates.validity(folder.load(state(lab, node) / "node").certificate_pem)[1].timestamp()


def statuses(lab: Lab) -> list[str]:
    done = lab.on(MANAGER, "festoon", "node", "ls", "--format", "{{.Status}}")
    return done.stdout.split() if done.returncode == 0 else []


def test_certificates_are_renewed_while_running_and_after_all_have_slept_past_their_expiry(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab("old", "--nodes", "2", "--swarm")
    for days in (85, 100):  # past eight tenths of its life; past its end
        keys_before = asleep(lab, (MANAGER, WORKER1), days)
        assert lab.festoon("up").returncode == 0
        assert until(lambda: statuses(lab) == ["Ready", "Ready"]), lab.on(MANAGER, "festoon", "node", "ls").stderr
        all_have_renewed(lab, keys_before)
    lab.ok(MANAGER, "festoon", "service", "create", "--detach", "--name", "after", "--mode", "global", "busybox", "sleep", "1000")
    assert until(lambda: len(lab.running("festoon", "after")) == 2)


def test_the_root_is_exchanged_under_a_running_swarm(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab("root", "--nodes", "3")
    lab.ok(MANAGER, "festoon", "swarm", "init")
    old_token = lab.ok(MANAGER, "festoon", "swarm", "join-token", "-q", "worker").strip()
    lab.ok(WORKER1, "festoon", "swarm", "join", "--token", old_token, f"{OWN_SUBNET}.10:2377")
    lab.ok(MANAGER, "festoon", "service", "create", "-d", "--name", "kept", "--replicas", "2", "busybox", "sleep", "1000")
    old_root = lab.ok(MANAGER, "festoon", "swarm", "ca")
    assert lab.on(MANAGER, "festoon", "swarm", "ca", "--cert-expiry", "2h").stderr == "`--cert-expiry` flag requires the `--rotate` flag to update the CA\n"
    assert "not supported" in lab.on(MANAGER, "festoon", "swarm", "ca", "--rotate", "--external-ca", "protocol=cfssl,url=https://x").stderr
    refused = lab.on(MANAGER, "festoon", "swarm", "ca", "--rotate", "--cert-expiry", "20m")
    assert (refused.returncode, refused.stdout, refused.stderr) == (1, "", "Error response from daemon: minimum certificate expiry time is: 1h0m0s\n")
    for grace in ("-1h", "500ms", "200000h"):
        assert lab.on(MANAGER, "festoon", "swarm", "update", "--cert-grace", grace).stderr == "invalid --cert-grace: must be 0, or from 1s to 175200h\n"
    assert until(lambda: len(lab.running("festoon", "kept")) == 2)

    said = lab.ok(MANAGER, "festoon", "swarm", "ca", "--rotate")
    assert "desired root digest: sha256:" in said
    new_root = lab.ok(MANAGER, "festoon", "swarm", "ca")
    assert new_root != old_root
    assert said.endswith(new_root)
    for node in (MANAGER, WORKER1):
        known = folder.load(state(lab, node) / "node")
        assert known.root_pem == new_root
        assert certificates.is_issued_by(known.certificate_pem, new_root)
    refused = lab.on(WORKER2, "festoon", "swarm", "join", "--token", old_token, f"{OWN_SUBNET}.10:2377")
    assert "remote CA does not match fingerprint" in refused.stderr
    token = lab.ok(MANAGER, "festoon", "swarm", "join-token", "-q", "worker").strip()
    lab.ok(WORKER2, "festoon", "swarm", "join", "--token", token, f"{OWN_SUBNET}.10:2377")

    root, key = certificates.new_root(dt.datetime.now(dt.UTC))
    (state(lab, MANAGER) / "own.crt").write_text(root)
    (state(lab, MANAGER) / "own.key").write_text(key)
    own = ("--ca-cert", "/var/lib/festoon/own.crt", "--ca-key", "/var/lib/festoon/own.key")
    assert lab.ok(MANAGER, "festoon", "swarm", "ca", "--rotate", "--quiet", *own) == ""
    assert lab.ok(MANAGER, "festoon", "swarm", "ca") == root
    assert len(lab.running("festoon", "kept")) == 2
    for node in (MANAGER, WORKER1, WORKER2):
        kill_all(lab, node)
    assert lab.festoon("up").returncode == 0
    assert until(lambda: statuses(lab) == ["Ready"] * 3)


def test_three_managers_that_all_slept_past_their_expiry_find_each_other_again(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab("three", "--nodes", "3", "--managers", "3", "--swarm")
    lab.ok(MANAGER, "festoon", "service", "create", "-d", "--name", "kept", "--replicas", "0", "busybox", "true")
    keys_before = asleep(lab, (MANAGER, "swarm-manager2", "swarm-manager3"), 100)
    assert lab.festoon("up").returncode == 0
    assert until(lambda: statuses(lab) == ["Ready"] * 3, 60), lab.on(MANAGER, "festoon", "node", "ls").stderr
    all_have_renewed(lab, keys_before)
    assert [row["Name"] for row in lab.rows("swarm-manager3", "festoon", "service", "ls")] == ["kept"]


def test_a_rotation_takes_the_place_of_one_that_waits_for_a_node_that_is_away(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab("again", "--nodes", "3", "--swarm")
    old_root = lab.ok(MANAGER, "festoon", "swarm", "ca")
    kill_all(lab, WORKER2)
    seen = {issuer(lab, node) for node in (MANAGER, WORKER1)}
    for _ in range(2):  # the second one comes before anybody can have ended the first
        lab.ok(MANAGER, "festoon", "swarm", "ca", "--rotate", "--detach")
        assert until(lambda: {issuer(lab, MANAGER), issuer(lab, WORKER1)}.isdisjoint(seen) and issuer(lab, MANAGER) == issuer(lab, WORKER1))
        seen.add(issuer(lab, MANAGER))
        assert lab.ok(MANAGER, "festoon", "swarm", "ca") == old_root
    assert len(seen) == 3
    wanted = issuer(lab, MANAGER)
    lab.ok(MANAGER, "festoon", "swarm", "ca", "--rotate", "--detach")
    assert lab.festoon("up").returncode == 0
    assert until(lambda: lab.ok(MANAGER, "festoon", "swarm", "ca") != old_root, 60), "the node that came back ends it"
    assert until(lambda: statuses(lab) == ["Ready"] * 3)
    new_root = lab.ok(MANAGER, "festoon", "swarm", "ca")
    assert until(lambda: all(folder.load(state(lab, node) / "node").root_pem == new_root for node in (MANAGER, WORKER1, WORKER2)))
    assert issuer(lab, MANAGER) == issuer(lab, WORKER2) != wanted


def issuer(lab: Lab, node: str) -> str:
    return certificates.issuer_id(folder.load(state(lab, node) / "node").certificate_pem)
