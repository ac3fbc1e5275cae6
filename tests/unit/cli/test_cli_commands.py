"""The commands as a user meets them: usage errors, tables, failures, streams, exit statuses."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cli.root import run
from cluster.wire.http import Response, Stream, json_response

ID = "a9cn3p0ovg5jcz30rzz89lyfz"


def framed(stream: int, payload: bytes) -> bytes:
    return bytes([stream, 0, 0, 0]) + len(payload).to_bytes(4, "big") + payload


def streamed(*pieces: bytes) -> Response:
    async def items() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    return Response(stream=items())


@pytest.mark.parametrize(
    ("arguments", "status", "complaint"),
    [
        (["service", "ls", "--fromat", "x"], 125, "unknown flag: --fromat\n\nUsage:  festoon service ls [OPTIONS]\n\nRun 'festoon service ls --help' for more "
                                                  "information\n\nDid you mean '--format'?\n"),
        (["service", "ls", "--x"], 125, "unknown flag: --x\n\nUsage:  festoon service ls [OPTIONS]\n\nRun 'festoon service ls --help' for more information\n"),
        (["service", "ls", "-z"], 125, "unknown shorthand flag: 'z' in -z\n"),
        (["service", "create", "--replicas"], 125, "flag needs an argument: --replicas\n"),
        (["service", "create", "-p"], 125, "flag needs an argument: 'p' in -p\n"),
        (["service", "create", "--replicas", "x", "i"], 125, 'invalid argument "x" for "--replicas" flag: strconv.ParseUint: parsing "x": invalid syntax\n'),
        (["service", "create", "-p", "x", "i"], 125, 'invalid argument "x" for "-p, --publish" flag: invalid containerPort: x\n'),
        (["service", "create", "--init=x", "i"], 125, 'invalid argument "x" for "--init" flag: strconv.ParseBool: parsing "x": invalid syntax\n'),
        (["service", "ls", "--filter", "bad"], 125, 'invalid argument "bad" for "-f, --filter" flag: bad format of filter (expected name=value)\n'),
        (["service", "foo"], 1, "festoon: unknown command: festoon service foo\n\nUsage:  festoon service\n\nRun 'festoon service --help'"),
        (["foo"], 1, "festoon: unknown command: festoon foo\n\nRun 'festoon --help' for more information\n"),
        (["node", "inspect"], 1, "festoon: 'festoon node inspect' requires at least 1 argument\n\nUsage:  festoon node inspect"),
        (["service", "ls", "a"], 1, "festoon: 'festoon service ls' accepts no arguments\n"),
        (["rename", "a"], 1, "festoon: 'festoon rename' requires 2 arguments\n"),
        (["swarm", "join-token", "nosuch"], 1, "unknown role nosuch\n"),
        (["service", "scale", "web"], 1, "invalid scale specifier 'web'.\nSee 'festoon service scale --help'.\n"),
        (["network", "path", "x"], 1, "invalid port: x\n"),
    ],
)
def test_misuse_is_reported_in_dockers_words(
    festoon: Callable[..., Any], engine: Any, arguments: list[str], status: int, complaint: str
) -> None:
    result = festoon(*arguments)
    assert (result.status, result.out) == (status, "")
    assert result.err.startswith(complaint)
    assert not engine.seen


def test_without_a_daemon_one_sentence_says_so(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run("festoon", ["-H", f"unix://{tmp_path}/none", "ps"]) == 1
    expected = f"Cannot connect to the Festoon daemon at unix://{tmp_path}/none. Is the festoon daemon running?\n"
    assert capfd.readouterr().err == expected


def test_a_working_folder_that_is_gone_is_said(festoon: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    result = festoon("create", "--mount", "type=bind,src=./a,dst=/b", "busybox")
    assert (result.status, result.err) == (1, "getwd: no such file or directory\n")


def test_the_daemons_address_comes_from_flag_then_environment(
    engine: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    engine.answers["GET", "/containers/json"] = []
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere")
    monkeypatch.setenv("FESTOON_HOST", engine.address)
    assert run("festoon", ["ps", "-q"]) == 0
    monkeypatch.delenv("FESTOON_HOST")
    assert run("festoon", ["ps", "-q"]) == 1
    assert "unix:///nowhere" in capfd.readouterr().err
    monkeypatch.setenv("DOCKER_HOST", "127.0.0.1:1")
    assert run("festoon", ["ps", "-q"]) == 1
    assert "daemon at tcp://127.0.0.1:1." in capfd.readouterr().err


def test_node_ls_marks_the_node_that_answers(festoon: Callable[..., Any], engine: Any) -> None:
    node = {
        "ID": ID,
        "Spec": {"Availability": "active"},
        "Description": {"Hostname": "swarm-manager", "Engine": {"EngineVersion": "20.10.7"}},
        "Status": {"State": "ready"},
        "ManagerStatus": {"Leader": True, "Reachability": "reachable"},
    }
    engine.answers |= {("GET", "/nodes"): [node], ("GET", "/info"): {"Swarm": {"NodeID": ID}}}
    assert festoon("node", "ls").out == (
        "ID                            HOSTNAME        STATUS    AVAILABILITY   MANAGER STATUS   ENGINE VERSION\n"
        f"{ID} *   swarm-manager   Ready     Active         Leader           20.10.7\n"
    )


def test_swarm_init_prints_how_to_join(festoon: Callable[..., Any], engine: Any) -> None:
    engine.answers |= {
        ("POST", "/swarm/init"): ID,
        ("GET", f"/nodes/{ID}"): {"ManagerStatus": {"Addr": "192.168.200.10:2377"}},
        ("GET", "/swarm"): {"JoinTokens": {"Worker": "SWMTKN-1-w", "Manager": "SWMTKN-1-m"}},
    }
    assert festoon("swarm", "init").out == (
        f"Swarm initialized: current node ({ID}) is now a manager.\n\n"
        "To add a worker to this swarm, run the following command:\n\n"
        "    festoon swarm join --token SWMTKN-1-w 192.168.200.10:2377\n\n"
        "To add a manager to this swarm, run 'festoon swarm join-token manager' and follow the instructions.\n"
    )
    assert festoon("swarm", "join-token", "-q", "manager").out == "SWMTKN-1-m\n"


def test_an_address_that_cannot_be_chosen_names_the_flag(festoon: Callable[..., Any], engine: Any) -> None:
    said = "could not choose an IP address to advertise since this system has multiple addresses on different interfaces"
    engine.answers["POST", "/swarm/init"] = Response(400, body=b'{"message":"%s"}' % said.encode())
    expected = f"Error response from daemon: {said} - specify one with --advertise-addr\n"
    assert festoon("swarm", "init").err == expected


def test_rm_goes_on_after_a_failure_and_fails_at_the_end(festoon: Callable[..., Any], engine: Any) -> None:
    engine.answers["DELETE", "/services/a"] = Response(200)
    result = festoon("service", "rm", "nosuch", "a")
    assert (result.status, result.out) == (1, "a\n")
    assert result.err == "Error response from daemon: no such thing: /services/nosuch\n"


def test_a_forced_rm_of_what_is_gone_is_said_and_is_no_failure(festoon: Callable[..., Any], engine: Any) -> None:
    engine.answers["DELETE", "/containers/a"] = Response(204)
    forced = festoon("container", "rm", "-f", "nosuch", "a")
    assert (forced.status, forced.out, forced.err) == (0, "a\n", "Error response from daemon: no such thing: /containers/nosuch\n")
    assert festoon("container", "rm", "nosuch").status == 1


def test_service_ps_indents_earlier_tasks_of_a_slot(festoon: Callable[..., Any], engine: Any) -> None:
    def task(name: str, state: str, created: str, err: str = "") -> dict[str, Any]:
        status = {"State": state, "Timestamp": "2020-01-01T00:00:00Z", "Err": err}
        spec = {"ContainerSpec": {"Image": "busybox:latest@sha256:x"}}
        return {"ID": name * 25, "ServiceID": ID, "Slot": 1, "NodeID": "n1", "DesiredState": "running", "Status": status, "CreatedAt": created, "Spec": spec}

    engine.answers |= {
        ("GET", "/services/web"): {"ID": ID, "Spec": {"Name": "web"}},
        ("GET", f"/services/{ID}"): {"ID": ID, "Spec": {"Name": "web"}},
        ("GET", "/nodes/n1"): {"Spec": {}, "Description": {"Hostname": "swarm-worker1"}},
        ("GET", "/tasks"): [task("a", "failed", "2020-01-01T00:00:00Z", "task: non-zero exit (1) and some more"), task("b", "running", "2020-01-02T00:00:00Z")],
    }
    lines = festoon("service", "ps", "web").out.splitlines()
    assert lines[1].split()[:5] == ["bbbbbbbbbbbb", "web.1", "busybox:latest", "swarm-worker1", "Running"]
    assert lines[2].split()[:3] == ["aaaaaaaaaaaa", "\\_", "web.1"]
    assert '"task: non-zero exit (1) and s…"' in lines[2]
    assert festoon("service", "ps", "-q", "web").out.splitlines() == ["b" * 25, "a" * 25]


def test_logs_go_to_the_streams_that_they_came_from(festoon: Callable[..., Any], engine: Any) -> None:
    engine.answers |= {
        ("GET", "/containers/c/json"): {"Id": "c", "Config": {"Tty": False}},
        ("GET", "/containers/c/logs"): lambda _: streamed(framed(1, b"out\n") + framed(2, b"er")[:5], framed(2, b"er")[5:] + framed(2, b"r\n")),
    }
    result = festoon("logs", "c")
    assert (result.out, result.err) == ("out\n", "err\n")


def test_service_logs_name_task_and_node(festoon: Callable[..., Any], engine: Any) -> None:
    details = b"com.docker.swarm.node.id=n1,com.docker.swarm.service.id=%s,com.docker.swarm.task.id=%s " % (ID.encode(), b"t" * 25)
    engine.answers |= {
        ("GET", "/services/web"): {"ID": ID, "Spec": {"Name": "web", "Mode": {"Replicated": {"Replicas": 10}}, "TaskTemplate": {}}},
        ("GET", f"/services/{ID}"): {"ID": ID, "Spec": {"Name": "web"}},
        ("GET", "/tasks/" + "t" * 25): {"ServiceID": ID, "Slot": 2, "NodeID": "n1"},
        ("GET", "/nodes/n1"): {"Spec": {}, "Description": {"Hostname": "swarm-worker1"}},
        ("GET", f"/services/{ID}/logs"): lambda _: streamed(framed(1, details + b"one\n"), framed(2, details + b"tw"), framed(2, b"o")),
    }
    result = festoon("service", "logs", "web")
    assert result.out == "web.2.tttttttttttt@swarm-worker1     | one\n"
    assert result.err == "web.2.tttttttttttt@swarm-worker1     | two"


async def said(pieces: Iterable[bytes], stream: Stream) -> None:
    for piece in pieces:
        await stream.send_all(piece)


def test_exec_separates_the_streams_and_gives_the_exit_status_back(festoon: Callable[..., Any], engine: Any) -> None:
    output = [framed(1, b"hi\n"), framed(2, b"aside\n")]
    engine.answers |= {
        ("POST", "/containers/c/exec"): {"Id": "e1"},
        ("POST", "/exec/e1/start"): Response(hijack=partial(said, output)),
        ("GET", "/exec/e1/json"): {"ExitCode": 7},
    }
    result = festoon("exec", "-e", "A=b", "c", "sh", "-c", "exit 7")
    assert (result.status, result.out, result.err) == (7, "hi\n", "aside\n")
    assert b'"Env":["A=b"]' in engine.bodies("POST", "/containers/c/exec")[0]
    assert b'"Cmd":["sh","-c","exit 7"]' in engine.bodies("POST", "/containers/c/exec")[0]


def test_image_load_streams_the_file_and_prints_what_the_daemon_says(
    festoon: Callable[..., Any], engine: Any, tmp_path: Path
) -> None:
    (tmp_path / "i.tar").write_bytes(b"t" * 3_000_000)
    engine.answers["POST", "/images/load"] = lambda _: streamed(b'{"stream":"Loaded image: busybox:latest\\n"}\n')
    assert festoon("load", "-i", str(tmp_path / "i.tar")).out == "Loaded image: busybox:latest\n"
    assert len(engine.bodies("POST", "/images/load")[0]) == 3_000_000
    engine.answers["POST", "/images/load"] = lambda _: streamed(b'{"error":"unexpected EOF"}\n')
    result = festoon("load", "-i", str(tmp_path / "i.tar"))
    assert (result.status, result.err) == (1, "unexpected EOF\n")
    assert festoon("load", "-i", "/nonexistent").err == "open /nonexistent: no such file or directory\n"


def test_inspect_tries_every_kind_and_says_what_is_not_there(festoon: Callable[..., Any], engine: Any) -> None:
    engine.answers["GET", "/networks/net"] = {"Name": "net", "Id": "1"}
    assert festoon("inspect", "net", "--format", "{{.Name}}").out == "net\n"
    result = festoon("inspect", "nosuch")
    assert (result.status, result.out, result.err) == (1, "[]\n", "Error: No such object: nosuch\n")


def test_why_prints_each_nodes_verdict(festoon: Callable[..., Any], engine: Any) -> None:
    task = {
        "id": "t" * 25,
        "name": "nowhere.1",
        "state": "pending",
        "desired": "running",
        "node": "",
        "summary": "no suitable node (scheduling constraints not satisfied on 1 node)",
        "nodes": [{"hostname": "swarm-worker1", "verdict": "constraint node.labels.disk==ssd not satisfied"}],
        "story": [{"time": "2020-01-01T00:00:00Z", "sentence": "created: service created"}],
    }
    engine.answers["GET", "/festoon/why/nowhere"] = {"kind": "service", "name": "nowhere", "id": ID, "tasks": [task]}
    lines = festoon("why", "nowhere").out.splitlines()
    assert lines[0] == "Service nowhere (a9cn3p0ovg5j)"
    assert lines[2] == "nowhere.1 (tttttttttttt): pending, wanted running"
    assert "    swarm-worker1   constraint node.labels.disk==ssd not satisfied" in lines


def test_network_path_prints_hop_after_hop(festoon: Callable[..., Any], engine: Any) -> None:
    hops = [
        {"where": "swarm-worker2", "what": "nat chain DOCKER-INGRESS", "detail": "tcp dport 8080 dnat to 172.18.0.2:8080", "packets": 2},
        {"where": "ingress_sbox", "what": "mark 0x100", "detail": "", "packets": None},
    ]
    engine.answers["GET", "/festoon/network/path/8080"] = {"hops": hops}
    engine.answers["GET", "/festoon/network/path"] = {
        "title": "a to b (10.0.1.2)", "outcome": "no answer within 3 s", "hops": hops[:1], "missing": ["n2: down"],
    }  # fmt: skip
    silent = festoon("network", "path", "a", "b")
    assert (silent.status, silent.out.splitlines()[0], silent.out.splitlines()[-2:]) == (
        1, "A packet from a to b (10.0.1.2), as it went:", ["no answer within 3 s", "not asked: n2: down"],
    )  # fmt: skip
    assert festoon("network", "path", "8080").out.splitlines()[2:] == [
        "swarm-worker2",
        "  1. nat chain DOCKER-INGRESS   [2 packets]",
        "       tcp dport 8080 dnat to 172.18.0.2:8080",
        "",
        "ingress_sbox",
        "  2. mark 0x100",
    ]


@pytest.mark.parametrize(("command", "example"), [("path", "8080"), ("diff", "--repair"), ("capture", "web.1 -o web.pcap")])
def test_help_of_what_docker_has_not_shows_examples(festoon: Callable[..., Any], command: str, example: str) -> None:
    said = festoon("network", command, "--help")
    assert said.status == 0
    assert f"\n  festoon network {command} {example}\n" in said.out.partition("\nExamples:\n")[2].partition("\nOptions:\n")[0]


def test_help_lists_commands_without_loading_them(festoon: Callable[..., Any]) -> None:
    script = (
        "import sys; from cli.root import run; run('festoon', ['--help'])\n"
        "loaded = [m for m in sys.modules if m.startswith('cli.commands.') or m in {'trio', 'cryptography'}]\n"
        "sys.exit(str(loaded) if loaded else 0)"
    )
    result = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, check=False, timeout=30)
    assert (result.returncode, result.stderr) == (0, "")
    assert "service" in result.stdout


@pytest.mark.parametrize(
    ("words", "program", "after"),
    [(("ps",), "", ""), (("run", "--rm", "-p", "80:80", "busybox", "true"), "festoon: ", "\nRun 'festoon run --help' for more information\n")],
)
def test_what_a_command_imports_is_little(words: tuple[str, ...], program: str, after: str) -> None:
    script = (
        "import sys\nhad = set(sys.modules)\nfrom cli.root import run\n"
        f"run('festoon', ['-H', 'unix:///nosuch', *{words!r}])\n"
        "sys.exit(' '.join({'h11', 'inspect', 'dataclasses', 'pathlib', 'urllib.parse', 'tempfile', 'fractions', 'threading'} & set(sys.modules) - had) or 0)"
    )
    result = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, check=False, timeout=30)
    said = f"{program}Cannot connect to the Festoon daemon at unix:///nosuch. Is the festoon daemon running?\n{after}"
    assert (result.returncode, result.stderr) == (0, said)


def test_no_command_needs_trio_or_cryptography() -> None:
    script = (
        "import sys\nfrom importlib import import_module\nfrom cli.root import _COMMANDS\n"
        "for path, _ in _COMMANDS.values():\n    path in ('cli.commands.lab:lab', 'cli.commands.sim:sim') or import_module(path.partition(':')[0])\n"
        "sys.exit(' '.join({'trio', 'cryptography'} & set(sys.modules)) or 0)"
    )
    result = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, check=False, timeout=30)
    assert (result.returncode, result.stderr) == (0, "")


def test_fields_of_an_image_that_says_nothing_read_as_empty(festoon: Callable[..., Any], engine: Any) -> None:
    engine.answers["GET", "/images/box/json"] = {"Id": "sha256:1", "Config": {"Cmd": ["sh"], "Labels": None, "User": ""}}
    template = "{{.Config.Labels}}|{{.Config.User}}|{{.Config.Entrypoint}}|{{json .Config.Labels}}|{{with .Config}}{{.WorkingDir}}{{end}}|{{json .Config}}"
    said = festoon("image", "inspect", "-f", template, "box")
    assert (said.status, said.out) == (0, 'map[]||[]|null||{"Cmd":["sh"]}\n')
    assert 'map has no entry for key "Hostname"' in festoon("inspect", "--type", "image", "-f", "{{.Config.Hostname}}", "box").err


def test_flags_for_windows_are_refused_before_anything_is_asked(festoon: Callable[..., Any], engine: Any) -> None:
    said = festoon("run", "--io-maxiops", "3", "--cpu-count", "2", "busybox")
    assert said.status == 1
    assert said.err.splitlines() == [
        f'"--{name}" is only supported on a Docker daemon running on windows, but the Docker daemon is running on linux' for name in ("cpu-count", "io-maxiops")
    ]
    assert engine.seen == []


def test_a_usual_platform_stands_for_the_flag(festoon: Callable[..., Any], engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_DEFAULT_PLATFORM", "linux/arm64")
    engine.answers["POST", "/containers/create"] = {"Id": "c1"}
    festoon("create", "box")
    festoon("create", "--platform", "linux/amd64", "box")
    festoon("pull", "-q", "box")
    targets = [target for _, target, _ in engine.seen]
    assert targets[0].endswith("platform=linux%2Farm64")
    assert targets[1].endswith("platform=linux%2Famd64")
    assert targets[2].endswith("platform=linux%2Farm64")


@pytest.mark.parametrize(("group", "usage"), [("volume", "festoon volume COMMAND"), ("stack", "festoon stack [OPTIONS]"), ("network", "festoon network")])
def test_a_group_that_is_misused_says_its_usage(festoon: Callable[..., Any], group: str, usage: str) -> None:
    assert f"\n\nUsage:  {usage}\n\n" in festoon(group, "nosuch").err


def test_that_no_registry_knows_an_image_is_said_of_a_service_that_is_there(festoon: Callable[..., Any], engine: Any) -> None:
    engine.answers["POST", "/services/create"] = lambda number: {"ID": "s1"} if number == 2 else json_response({"message": "name is bad"}, 400)
    refused = festoon("service", "create", "-d", "nosuch.example/x")
    assert (refused.status, refused.err) == (1, "Error response from daemon: name is bad\n")
    made = festoon("service", "create", "-d", "-q", "nosuch.example/x")
    assert (made.status, made.out) == (0, "s1\n")
    assert made.err.startswith("image nosuch.example/x:latest could not be accessed on a registry to record\nits digest.")


def test_what_cannot_be_a_configuration_is_said_in_dockers_words(festoon: Callable[..., Any], tmp_path: Path) -> None:
    said = f"error reading from {tmp_path}/none: open {tmp_path}/none: no such file or directory\n"
    assert festoon("secret", "create", "x", f"{tmp_path}/none").err == said
    assert festoon("config", "create", "x", f"{tmp_path}/none").err == f'Error reading content from "{tmp_path}/none": {said}'
