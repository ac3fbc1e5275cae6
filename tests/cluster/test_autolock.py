"""A swarm whose managers are locked: what is said, who gets in, what a kill -9 leaves."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from cluster.identity import folder, seal_socket
from cluster.identity.sealed_key import KeySealed
from tests.cluster.test_identity import state
from tests.cluster.test_survival import kill, kill_all, pids
from tests.driver import MANAGER, Lab, until

LOCKED = 'Swarm is encrypted and needs to be unlocked before it can be used. Please use "docker swarm unlock" to unlock it.'
KEY = re.compile(r"SWMKEY-1-[A-Za-z0-9+/]{43}")


def is_locked(lab: Lab, node: str = MANAGER) -> bool:
    return "Swarm: locked" in lab.on(node, "festoon", "info").stdout


def all_reachable(lab: Lab) -> bool:
    """Whether the leader hears both of the others: a manager that came up just now may not be heard yet, and none is demoted meanwhile."""
    return lab.on(MANAGER, "festoon", "node", "ls", "--format", "{{.ManagerStatus}}").stdout.split().count("Reachable") == 2


def test_a_locked_swarm_opens_with_its_key_only(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab("lock", "--nodes", "1")
    said = lab.ok(MANAGER, "festoon", "swarm", "init", "--autolock")
    (first,) = KEY.findall(said)
    assert lab.ok(MANAGER, "festoon", "swarm", "unlock-key", "-q").strip() == first
    open_already = lab.on(MANAGER, "festoon", "swarm", "unlock", stdin=first + "\n")
    assert (open_already.returncode, open_already.stderr) == (1, "Error: swarm is not locked\n")
    lab.ok(MANAGER, "festoon", "service", "create", "-d", "--name", "kept", "--replicas", "0", "busybox", "true")

    where = state(lab, MANAGER) / "node"
    assert folder.is_sealed(where)
    kill(pids(lab, MANAGER, "manager"))
    assert until(lambda: is_locked(lab))
    for command in (("node", "ls"), ("service", "ls"), ("swarm", "unlock-key"), ("swarm", "update", "--autolock=false")):
        refused = lab.on(MANAGER, "festoon", *command)
        assert (refused.returncode, refused.stderr.removeprefix("could not fetch unlock key: ")) == (1, f"Error response from daemon: {LOCKED}\n")
    assert "Swarm is encrypted and locked" in lab.on(MANAGER, "festoon", "swarm", "leave").stderr
    wrong = lab.on(MANAGER, "festoon", "swarm", "unlock", stdin=first[:-3] + "AAA\n")
    assert (wrong.returncode, wrong.stderr) == (1, "Error response from daemon: swarm could not be unlocked: invalid key provided\n")
    assert "invalid key string" in lab.on(MANAGER, "festoon", "swarm", "unlock", stdin="nonsense\n").stderr
    assert is_locked(lab)
    opened = lab.on(MANAGER, "festoon", "swarm", "unlock", stdin=first + "\n")
    assert (opened.returncode, opened.stdout, opened.stderr) == (0, "", "")
    assert until(lambda: lab.on(MANAGER, "festoon", "service", "ls", "-q").returncode == 0)
    assert lab.rows(MANAGER, "festoon", "service", "ls")[0]["Name"] == "kept"

    rotated = lab.ok(MANAGER, "festoon", "swarm", "unlock-key", "--rotate")
    (second,) = KEY.findall(rotated)
    assert rotated.startswith("Successfully rotated manager unlock key.\n")
    assert second != first
    kill_all(lab, MANAGER)
    assert lab.festoon("up").returncode == 0
    assert until(lambda: is_locked(lab))
    with pytest.raises(KeySealed):
        folder.load(where)
    assert LOCKED in lab.on(MANAGER, "festoon", "node", "ls").stderr
    assert lab.on(MANAGER, "festoon", "swarm", "unlock", stdin=first + "\n").returncode == 1
    assert lab.on(MANAGER, "festoon", "swarm", "unlock", stdin=second + "\n").returncode == 0

    assert lab.rows(MANAGER, "festoon", "service", "ls")[0]["Name"] == "kept"
    key = folder.load(where, seal_socket.ask(where.with_name("raft"))).key_pem
    kill(pids(lab, MANAGER, "node"))
    assert until(lambda: lab.on(MANAGER, "festoon", "service", "ls", "-q").returncode != 0)
    assert lab.festoon("up").returncode == 0
    assert until(lambda: lab.on(MANAGER, "festoon", "service", "ls", "-q").returncode == 0), "its manager lives on"
    lab.ok(MANAGER, "festoon", "swarm", "ca", "--rotate", "-q", timeout_s=90)
    assert folder.is_sealed(where)
    assert folder.load(where, seal_socket.ask(where.with_name("raft"))).key_pem != key

    assert lab.ok(MANAGER, "festoon", "swarm", "update", "--autolock=false") == "Swarm updated.\n"
    none = lab.on(MANAGER, "festoon", "swarm", "unlock-key")
    assert not folder.is_sealed(where)
    assert (none.returncode, none.stderr) == (1, "no unlock key is set\n")
    kill(pids(lab, MANAGER, "manager"))
    assert until(lambda: lab.on(MANAGER, "festoon", "service", "ls", "-q").returncode == 0)
    assert KEY.search(lab.ok(MANAGER, "festoon", "swarm", "update", "--autolock"))

    kill_all(lab, MANAGER)
    assert lab.festoon("up").returncode == 0
    assert until(lambda: is_locked(lab))
    assert lab.ok(MANAGER, "festoon", "swarm", "leave", "--force") == "Node left the swarm.\n"
    assert "Swarm: inactive" in lab.ok(MANAGER, "festoon", "info")
    lab.ok(MANAGER, "festoon", "swarm", "init")
    assert not folder.is_sealed(where)


def test_who_is_demoted_in_a_locked_swarm_comes_back_without_a_key_and_who_is_promoted_again_does_not(make_lab: Callable[..., Lab]) -> None:
    lab, second = make_lab("lockdown", "--nodes", "3", "--managers", "3", "--swarm"), "swarm-manager2"
    (key,) = KEY.findall(lab.ok(MANAGER, "festoon", "swarm", "update", "--autolock"))
    where = state(lab, second) / "node"
    assert until(lambda: folder.is_sealed(where))
    managers = (MANAGER, second, "swarm-manager3")
    agents = [pids(lab, node, "node") for node in managers]
    for node in managers:
        kill(pids(lab, node, "manager"))
    assert until(lambda: all(is_locked(lab, node) for node in managers))
    assert [pids(lab, node, "node") for node in managers] == agents, "who never had to know what its key is sealed under goes on"
    for node in managers:
        assert lab.on(node, "festoon", "swarm", "unlock", stdin=key + "\n").returncode == 0
    assert until(lambda: all_reachable(lab))
    lab.ok(MANAGER, "festoon", "node", "demote", second)
    assert until(lambda: not pids(lab, second, "manager"))
    assert until(lambda: not folder.is_sealed(where)), "no manager process opens it any more"
    kill_all(lab, second)
    assert lab.festoon("up", "--managers", "3").returncode == 0
    assert until(lambda: "Is Manager: false" in lab.on(second, "festoon", "info").stdout)
    lab.ok(MANAGER, "festoon", "node", "promote", second)
    assert until(lambda: lab.on(second, "festoon", "node", "ls").returncode == 0)
    assert until(lambda: folder.is_sealed(where))
    kill_all(lab, second)
    assert lab.festoon("up", "--managers", "3").returncode == 0
    assert until(lambda: is_locked(lab, second))
    assert lab.on(second, "festoon", "swarm", "unlock", stdin=key + "\n").returncode == 0
    assert until(lambda: lab.on(second, "festoon", "node", "ls").returncode == 0)


def test_a_majority_that_is_lost_for_good_is_replaced_by_who_brings_the_key(make_lab: Callable[..., Lab]) -> None:
    lab, others = make_lab("lockforce", "--nodes", "3", "--managers", "3", "--swarm"), ("swarm-manager2", "swarm-manager3")
    (key,) = KEY.findall(lab.ok(MANAGER, "festoon", "swarm", "update", "--autolock"))
    lab.ok(MANAGER, "festoon", "service", "create", "-d", "--name", "kept", "--replicas", "0", "busybox", "true")
    assert until(lambda: folder.is_sealed(state(lab, MANAGER) / "node"))
    for node in others:
        kill_all(lab, node)
    refused = lab.on(MANAGER, "festoon", "swarm", "init", "--force-new-cluster")
    assert (refused.returncode, refused.stderr) == (1, f"Error response from daemon: {LOCKED}\n")
    wrong = lab.on(MANAGER, "festoon", "swarm", "unlock", stdin=key[:-3] + "AAA\n")
    assert (wrong.returncode, wrong.stderr) == (1, "Error response from daemon: swarm could not be unlocked: invalid key provided\n")
    opened = lab.on(MANAGER, "festoon", "swarm", "unlock", stdin=key + "\n")
    assert (opened.returncode, opened.stderr) == (0, "")
    assert until(lambda: lab.on(MANAGER, "festoon", "service", "ls", "-q").returncode == 0), "it leads alone"
    assert [row["Name"] for row in lab.rows(MANAGER, "festoon", "service", "ls")] == ["kept"]
    assert lab.ok(MANAGER, "festoon", "swarm", "unlock-key", "-q").strip() == key

    assert lab.festoon("up", "--managers", "3").returncode == 0
    for node in others:
        assert until(lambda n=node: is_locked(lab, n))  # type: ignore[misc]
        assert lab.on(node, "festoon", "swarm", "unlock", stdin=key + "\n").returncode == 0
    assert until(lambda: all_reachable(lab)), "they join anew"
