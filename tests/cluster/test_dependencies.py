"""Secrets and configs in services, by our command line and by the real client: files on a tmpfs, for the nodes that need them, rolled by a new version."""

from __future__ import annotations

from collections.abc import Callable

from tests.cluster.test_health import box_of
from tests.driver import MANAGER, WORKER1, Lab, until

LOOK = "cat /run/secrets/one /etc/conf; stat -c '%a %u %g' /run/secrets/one /run/secrets/two; grep -c ' /run/secrets/one .* tmpfs ' /proc/self/mountinfo"
MOUNTED = ("grep", " /run/festoon/dependencies ", "/proc/self/mountinfo")
SECRET = "hunter-two"  # noqa: S105


def test_a_service_has_its_files_until_it_goes(make_lab: Callable[..., Lab], program: str) -> None:
    lab = make_lab("secret", "--nodes", "2", "--swarm")
    made = lab.on(MANAGER, program, "secret", "create", "one", "-", stdin=SECRET)
    assert made.returncode == 0, made.stderr
    template = '{{ .Service.Name }} {{ env "A" }} {{ secret "one" }}\n'
    assert lab.on(MANAGER, program, "config", "create", "--template-driver", "golang", "conf", "-", stdin=template).returncode == 0
    words = ("--secret", "one", "--secret", "source=one,target=two,uid=7,gid=8,mode=0400", "--config", "source=conf,target=/etc/conf", "-e", "A=b")
    here = ("--constraint", f"node.hostname=={MANAGER}")
    lab.ok(MANAGER, program, "service", "create", "-d", "-q", "--name", "web", *here, *words, "busybox", "sleep", "100000")
    assert until(lambda: lab.running("festoon", "web"))
    assert lab.ok(MANAGER, "festoon", "exec", box_of(lab, "web"), "sh", "-c", LOOK) == f"{SECRET}web b {SECRET}\n444 0 0\n400 7 8\n1\n"
    assert SECRET not in lab.ok(MANAGER, program, "secret", "inspect", "one") + lab.ok(MANAGER, "festoon", "raft", "log")
    assert "secret 'one' is in use by the following service: web" in lab.on(MANAGER, program, "secret", "rm", "one").stderr
    assert lab.on(MANAGER, *MOUNTED).returncode == 0
    assert lab.on(WORKER1, *MOUNTED).returncode == 1, "a node without such a task has nothing of it"
    lab.ok(MANAGER, program, "service", "rm", "web")
    assert until(lambda: lab.on(MANAGER, *MOUNTED).returncode == 1), "nothing of it stays"
    lab.ok(MANAGER, program, "secret", "rm", "one")
    lab.ok(MANAGER, program, "config", "rm", "conf")


def test_a_new_version_rolls_the_services_that_use_it_and_no_other(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab("secret", "--nodes", "1", "--swarm")
    assert lab.on(MANAGER, "festoon", "secret", "create", "-l", "k=v", "key", "-", stdin="first").returncode == 0
    services: tuple[tuple[str, tuple[str, ...]], ...] = (("uses", ("--secret", "source=key,target=it")), ("other", ()))
    for name, more in services:
        lab.ok(MANAGER, "festoon", "service", "create", "-q", "--verify", "0s", "--name", name, *more, "busybox", "sleep", "100000")
    other = box_of(lab, "other")
    assert lab.ok(MANAGER, "festoon", "exec", box_of(lab, "uses"), "cat", "/run/secrets/it") == "first"
    rolled = lab.on(MANAGER, "festoon", "secret", "update", "-q", "--verify", "0s", "key", "-", stdin="second")
    assert rolled.returncode == 0, rolled.stderr
    assert rolled.stdout.splitlines()[1:] == ["uses"]
    assert lab.ok(MANAGER, "festoon", "exec", box_of(lab, "uses"), "cat", "/run/secrets/it") == "second"
    assert box_of(lab, "other") == other
    assert {row["Name"] for row in lab.rows(MANAGER, "festoon", "secret", "ls")} == {"key", "key.2"}
    missing = lab.on(MANAGER, "festoon", "secret", "update", "nosuch", "-", stdin="x")
    assert (missing.returncode, missing.stderr) == (1, "secret not found: nosuch\n")


def test_more_than_one_message_holds_is_listed_whole(make_lab: Callable[..., Lab], program: str) -> None:
    lab = make_lab("secret", "--nodes", "1", "--swarm")
    for number in range(5):
        assert lab.on(MANAGER, "festoon", "config", "create", f"large{number}", "-", stdin="x" * 950_000).returncode == 0
    assert len(lab.rows(MANAGER, program, "config", "ls")) == 5
    lab.ok(MANAGER, program, "service", "create", "-d", "-q", "--name", "many", "--replicas", "12000", "--constraint", "node.labels.no==1", "busybox")
    assert until(lambda: len(lab.ok(MANAGER, "festoon", "service", "ps", "-q", "many").split()) == 12_000)
    (row,) = lab.rows(MANAGER, program, "service", "ls")
    assert row["Replicas"] == "0/12000"
