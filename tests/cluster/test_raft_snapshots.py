"""The managers' state in a file: saved, looked at, and made a cluster of again after the managers are lost."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

from tests.driver import MANAGER, OWN_SUBNET, WORKER1, Lab, until

KEY = re.compile(r"SWMKEY-1-[A-Za-z0-9+/]{43}")
SECRET = re.compile(r"SWMTKN|SWMKEY|PRIVATE KEY")


def hosts(lab: Lab) -> set[str]:
    rows = lab.rows(MANAGER, "festoon", "node", "ls")
    return {f"{row['Hostname']} {row['Status']} {row['ManagerStatus']}".strip() for row in rows}


def test_a_cluster_whose_managers_are_lost_comes_back_from_a_saved_snapshot(make_lab: Callable[..., Lab], tmp_path: Path) -> None:
    lab, file = make_lab("saved", "--nodes", "2", "--swarm"), str(tmp_path / "saved")
    lab.ok(MANAGER, "festoon", "service", "create", "-d", "--name", "keep", "--mode", "global", "busybox", "sleep", "100000")
    assert until(lambda: len(lab.running("festoon", "keep")) == 2)
    on_worker = {row["ID"] for row in lab.running("festoon", "keep") if row["Node"] == WORKER1}

    said = lab.ok(MANAGER, "festoon", "raft", "snapshot", "save", file)
    (key,) = KEY.findall(said)
    assert said.startswith("Saved the managers' state up to entry ")
    assert not SECRET.search(Path(file).read_bytes().decode("latin-1"))
    shown = lab.on(MANAGER, "festoon", "raft", "snapshot", "inspect", file, stdin=key + "\n").stdout
    assert re.search(r"^service +\S+ +keep$", shown, re.MULTILINE)
    assert re.search(r"^task +\S+ +keep\.\w{25}$", shown, re.MULTILINE)
    whole = lab.on(MANAGER, "festoon", "raft", "snapshot", "inspect", "--format", "json", file, stdin=key + "\n").stdout
    assert {one["kind"] for one in json.loads(whole)["objects"]} == {"cluster", "node", "service", "task", "network"}
    assert not SECRET.search(whole)
    refused = lab.on(MANAGER, "festoon", "raft", "snapshot", "restore", file, stdin=key + "\n")
    assert (refused.returncode, "This node is already part of a swarm." in refused.stderr) == (1, True)

    lab.ok(MANAGER, "festoon", "swarm", "leave", "--force")  # nothing of the managers is left
    lab.ok(MANAGER, "festoon", "swarm", "init")  # nor does another cluster know anything of it
    assert lab.rows(MANAGER, "festoon", "service", "ls") == []
    lab.ok(MANAGER, "festoon", "swarm", "leave", "--force")
    restored = lab.on(MANAGER, "festoon", "raft", "snapshot", "restore", file, stdin=key + "\n")
    assert restored.returncode == 0, restored.stderr
    assert until(lambda: hosts(lab) == {"swarm-manager Down", "swarm-manager Ready Leader", "swarm-worker1 Ready"}), hosts(lab)
    assert until(lambda: len(lab.running("festoon", "keep")) == 2)
    assert on_worker <= {row["ID"] for row in lab.running("festoon", "keep")}, "what ran on a node that lived on was not touched"

    lab.ok(MANAGER, "festoon", "node", "rm", next(row["ID"] for row in lab.rows(MANAGER, "festoon", "node", "ls") if row["Status"] == "Down"))
    token = lab.ok(MANAGER, "festoon", "swarm", "join-token", "-q", "manager").strip()  # as before
    lab.ok(WORKER1, "festoon", "swarm", "leave")
    lab.ok(WORKER1, "festoon", "swarm", "join", "--token", token, f"{OWN_SUBNET}.10:2377")
    assert until(lambda: "swarm-worker1 Ready Reachable" in hosts(lab)), hosts(lab)


def test_a_file_that_is_no_snapshot_not_whole_or_sealed_under_another_key_is_named_in_one_sentence(make_lab: Callable[..., Lab], tmp_path: Path) -> None:
    lab = make_lab("unsaved", "--nodes", "1", "--swarm")
    good, key_file = tmp_path / "good", tmp_path / "key"
    assert f"The key that opens it is in {key_file}." in lab.ok(MANAGER, "festoon", "raft", "snapshot", "save", "--key-file", str(key_file), str(good))
    assert key_file.stat().st_mode & 0o077 == 0
    lab.ok(MANAGER, "festoon", "raft", "snapshot", "save", "--key-file", str(key_file), str(good))  # the next night
    lab.ok(MANAGER, "festoon", "raft", "snapshot", "inspect", "--key-file", str(key_file), str(good))
    lab.ok(MANAGER, "festoon", "swarm", "leave", "--force")
    data, other = good.read_bytes(), tmp_path / "other"
    other.write_text("SWMKEY-1-" + "A" * 43 + "\n")
    bad, nonsense = tmp_path / "bad", tmp_path / "nonsense"
    nonsense.write_text("nonsense\n")
    for content, with_key, sentence in (
        (b"#!/bin/sh\n", key_file, "the file is no snapshot that `raft snapshot save` has written"),
        (data[:40], key_file, "the snapshot is not whole: it ends in its head"),
        (data[:-1], key_file, f"the snapshot is not whole: {len(data) - 1} bytes of {len(data)}"),
        (data[:30] + b"\0" + data[31:], key_file, "the snapshot is damaged: its head is not what was written"),
        (data[:-40] + b"\0" + data[-39:], key_file, "the snapshot is damaged: record 0 does not open with this key"),
        (data, other, "the key does not open the snapshot: it takes the one that was shown when it was saved"),
        (data, nonsense, "invalid key string"),
    ):
        bad.write_bytes(content)
        for verb in ("inspect", "restore"):
            refused = lab.on(MANAGER, "festoon", "raft", "snapshot", verb, "--key-file", str(with_key), str(bad))
            assert (refused.returncode, refused.stderr) == (1, f"{bad}: {sentence}\n"), verb
    bad.write_bytes(b"#!/bin/sh\n")
    without_key = lab.on(MANAGER, "festoon", "raft", "snapshot", "inspect", str(bad))
    assert without_key.stderr == f"{bad}: the file is no snapshot that `raft snapshot save` has written\n"
    upload = ("curl", "-s", "--unix-socket", "/run/festoon/festoon.sock", "-H", f"X-Festoon-Key: {key_file.read_text().strip()}", "--data-binary", f"@{bad}")
    bad.write_bytes(data[:-1])
    assert "the snapshot is not whole" in lab.ok(MANAGER, *upload, "http://node/festoon/raft/snapshot/restore")
    assert "Swarm: inactive" in lab.ok(MANAGER, "festoon", "info")
    lab.ok(MANAGER, "festoon", "swarm", "init")
