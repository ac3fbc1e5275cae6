"""Docker's words and a non-zero exit for what can't be, by both programs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.driver import ADDRESS, MANAGER, WORKER1, Lab, until

JOIN_ADDRESS = f"{ADDRESS[MANAGER]}:2377"
NOT_A_TOKEN = "SWMTKN-1-x"

CASES = [  # after a bar: what clients before 23.0 make of the daemon's words
    (MANAGER, ("service", "inspect", "nosuch"), "no such service: nosuch"),
    (MANAGER, ("service", "rm", "nosuch"), "service nosuch not found|No such service: nosuch"),
    (MANAGER, ("service", "ps", "nosuch"), "no such service: nosuch"),
    (MANAGER, ("service", "create", "-d", "--name", "bad name", "busybox"), "name must be valid as a DNS name component"),
    (MANAGER, ("service", "create", "-d", "--name", "x", "--hostname", "{{.Bad}}", "busybox"), "expanding hostname failed: template: expansion:1:2: "),
    (MANAGER, ("service", "create", "-d", "--name", "x", "--env", "A={{.Node.Bad}}", "busybox"), "can't evaluate field Bad in type struct { ID string;"),
    (MANAGER, ("service", "create", "-d", "--name", "x", "--health-interval", "-1s", "busybox"), "duration cannot be negative"),
    (MANAGER, ("service", "create", "-d", "--name", "x", "Busy Box"), '"Busy Box" is not a valid repository/tag'),
    (MANAGER, ("service", "create", "-d", "--name", "x", "--network", "nosuch", "busybox"), "network nosuch not found|No such network: nosuch"),
    (MANAGER, ("service", "create", "-d", "--name", "x", "--mount", "type=bad,target=/x", "busybox"), 'invalid MountType: "bad"'),
    (MANAGER, ("network", "rm", "nosuch"), "network nosuch not found|No such network: nosuch"),
    (MANAGER, ("network", "create", "-d", "overlay", "ingress"), "already exists"),
    (MANAGER, ("swarm", "init"), "This node is already part of a swarm"),
    (WORKER1, ("swarm", "join", "--token", NOT_A_TOKEN, JOIN_ADDRESS), "This node is already part of a swarm"),
    (MANAGER, ("swarm", "leave"), "You are attempting to leave the swarm on a node that is participating as a manager"),
    (WORKER1, ("service", "ls"), "This node is not a swarm manager"),
    (WORKER1, ("service", "create", "busybox"), "This node is not a swarm manager"),
    (MANAGER, ("exec", "nosuch", "true"), "No such container: nosuch"),
    (MANAGER, ("run", "--rm", "--detach-keys", "bad", "busybox", "true"), "unable to upgrade to tcp, received 400|Invalid detach keys (bad)"),
    (MANAGER, ("run", "--rm", "--sysctl", "net.nosuch=1", "busybox", "true"), "during container init: open /proc/sys/net/nosuch: no such file or directory"),
    (MANAGER, ("run", "--rm", "-v", "/tmp:/x:ro,rw", "busybox", "true"), "invalid mode: ro,rw"),
    (MANAGER, ("push", f"busybox@sha256:{'0' * 64}"), "cannot push a digest reference"),
    (MANAGER, ("run", "--rm", "--mount", "type=volume,src=v,dst=/v,volume-subpath=a/../..", "busybox", "true"), "must be a relative path within the volume"),
    (MANAGER, ("rm", "nosuch"), "No such container: nosuch"),
    (MANAGER, ("image", "inspect", "nosuch"), "No such image: nosuch"),
    (MANAGER, ("node", "inspect", "nosuch"), "nosuch"),
]


@pytest.mark.parametrize(("node", "command", "words"), CASES, ids=[" ".join(c).replace(JOIN_ADDRESS, "MANAGER") for _, c, _ in CASES])
def test_a_mistake_gets_dockers_words(lab: Lab, program: str, node: str, command: tuple[str, ...], words: str) -> None:
    done = lab.on(node, program, *command)
    assert done.returncode != 0
    assert any(each.lower() in (done.stdout + done.stderr).lower() for each in words.split("|")), done
    assert "Traceback" not in done.stdout + done.stderr


NAMELESS = [
    (("inspect", ""), "invalid container name or ID: value is empty"),
    (("rm", ""), "container name cannot be empty"),
    (("start", " "), "invalid container name or ID: value is empty"),
    (("diff", ""), "Container name cannot be empty"),
    (("cp", "", "-"), "source can not be empty"),
    (("commit", ""), "invalid container name or ID: value is empty"),
    (("tag", "", "x"), 'Error parsing reference: "" is not a valid repository/tag: invalid reference format'),
    (("image", "inspect", ""), "Error: No such image: "),
    (("network", "rm", ""), "invalid network name or ID: value is empty"),
    (("network", "connect", "bridge", ""), "invalid container name or ID: value is empty"),
    (("volume", "rm", ""), "invalid volume name or ID: value is empty"),
    (("service", "rm", ""), "invalid service name or ID: value is empty"),
    (("service", "ps", ""), "no such service: "),
    (("node", "inspect", ""), "invalid node name or ID: value is empty"),
    (("secret", "rm", ""), "invalid secret name or ID: value is empty"),
]


@pytest.mark.parametrize(
    ("path", "answer"),
    [("containers", '400 {"message":"invalid name or ID supplied: \\"\\""}'), ("images", '400 {"message":"image name cannot be blank"}'),
     ("volumes", '404 {"message":"get : no such volume"}')],
)  # fmt: skip
def test_a_removal_of_nothing_is_refused(lab: Lab, path: str, answer: str) -> None:
    curl = ("curl", "-s", "-w", "%{http_code}", "-X", "DELETE", "--unix-socket", "/run/festoon/festoon.sock")
    body, status = lab.ok(MANAGER, *curl, f"http://d/v1.41/{path}/").rsplit("\n", 1)
    assert f"{status} {body}" == answer


@pytest.mark.parametrize(("command", "words"), NAMELESS, ids=[" ".join(c) for c, _ in NAMELESS])
def test_an_empty_name_is_no_name(lab: Lab, command: tuple[str, ...], words: str) -> None:
    """As of `rm "$(ps -q)"` where nothing runs; what the newest client says."""
    done = lab.on(MANAGER, "festoon", *command)
    assert done.returncode == 1
    assert words in done.stderr.splitlines()


def test_a_name_is_taken_once_and_logs_have_a_number_of_lines(lab: Lab, program: str) -> None:
    lab.ok(MANAGER, program, "service", "create", "-d", "--name", "once", "--replicas", "0", "busybox")
    again = lab.on(MANAGER, program, "service", "create", "-d", "--name", "once", "busybox")
    assert again.returncode == 1
    assert "name conflicts with an existing object: service once already exists" in again.stderr
    for tail, words in (("x", 'tail value must be a positive integer or "all"'), ("-5", "negative tail values not supported")):
        refused = lab.on(MANAGER, program, "service", "logs", "--tail", tail, "once")
        assert (refused.returncode, refused.stderr) == (1, f"Error response from daemon: {words}\n")
    lab.ok(MANAGER, program, "service", "update", "-d", "--tty", "once")
    raw = lab.on(MANAGER, program, "service", "logs", "once")
    assert (raw.returncode, raw.stderr) == (1, "tty service logs only supported with --raw\n")
    lab.ok(MANAGER, program, "service", "rm", "once")


def test_a_missing_image_is_said_in_the_tasks_list(lab: Lab, program: str) -> None:
    lab.ok(MANAGER, program, "service", "create", "-d", "--no-resolve-image", "--name", "ghost", "--restart-condition", "none", "nosuchimage:1")
    seen = until(lambda: any("No such image: nosuchimage:1" in r["Error"] for r in lab.rows(MANAGER, program, "service", "ps", "--no-trunc", "ghost")))
    assert seen
    lab.ok(MANAGER, program, "service", "rm", "ghost")


def test_files_that_can_not_be_and_what_is_gone_already(lab: Lab, program: str, tmp_path: Path) -> None:
    """The id's file is made before the container: nothing is left of one that can't be."""
    (tmp_path / "bad").write_text("a key=1\n")
    (tmp_path / "latin").write_bytes(b"A=1\nB=\xff\n")
    (tmp_path / "seccomp").write_text("{")
    for arguments, status, words in (
        (("run", "--rm", "--cidfile", f"{tmp_path}/none/cid", "busybox", "true"), 127, f"failed to create the container ID file: open {tmp_path}/none/cid"),
        (("run", "--rm", "--cidfile", f"{tmp_path}/cid", "-w", "relative", "busybox", "true"), 125, "needs to be an absolute path"),
        (("run", "--rm", "--env-file", f"{tmp_path}/bad", "busybox", "true"), 125, "variable 'a key' contains whitespaces"),
        (("run", "--rm", "--env-file", f"{tmp_path}/latin", "busybox", "true"), 125, "/latin): invalid utf8 bytes at line 2: [66 61 255]"),
        (("run", "--rm", "--env-file", f"{tmp_path}", "busybox", "true"), 125, f"invalid env file ({tmp_path}): read {tmp_path}: is a directory"),
        (("run", "--rm", "--security-opt", f"seccomp={tmp_path}/seccomp", "busybox", "true"), 125, "seccomp) failed: unexpected end of JSON input"),
        (("run", "--rm", "--security-opt", "seccomp=", "busybox", "true"), 125, 'Invalid --security-opt: "seccomp="'),
        (("run", "--rm", "-v", "", "busybox", "true"), 125, "invalid empty volume spec"),
        (("run", "--rm", "-v", ":/x", "busybox", "true"), 125, "invalid spec: :/x: empty section between colons"),
        (("run", "--rm", "--device", "/dev/null:/dev/x:rwm:y", "busybox", "true"), 125, "bad format for path: /dev/null:/dev/x:rwm:y"),
        (("run", "--rm", "--device-read-iops", "/dev/null:x", "busybox", "true"), 125, "<device-path>:<number>. Number must be a positive integer"),
        (("run", "--rm", "--ulimit", "nofile=1:2:3", "busybox", "true"), 125, "too many limit value arguments - 1:2:3"),
        (("run", "--rm", "--health-timeout", "-1s", "busybox", "true"), 125, "--health-timeout cannot be negative"),
        (("run", "--rm", "--restart", "on-failure:x", "busybox", "true"), 125, "maximum retry count must be an integer"),
        (("save", "-o", f"{tmp_path}/none/x", "busybox"), 1, f"failed to save image: invalid output path: stat {tmp_path}/none: no such file or directory"),
        (("export", "-o", f"{tmp_path}", "nosuch"), 1, "failed to export container: cannot write to a directory"),
        (("tag", "busybox", "-x"), 1, 'Error parsing reference: "-x" is not a valid repository/tag: invalid reference format'),
        (("commit", "nosuch", "x@sha256:" + "0" * 64), 1, "refusing to create a tag with a digest reference"),
        (("import", f"{tmp_path}/latin", "Bad"), 1, "invalid reference format: repository name (library/Bad) must be lowercase"),
        (("inspect", "--type", "plugin", "nosuch"), 1, 'plugin "nosuch" not found'),
        (("inspect", "--size", "--format", "{{.Os}}", "busybox"), 0, "WARNING: --size ignored for image"),
        (("logs", "--until", "bad", "nosuch"), 1, "No such container: nosuch"),
        (("rmi", "-f", "nosuch-image"), 0, "No such image: nosuch-image"),
    ):
        done = lab.on(MANAGER, program, *arguments)
        assert (done.returncode, words in done.stderr) == (status, True), done
    assert not (tmp_path / "cid").exists()


def test_files_of_labels_and_variables_and_what_stands_twice(lab: Lab, program: str, tmp_path: Path) -> None:
    (tmp_path / "env").write_bytes(b"\xef\xbb\xbfA=bom\r\n# remark\n")
    (tmp_path / "labels").write_text("l=1\nwithout-value\n")
    (tmp_path / "made").mkdir()
    name = f"twice-{program}"
    files = ("--env-file", f"{tmp_path}/env", "--label-file", f"{tmp_path}/labels", "--ulimit", "core=0", "--ulimit", "core=5")
    done = lab.on(MANAGER, "sh", "-c", f"cd {tmp_path} && {program} run --name {name} {' '.join(files)} -v ./made:/m busybox sh -c 'echo $A; touch /m/x'")
    try:
        assert (done.returncode, done.stdout) == (0, "bom\n"), done.stderr
        assert (tmp_path / "made/x").exists()
        shown = lab.ok(MANAGER, program, "inspect", "--size", "--type", "container", name, "--format",
                       "{{json .Config.Labels}} {{range .Mounts}}{{.Type}} {{.Name}}{{.Driver}}{{end}} {{.SizeRw}}")  # fmt: skip
        assert shown == '{"l":"1"} bind  0\n'
    finally:
        lab.on(MANAGER, program, "rm", "-f", name)
