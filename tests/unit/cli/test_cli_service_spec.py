"""What `service create`, `update` and `scale` post: byte for byte what the docker client 28 was seen to post for the
same flags."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

ID = "a9cn3p0ovg5jcz30rzz89lyfz"
MINIMAL = (
    '{"Labels":{},"TaskTemplate":{"ContainerSpec":{"Image":"busybox:latest","Init":false,"DNSConfig":{}},"Resources":{"Limits":{},'
    '"Reservations":{}},"Placement":{},"ForceUpdate":0},"Mode":{"Replicated":{}},"EndpointSpec":{"Mode":"vip"}}'
)
EVERYTHING = (
    "-p 8080:80 -p 53:53/udp -p mode=host,target=80 -p 77 --network name=net,alias=a --mount type=volume,target=/a,source=v,readonly "
    "--mount type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=0700 --env A=b --label l=1 --container-label cl=2 --constraint node.role==worker "
    "--hostname h --user u --workdir /w --limit-cpu 0.5 --limit-memory 64m --reserve-cpu .1 --reserve-memory 1g --limit-pids 5 "
    "--restart-condition on-failure --restart-delay 1s --restart-max-attempts 3 --restart-window 1m --update-delay 2s "
    "--update-parallelism 0 --rollback-monitor 3s --stop-grace-period 3s --stop-signal INT --endpoint-mode vip --host h:1.2.3.4 "
    "--dns 9.9.9.9 --dns-search s --dns-option o --init --cap-add NET_ADMIN --cap-drop ALL --ulimit nofile=99:100 --sysctl a.b=1 "
    "--placement-pref spread=node.labels.z --replicas-max-per-node 2 --tty --read-only --log-driver json-file --log-opt a=b "
    "--health-interval 3s --group g --env-file /dev/null --isolation default --oom-score-adj 5"
).split()
EVERYTHING_POSTED = (
    '{"Labels":{"l":"1"},"TaskTemplate":{"ContainerSpec":{"Image":"busybox:1","Labels":{"cl":"2"},"Command":["sh","-c","a b"],'
    '"Args":["a","-b"],"Hostname":"h","Env":["A=b"],"Dir":"/w","User":"u","Groups":["g"],"Init":true,"StopSignal":"INT","TTY":true,'
    '"ReadOnly":true,"Mounts":[{"Type":"volume","Source":"v","Target":"/a","ReadOnly":true},{"Type":"tmpfs","Target":"/t",'
    '"TmpfsOptions":{"SizeBytes":1048576,"Mode":448}}],"StopGracePeriod":3000000000,"Healthcheck":{"Test":["CMD-SHELL","true x"],'
    '"Interval":3000000000},"Hosts":["1.2.3.4 h"],"DNSConfig":{"Nameservers":["9.9.9.9"],"Search":["s"],"Options":["o"]},'
    '"Isolation":"default","Sysctls":{"a.b":"1"},"CapabilityAdd":["CAP_NET_ADMIN"],"CapabilityDrop":["ALL"],"Ulimits":[{"Name":"nofile",'
    '"Hard":100,"Soft":99}],"OomScoreAdj":5},"Resources":{"Limits":{"NanoCPUs":500000000,"MemoryBytes":67108864,"Pids":5},'
    '"Reservations":{"NanoCPUs":100000000,"MemoryBytes":1073741824}},"RestartPolicy":{"Condition":"on-failure","Delay":1000000000,'
    '"MaxAttempts":3,"Window":60000000000},"Placement":{"Constraints":["node.role==worker"],"Preferences":[{"Spread":{"SpreadDescriptor":'
    '"node.labels.z"}}],"MaxReplicas":2},"Networks":[{"Target":"netid1","Aliases":["a"]}],"LogDriver":{"Name":"json-file","Options":'
    '{"a":"b"}},"ForceUpdate":0},"Mode":{"Replicated":{}},"UpdateConfig":{"Parallelism":0,"Delay":2000000000,"FailureAction":"pause",'
    '"Monitor":5000000000,"MaxFailureRatio":0,"Order":"stop-first"},"RollbackConfig":{"Parallelism":1,"FailureAction":"pause","Monitor":'
    '3000000000,"MaxFailureRatio":0,"Order":"stop-first"},"EndpointSpec":{"Mode":"vip","Ports":[{"Protocol":"tcp","TargetPort":80,'
    '"PublishedPort":8080,"PublishMode":"ingress"},{"Protocol":"udp","TargetPort":53,"PublishedPort":53,"PublishMode":"ingress"},'
    '{"Protocol":"tcp","TargetPort":80,"PublishMode":"host"},{"Protocol":"tcp","TargetPort":77,"PublishMode":"ingress"}]}}'
)


def web() -> dict[str, Any]:
    return {
        "ID": ID,
        "Version": {"Index": 12},
        "Spec": {
            "Name": "web",
            "Labels": {"l": "1"},
            "TaskTemplate": {
                "ContainerSpec": {"Image": "busybox:latest", "Args": ["sleep", "1000"], "Env": ["A=b"], "Init": False},
                "Networks": [{"Target": "netid1"}],
                "ForceUpdate": 0,
                "Runtime": "container",
            },
            "Mode": {"Replicated": {"Replicas": 2}},
            "EndpointSpec": {
                "Mode": "vip",
                "Ports": [{"Protocol": "tcp", "TargetPort": 80, "PublishedPort": 8080, "PublishMode": "ingress"}],
            },
        },
    }


@pytest.fixture
def services(engine: Any) -> Any:
    engine.answers |= {
        **{("GET", f"/images/{image}/json"): {"RepoDigests": []} for image in ("busybox:latest", "busybox:1")},  # loaded: no registry is asked
        ("POST", "/services/create"): {"ID": ID},
        ("GET", "/services/web"): web(),
        ("POST", f"/services/{ID}/update"): {"Warnings": None},
        ("GET", "/networks/net"): {"Id": "netid1", "Name": "net"},
    }
    return engine


@pytest.mark.parametrize(
    ("arguments", "posted"),
    [
        (["busybox"], MINIMAL),
        (
            [*EVERYTHING, "--entrypoint", "sh -c 'a b'", "--health-cmd", "true x", "busybox:1", "a", "-b"],
            EVERYTHING_POSTED,
        ),
        (
            ["--mode", "replicated-job", "--replicas", "3", "--max-concurrent", "2", "busybox", "true"],
            '{"Labels":{},"TaskTemplate":{"ContainerSpec":{"Image":"busybox:latest","Args":["true"],"Init":false,"DNSConfig":{}},'
            '"Resources":{"Limits":{},"Reservations":{}},"Placement":{},"ForceUpdate":0},"Mode":{"ReplicatedJob":{"MaxConcurrent":2,'
            '"TotalCompletions":3}},"EndpointSpec":{"Mode":"vip"}}',
        ),
        (
            ["--mode", "global", "--no-healthcheck", "--init=false", "--restart-condition", "any", "busybox", "true"],
            '{"Labels":{},"TaskTemplate":{"ContainerSpec":{"Image":"busybox:latest","Args":["true"],"Init":false,"Healthcheck":{"Test":'
            '["NONE"]},"DNSConfig":{}},"Resources":{"Limits":{},"Reservations":{}},"RestartPolicy":{"Condition":"any","Delay":5000000000,'
            '"MaxAttempts":0},"Placement":{},"ForceUpdate":0},"Mode":{"Global":{}},"EndpointSpec":{"Mode":"vip"}}',
        ),
    ],
)
def test_create_posts_what_docker_posts(
    services: Any, festoon: Callable[..., Any], arguments: list[str], posted: str
) -> None:
    result = festoon("service", "create", "-d", *arguments)
    assert (result.status, result.out, result.err) == (0, ID + "\n", "")
    assert services.bodies("POST", "/services/create") == [posted.encode()]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--mode", "nosuch"], "Unknown mode: nosuch, only replicated and global supported"),
        (["--mode", "global", "--replicas", "2"], "replicas can only be used with replicated or replicated-job mode"),
        (["--mode", "global", "--max-concurrent", "1"], "max-concurrent can only be used with replicated-job mode"),
        (["--env-file", "/nonexistent"], "open /nonexistent: no such file or directory"),
        (["--network", "nosuch"], "Error response from daemon: no such thing: /networks/nosuch"),
    ],
)
def test_flags_that_contradict_each_other_post_nothing(
    services: Any, festoon: Callable[..., Any], arguments: list[str], complaint: str
) -> None:
    result = festoon("service", "create", *arguments, "busybox")
    assert (result.status, result.out, result.err) == (1, "", complaint + "\n")
    assert not services.bodies("POST", "/services/create")


def test_update_lays_flags_over_the_spec(services: Any, festoon: Callable[..., Any]) -> None:
    flags = (
        "--env-add C=d --env-rm A --label-add m=2 --replicas 3 --publish-add 81:81 --publish-rm 80 --force --image alpine --constraint-add "
        "a==b --restart-delay 1s --limit-cpu 1 --update-delay 1s --args"
    ).split()
    result = festoon("service", "update", "-d", *flags, "x y", "web")
    assert (result.status, result.out) == (0, "web\n")
    (posted,) = services.bodies("POST", f"/services/{ID}/update")
    assert json.loads(posted) == {
        "Name": "web",
        "Labels": {"l": "1", "m": "2"},
        "TaskTemplate": {
            "ContainerSpec": {"Image": "alpine:latest", "Args": ["x", "y"], "Env": ["C=d"], "Init": False},
            "Resources": {"Limits": {"NanoCPUs": 1000000000}, "Reservations": {}},
            "RestartPolicy": {"Condition": "any", "Delay": 1000000000, "MaxAttempts": 0},
            "Placement": {"Constraints": ["a==b"]},
            "Networks": [{"Target": "netid1"}],
            "ForceUpdate": 1,
            "Runtime": "container",
        },
        "Mode": {"Replicated": {"Replicas": 3}},
        "UpdateConfig": {
            "Parallelism": 1,
            "Delay": 1000000000,
            "FailureAction": "pause",
            "Monitor": 5000000000,
            "MaxFailureRatio": 0,
            "Order": "stop-first",
        },
        "EndpointSpec": {
            "Mode": "vip",
            "Ports": [{"Protocol": "tcp", "TargetPort": 81, "PublishedPort": 81, "PublishMode": "ingress"}],
        },
    }


def test_update_without_flags_posts_the_spec_as_it_is(services: Any, festoon: Callable[..., Any]) -> None:
    festoon("service", "update", "-d", "web")
    assert json.loads(services.bodies("POST", f"/services/{ID}/update")[0]) == web()["Spec"]
    assert ("POST", f"/services/{ID}/update?version=12") in {(m, t) for m, t, _ in services.seen}


def test_a_network_that_is_there_already_is_refused(services: Any, festoon: Callable[..., Any]) -> None:
    result = festoon("service", "update", "-d", "--network-add", "net", "web")
    assert result.err == "service is already attached to network net\n"
    festoon("service", "update", "-d", "--network-rm", "net", "web")
    assert json.loads(services.bodies("POST", f"/services/{ID}/update")[0])["TaskTemplate"]["Networks"] == []


def test_rollback_asks_for_the_previous_spec_and_takes_no_other_flag(services: Any, festoon: Callable[..., Any]) -> None:
    assert festoon("service", "update", "-d", "--rollback", "web").out == "web\n"
    wanted = f"/services/{ID}/update?registryAuthFrom=spec&rollback=previous&version=12"
    assert ("POST", wanted) in {(m, t) for m, t, _ in services.seen}
    refused = festoon("service", "update", "--rollback", "--replicas", "2", "web")
    assert refused.err == "other flags may not be combined with --rollback\n"


def test_scale_changes_the_number_of_tasks_only(services: Any, festoon: Callable[..., Any]) -> None:
    result = festoon("service", "scale", "-d", "web=5", "nosuch=1", "web=x")
    assert (result.status, result.out) == (1, "web scaled to 5\n")
    assert result.err.splitlines() == [
        "nosuch: Error response from daemon: no such thing: /services/nosuch",
        'web: invalid replicas value x: strconv.ParseUint: parsing "x": invalid syntax',
    ]
    posted = json.loads(services.bodies("POST", f"/services/{ID}/update")[0])
    assert posted == {**web()["Spec"], "Mode": {"Replicated": {"Replicas": 5}}}


def test_labels_of_a_port_come_and_go_with_it(services: Any, festoon: Callable[..., Any]) -> None:
    before = web()
    before["Spec"]["Labels"] |= {"festoon.port.8080.affinity": "client-ip", "festoon.port.9.affinity": "none"}
    services.answers["GET", "/services/web"] = before
    result = festoon("service", "update", "-d", "--publish-rm", "8080:80", "--publish-add", "published=81,target=80,source-ip=masquerade", "web")
    assert result.status == 0, result.err
    spec = json.loads(services.bodies("POST", f"/services/{ID}/update")[0])
    assert spec["Labels"] == {"l": "1", "festoon.port.9.affinity": "none", "festoon.port.81.source-ip": "masquerade"}
    assert [p["PublishedPort"] for p in spec["EndpointSpec"]["Ports"]] == [81]


def test_a_range_of_ports_is_removed_whole(services: Any, festoon: Callable[..., Any]) -> None:
    before = web()
    before["Spec"]["EndpointSpec"]["Ports"] = [
        {"Protocol": "tcp", "TargetPort": 80 + n, "PublishedPort": 8000 + n, "PublishMode": "ingress"} for n in range(4)
    ]
    services.answers["GET", "/services/web"] = before
    assert festoon("service", "update", "-d", "--publish-rm", "8000-8002:80-82", "web").status == 0
    spec = json.loads(services.bodies("POST", f"/services/{ID}/update")[0])
    assert [p["PublishedPort"] for p in spec["EndpointSpec"]["Ports"]] == [8003]


def test_a_port_is_removed_in_its_own_mode_only(services: Any, festoon: Callable[..., Any]) -> None:
    before = web()
    before["Spec"]["EndpointSpec"]["Ports"] = [{"Protocol": "tcp", "TargetPort": 90, "PublishedPort": 9090, "PublishMode": "host"}]
    services.answers["GET", "/services/web"] = before
    for one in ("9090:90", "90", "90/udp", "mode=host,target=91", "mode=host,target=90"):
        assert festoon("service", "update", "-d", "--publish-rm", one, "web").status == 0
    *kept, removed = (json.loads(body)["EndpointSpec"]["Ports"] for body in services.bodies("POST", f"/services/{ID}/update"))
    assert ([[p["PublishedPort"] for p in ports] for ports in kept], removed) == ([[9090]] * 4, [])


def test_flags_that_the_chosen_version_of_the_api_lacks_are_refused(services: Any, festoon: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.api.API_VERSION", "1.41")
    for words in ("service create --health-start-interval 1s busybox", "run --health-start-interval 1s busybox"):
        refused = festoon(*words.split())
        assert (refused.status, refused.err) == (1, '"--health-start-interval" requires API version 1.44, but the Docker daemon API version is 1.41\n')
    assert "--all" in festoon("volume", "prune", "-af").err
    monkeypatch.setattr("cli.api.API_VERSION", "1.51")
    assert "requires API version" not in festoon("volume", "prune", "-af").err


@pytest.mark.parametrize(
    ("flags", "added", "dropped"),
    [
        ("--cap-drop NET_ADMIN", [], ["CAP_KILL"]),  # taken back, not dropped as well
        ("--cap-add KILL", ["CAP_NET_ADMIN"], []),
        ("--cap-add SYS_TIME --cap-drop SYS_TIME", ["CAP_NET_ADMIN", "CAP_SYS_TIME"], ["CAP_KILL"]),
        ("--cap-add ALL", ["ALL"], ["CAP_KILL"]),
        ("--cap-add RESET --cap-drop CHOWN", [], ["CAP_CHOWN", "CAP_KILL"]),
    ],
)
def test_capabilities_are_taken_back_before_they_are_dropped(
    services: Any, festoon: Callable[..., Any], flags: str, added: list[str], dropped: list[str]
) -> None:
    before = web()
    before["Spec"]["TaskTemplate"]["ContainerSpec"] |= {"CapabilityAdd": ["CAP_NET_ADMIN"], "CapabilityDrop": ["CAP_KILL"]}
    services.answers["GET", "/services/web"] = before
    assert festoon("service", "update", "-d", *flags.split(), "web").status == 0
    (posted,) = services.bodies("POST", f"/services/{ID}/update")
    container = json.loads(posted)["TaskTemplate"]["ContainerSpec"]
    assert (container["CapabilityAdd"], container["CapabilityDrop"]) == (added, dropped)


VOLUME, TMPFS = {"Type": "volume", "Source": "v", "Target": "/v"}, {"Type": "tmpfs", "Target": "/t"}
BEFORE: dict[str, Any] = {
    "Image": "busybox:latest", "Hosts": ["1.2.3.4 a", "1.2.3.5 b c"], "Healthcheck": {"Test": ["CMD-SHELL", "true"], "Interval": 1},
    "Mounts": [TMPFS, VOLUME],
}  # fmt: skip


@pytest.mark.parametrize(
    ("flags", "changed"),
    [
        (["--host-rm", "a"], {"Hosts": ["1.2.3.5 b c"]}),
        (["--host-rm", "b:1.2.3.5", "--host-rm", "a:9.9.9.9", "--host-add", "a:1.2.3.4"], {"Hosts": ["1.2.3.4 a", "1.2.3.5 c"]}),
        (["--health-cmd", ""], {"Healthcheck": {"Interval": 1}}),
        (["--mount-add", "type=volume,src=u,dst=/u"], {"Mounts": [TMPFS, {"Type": "volume", "Source": "u", "Target": "/u"}, VOLUME]}),
        (["--mount-add", "type=volume,src=u,dst=/u", "--mount-rm", "/u", "--mount-rm", "/t"], {"Mounts": [VOLUME]}),
        (["--stop-grace-period", "0s"], {"StopGracePeriod": 0}),
    ],
)
def test_update_changes_a_container_as_docker_does(services: Any, festoon: Callable[..., Any], flags: list[str], changed: dict[str, Any]) -> None:
    before = web()
    before["Spec"]["TaskTemplate"]["ContainerSpec"] = BEFORE
    services.answers["GET", "/services/web"] = before
    assert festoon("service", "update", "-d", *flags, "web").status == 0
    (posted,) = services.bodies("POST", f"/services/{ID}/update")
    assert json.loads(posted)["TaskTemplate"]["ContainerSpec"] == BEFORE | changed


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (["--generic-resource-rm", "gpu"], "could not find generic-resource `gpu` to remove it\n"),
        (["--mount-add", "type=tmpfs,dst=/t", "--mount-add", "type=volume,dst=/t"], "duplicate mount target\n"),
    ],
)
def test_what_an_update_can_not_do_posts_nothing(services: Any, festoon: Callable[..., Any], flags: list[str], complaint: str) -> None:
    result = festoon("service", "update", "-d", *flags, "web")
    assert (result.status, result.out, result.err) == (1, "", complaint)
    assert not services.bodies("POST", f"/services/{ID}/update")


def test_another_log_driver_does_not_inherit_options(services: Any, festoon: Callable[..., Any]) -> None:
    before = web()
    before["Spec"]["TaskTemplate"]["LogDriver"] = {"Name": "json-file", "Options": {"max-size": "1m"}}
    services.answers["GET", "/services/web"] = before
    assert festoon("service", "update", "-d", "--log-driver", "none", "web").status == 0
    (posted,) = services.bodies("POST", f"/services/{ID}/update")
    assert json.loads(posted)["TaskTemplate"]["LogDriver"] == {"Name": "none"}


def test_no_grace_at_all_is_posted(services: Any, festoon: Callable[..., Any]) -> None:
    assert festoon("service", "create", "-d", "--stop-grace-period", "0s", "busybox").status == 0
    (posted,) = services.bodies("POST", "/services/create")
    assert json.loads(posted)["TaskTemplate"]["ContainerSpec"]["StopGracePeriod"] == 0
