"""The conversions of agent/engine: specs come back as they were given, wrong input gets a sentence, times and durations read as Docker's."""

from __future__ import annotations

from typing import Any

import pytest

from agent.engine import convert, convert_containers, convert_create, convert_host, convert_mounts, detach
from agent.engine.call import matches_labels, parse_filters, truth
from agent.engine.convert_nodes import node_spec_json, node_spec_of
from agent.engine.convert_services import service_spec_json, service_spec_of, with_defaults
from agent.engine.convert_swarm import cluster_spec_json, cluster_spec_of
from agent.engine.fields import Fields
from agent.records import NetworkWish, State
from cluster.model.errors import InvalidArgument
from cluster.model.specs import ClusterSpec, Mount, ServiceMode, ServiceModeKind

SECOND = 1_000_000_000

FULL_SPEC: dict[str, Any] = {
    "Name": "web",
    "Labels": {"tier": "front", "a": ""},
    "TaskTemplate": {
        "ContainerSpec": {
            "Image": "containous/whoami:latest@sha256:" + "a" * 64,
            "Labels": {"cl": "2"},
            "Command": ["/bin/sh", "-c"],
            "Args": ["sleep 1"],
            "Hostname": "{{.Service.Name}}",
            "Env": ["A=b"],
            "Dir": "/tmp",
            "User": "nobody",
            "Groups": ["staff"],
            "StopSignal": "SIGINT",
            "TTY": True,
            "OpenStdin": True,
            "ReadOnly": True,
            "Mounts": [
                {"Type": "bind", "Source": "/a", "Target": "/b", "ReadOnly": True, "BindOptions": {"Propagation": "rslave"}},
                {
                    "Type": "volume",
                    "Source": "v",
                    "Target": "/c",
                    "VolumeOptions": {"NoCopy": True, "Labels": {"x": "y"}, "DriverConfig": {"Name": "local", "Options": {"o": "p"}}},
                },
                {"Type": "tmpfs", "Target": "/d", "TmpfsOptions": {"SizeBytes": 65536, "Mode": 448}},
            ],
            "Healthcheck": {"Test": ["CMD", "true"], "Interval": 5 * SECOND, "Retries": 3},
            "Hosts": ["1.2.3.4 h"],
            "DNSConfig": {"Nameservers": ["9.9.9.9"], "Search": ["example"], "Options": ["ndots:1"]},
            "Isolation": "default",
            "Sysctls": {"net.ipv4.ip_forward": "0"},
            "CapabilityAdd": ["CAP_NET_ADMIN"],
            "CapabilityDrop": ["ALL"],
            "Ulimits": [{"Name": "nofile", "Hard": 99, "Soft": 98}],
            "Init": False,
            "StopGracePeriod": 0,
        },
        "Resources": {"Limits": {"NanoCPUs": 500_000_000, "MemoryBytes": 1 << 22, "Pids": 9}, "Reservations": {}},
        "RestartPolicy": {"Condition": "on-failure", "Delay": 0, "MaxAttempts": 0, "Window": SECOND},
        "Placement": {
            "Constraints": ["node.role==worker"],
            "Preferences": [{"Spread": {"SpreadDescriptor": "node.labels.zone"}}],
            "MaxReplicas": 2,
            "Platforms": [{"Architecture": "amd64", "OS": "linux"}],
        },
        "Networks": [{"Target": "mynet", "Aliases": ["w"], "DriverOpts": {"k": "v"}}],
        "LogDriver": {"Name": "json-file", "Options": {"max-size": "2k"}},
        "ForceUpdate": 3,
        "Runtime": "container",
    },
    "Mode": {"Replicated": {"Replicas": 0}},
    "UpdateConfig": {
        "Parallelism": 0,
        "Delay": SECOND,
        "FailureAction": "rollback",
        "Monitor": SECOND,
        "MaxFailureRatio": 0.25,
        "Order": "start-first",
    },
    "RollbackConfig": {"Parallelism": 2, "FailureAction": "pause", "MaxFailureRatio": 0, "Order": "stop-first"},
    "EndpointSpec": {
        "Mode": "vip",
        "Ports": [{"Name": "http", "Protocol": "tcp", "TargetPort": 80, "PublishedPort": 8080, "PublishMode": "ingress"}],
    },
}


def test_a_full_service_spec_comes_back_word_for_word() -> None:
    assert service_spec_json(service_spec_of(Fields(FULL_SPEC))) == FULL_SPEC


def test_what_the_client_sends_for_a_bare_service_survives() -> None:
    sent: dict[str, Any] = {
        "Name": "test",
        "Labels": {},
        "TaskTemplate": {
            "ContainerSpec": {"Image": "busybox:latest", "Args": ["ping", "8.8.8.8"], "Init": False, "DNSConfig": {}},
            "Resources": {"Limits": {}, "Reservations": {}},
            "Placement": {},
            "ForceUpdate": 0,
        },
        "Mode": {"Replicated": {"Replicas": 2}},
        "EndpointSpec": {"Mode": "vip"},
    }
    spec = service_spec_of(Fields(sent))
    back = service_spec_json(spec)
    assert service_spec_of(Fields(back)) == spec
    assert back["TaskTemplate"]["Resources"] == {"Limits": {}, "Reservations": {}}
    assert "RestartPolicy" not in back["TaskTemplate"]
    assert "UpdateConfig" not in back


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ({}, ServiceMode()),
        ({"Global": {}}, ServiceMode(ServiceModeKind.GLOBAL)),
        ({"ReplicatedJob": {"MaxConcurrent": 2, "TotalCompletions": 3}}, ServiceMode(ServiceModeKind.REPLICATED_JOB, 3, 2)),
        ({"GlobalJob": {}}, ServiceMode(ServiceModeKind.GLOBAL_JOB)),
    ],
)
def test_modes(mode: dict[str, Any], expected: ServiceMode) -> None:
    assert service_spec_of(Fields({"Mode": mode})).mode == expected


def test_field_names_are_matched_without_regard_to_case() -> None:
    body = {"taskTemplate": {"ContainerSpec": {"Healthcheck": {"Test": ["NONE"]}}}}
    health = service_spec_of(Fields(body)).task.container.health
    assert health is not None
    assert health.test == ("NONE",)


def test_insert_defaults_fills_in_what_inspect_pretty_shows() -> None:
    spec = with_defaults(service_spec_json(service_spec_of(Fields({"Name": "x", "TaskTemplate": {"RestartPolicy": {}}}))))
    assert spec["UpdateConfig"] == {
        "Parallelism": 1,
        "FailureAction": "pause",
        "Monitor": 5 * SECOND,
        "MaxFailureRatio": 0,
        "Order": "stop-first",
    }
    assert spec["RollbackConfig"] == spec["UpdateConfig"]
    assert spec["TaskTemplate"]["RestartPolicy"] == {"Condition": "any", "Delay": 5 * SECOND, "MaxAttempts": 0}
    assert spec["TaskTemplate"]["ContainerSpec"]["StopGracePeriod"] == 10 * SECOND
    assert spec["TaskTemplate"]["Resources"] == {}
    assert "EndpointSpec" not in spec


def test_what_is_left_out_of_a_policy_is_shown_and_comes_back_equal() -> None:
    """Else the next update, of a label alone, would make its tasks anew."""
    spec = service_spec_of(Fields({"Name": "x", "TaskTemplate": {"ContainerSpec": {"Image": "i"}, "RestartPolicy": {"Delay": 7}}}))
    shown = service_spec_json(spec)
    assert shown["TaskTemplate"]["RestartPolicy"] == {"Condition": "any", "Delay": 7, "MaxAttempts": 0}
    assert shown["TaskTemplate"]["ContainerSpec"] == {"Image": "i", "Isolation": "default"}
    assert service_spec_of(Fields(shown)).task == spec.task


def test_insert_defaults_never_overrides_the_user() -> None:
    full = service_spec_json(service_spec_of(Fields(FULL_SPEC)))
    filled_in = with_defaults(full)
    for name in ("UpdateConfig", "EndpointSpec", "Mode"):
        assert filled_in[name] == full[name]
    assert filled_in["TaskTemplate"]["RestartPolicy"] == full["TaskTemplate"]["RestartPolicy"]


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"Name": 3}, "invalid JSON: Name must be a string"),
        ({"TaskTemplate": {"ContainerSpec": {"Env": "A=b"}}}, "invalid JSON: TaskTemplate.ContainerSpec.Env must be a list of strings"),
        ({"Mode": {"Replicated": {"Replicas": -1}}}, "invalid JSON: Mode.Replicated.Replicas must be zero or more"),
        ({"Mode": {"Replicated": {"Replicas": 1 << 65}}}, "invalid JSON: Mode.Replicated.Replicas must be an integer of 64 bits"),
        ({"Mode": {"Replicated": {}, "Global": {}}}, "must specify only one service mode"),
        ({"TaskTemplate": {"RestartPolicy": {"Condition": "nosuch"}}}, 'invalid RestartCondition: "nosuch"'),
        ({"UpdateConfig": {"FailureAction": "nosuch"}}, "unrecognized update failure action nosuch"),
        ({"UpdateConfig": {"Order": "nosuch"}}, "unrecognized update order nosuch"),
        ({"TaskTemplate": {"ContainerSpec": {"Secrets": [{"SecretName": "s1", "File": {"Mode": 4096}}]}}}, "invalid mode of secret s1: 10000"),
        ({"TaskTemplate": {"ContainerSpec": {"Configs": [{"ConfigID": "c1", "Runtime": {}}]}}},
         "credential specs are for Windows containers: a config can only be a file here"),
        ({"TaskTemplate": {"ContainerSpec": {"Mounts": [{"Type": "npipe"}]}}}, 'invalid MountType: "npipe"'),
    ],
)
def test_a_spec_that_cannot_be_gets_one_sentence(body: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidArgument) as raised:
        service_spec_of(Fields(body))
    assert raised.value.message == sentence


def test_a_body_that_is_no_object_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="must be an object"):
        Fields([1])


def test_a_cluster_spec_keeps_what_the_request_leaves_out() -> None:
    base = ClusterSpec(task_history_limit=7, autolock=True, labels=(("a", "b"),))
    merged = cluster_spec_of(Fields({"Orchestration": {"TaskHistoryRetentionLimit": 0}, "Dispatcher": {"HeartbeatPeriod": 6 * SECOND}}), base)
    assert merged.task_history_limit == 0
    assert merged.dispatcher_heartbeat_ns == 6 * SECOND
    assert merged.autolock
    assert merged.labels == (("a", "b"),)
    assert cluster_spec_of(Fields(cluster_spec_json(merged)), ClusterSpec()) == merged


def test_a_node_spec_round_trips_and_refuses_unknown_words() -> None:
    body = {"Name": "n", "Labels": {"disk": "ssd"}, "Role": "worker", "Availability": "drain"}
    assert node_spec_json(node_spec_of(Fields(body))) == body
    with pytest.raises(InvalidArgument, match='invalid Availability: "nonsense"'):
        node_spec_of(Fields({"Role": "worker", "Availability": "nonsense"}))


@pytest.mark.parametrize(
    ("time_ns", "text"),
    [
        (0, "0001-01-01T00:00:00Z"),
        (1_700_000_000 * SECOND, "2023-11-14T22:13:20Z"),
        (1_700_000_000 * SECOND + 120_000_000, "2023-11-14T22:13:20.12Z"),
        (1_700_000_000 * SECOND + 1, "2023-11-14T22:13:20.000000001Z"),
    ],
)
def test_times(time_ns: int, text: str) -> None:
    assert convert.time_text(time_ns) == text


@pytest.mark.parametrize(
    ("text", "time_ns"),
    [("", 0), ("1700000000", 1_700_000_000 * SECOND), ("1700000000.000000001", 1_700_000_000 * SECOND + 1), ("2023-11-14T22:13:20Z", 1_700_000_000 * SECOND),
     ("9999-12-31T00:00:00Z", 2**63 - 1), ("9223372036854775807", 2**63 - 1), ("-9223372036854775807", 1 - 2**63)],
)
def test_times_of_parameters(text: str, time_ns: int) -> None:
    assert convert.time_parameter_ns(text) == time_ns


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "Less than a second"),
        (1, "1 second"),
        (59, "59 seconds"),
        (60, "About a minute"),
        (120, "2 minutes"),
        (3600, "About an hour"),
        (7200, "2 hours"),
        (49 * 3600, "2 days"),
        (15 * 86400, "2 weeks"),
        (70 * 86400, "2 months"),
        (800 * 86400, "2 years"),
    ],
)
def test_durations_read_as_dockers(seconds: int, words: str) -> None:
    assert convert_containers.human_duration(seconds) == words


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (State(), "Created"),
        (State(status="running", started_at_ns=1), "Up 2 seconds"),
        (State(status="paused", started_at_ns=1), "Up 2 seconds (Paused)"),
        (State(status="exited", exit_code=3, started_at_ns=1, finished_at_ns=1), "Exited (3) 2 seconds ago"),
        (State(status="dead"), "Dead"),
    ],
)
def test_statuses_read_as_dockers(state: State, words: str) -> None:
    assert convert_containers.status_text(state, 1 + 2 * SECOND) == words


def test_filters_come_in_two_forms() -> None:
    accepted = frozenset({"name", "label"})
    assert parse_filters('{"name":["a","b"]}', accepted) == {"name": ("a", "b")}
    assert parse_filters('{"name":{"a":true}}', accepted) == {"name": ("a",)}
    with pytest.raises(InvalidArgument, match="invalid filter 'nosuch'"):
        parse_filters('{"nosuch":["x"]}', accepted)
    with pytest.raises(InvalidArgument):
        parse_filters("{", accepted)


def test_label_and_boolean_filters() -> None:
    assert matches_labels({"a": "b"}, ("a", "a=b"))
    assert not matches_labels({"a": "b"}, ("a=c",))
    assert truth({"dangling": ("1",)}, "dangling") is True
    assert truth({}, "dangling") is None
    with pytest.raises(ValueError, match="dangling"):
        truth({"dangling": ("maybe",)}, "dangling")


def test_binds() -> None:
    options = (("short", "/a:/b:ro,rslave"), ("propagation", "rslave"), ("create-mountpoint", "true"))
    assert convert_mounts.bind_of("/a:/b:ro,rslave") == Mount("bind", "/a", "/b", True, options)
    assert convert_mounts.bind_of("v:/b").kind == "volume"
    assert convert_mounts.tmpfs_of("/t", "size=64m,mode=1770,ro") == Mount("tmpfs", "", "/t", True, (("short", "size=64m,mode=1770,ro"),))
    assert convert_mounts.bind_of("/a") == Mount("volume", "", "/a", False, (("short", "/a"),))
    assert convert_mounts.bind_of("/a:/b:ro,Z,slave").read_only
    for foreign, field in (("/a:/b:nocopy", "VolumeOptions"), ("vv:/b:rshared", "BindOptions")):
        with pytest.raises(InvalidArgument, match=f"field {field} must not be specified"):
            convert_mounts.bind_of(foreign)
    for wrong in ("", "/a:b", "/a:/b:nosuch", "/a:/b:ro,rw", "/a:/b:ro,ro", "/a:/b:z,Z", "/a:/b:slave,shared", "/a:/b:ro,"):
        with pytest.raises(InvalidArgument):
            convert_mounts.bind_of(wrong)


def test_a_mount_of_the_long_form_has_no_options_of_another_kind() -> None:
    for kind, theirs in (("bind", "VolumeOptions"), ("volume", "TmpfsOptions"), ("tmpfs", "BindOptions")):
        asked = Fields({"Type": kind, "Source": "" if kind == "tmpfs" else "/tmp", "Target": "/x", theirs: {}})
        with pytest.raises(InvalidArgument, match=f'^invalid mount config for type "{kind}": field {theirs} must not be specified$'):
            convert_mounts.mount_of(asked)


def test_an_anonymous_volume_is_for_writing_and_of_a_tmpfs_the_last_word_counts() -> None:
    with pytest.raises(InvalidArgument, match="must not set ReadOnly mode when using anonymous volumes"):
        convert_mounts.mount_of(Fields({"Type": "volume", "Target": "/x", "ReadOnly": True}))
    assert [convert_mounts.tmpfs_of("/t", text).read_only for text in ("ro,rw", "rw,ro")] == [False, True]


def test_two_mounts_at_one_place_are_refused_however_it_is_written() -> None:
    with pytest.raises(InvalidArgument, match=r"^Duplicate mount point: /d$"):
        convert_host.host_config_of(Fields({"Binds": ["/a:/d/", "vol:/x/../d"]}))


def test_a_create_request_names_ports_networks_and_mounts() -> None:
    request = convert_create.container_request_of(
        Fields(
            {
                "Image": "busybox",
                "Cmd": "true",
                "ExposedPorts": {"90/udp": {}},
                "HostConfig": {
                    "Binds": ["/a:/b"],
                    "Tmpfs": {"/t": ""},
                    "PortBindings": {"80/tcp": [{"HostPort": "8080"}]},
                    "NetworkMode": "n2",
                    "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 2},
                },
                "NetworkingConfig": {"EndpointsConfig": {"n2": {"Aliases": ["al"], "IPAMConfig": {"IPv4Address": "10.0.0.9"}}}},
            }
        )
    )
    assert request.config.cmd == ("true",)
    assert request.config.exposed_ports == ("90/udp", "80/tcp")
    assert request.networks == (NetworkWish(network="n2", aliases=("al",), address="10.0.0.9", has_ipam=True),)
    assert [m.target for m in request.host.mounts] == ["/b", "/t"]
    assert request.host.port_bindings[0].host_port == 8080


@pytest.mark.parametrize(
    "host",
    [
        {"Runtime": "nosuch"},
        {"PortBindings": {"65536/tcp": []}},
        {"PortBindings": {"80/icmp": [{}]}},
        {"PortBindings": {"80/tcp": [{"HostPort": "x"}]}},
        {"Binds": ["/a:/b", "/c:/b"]},
    ],
)
def test_a_host_config_that_cannot_be_is_refused(host: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument):
        convert_create.container_request_of(Fields({"Image": "x", "HostConfig": host}))


def test_a_host_config_round_trips_in_what_we_act_on() -> None:
    body = {"Memory": 1 << 30, "NanoCpus": 5, "CapAdd": ["NET_ADMIN"], "Dns": ["9.9.9.9"], "Sysctls": {"a": "b"}, "Binds": ["/a:/b:ro"], "PidsLimit": 7}
    host = convert_host.host_config_of(Fields(body))
    assert convert_host.host_config_of(Fields(convert_host.host_config_json(host))) == host


def test_capabilities_may_be_one_string_and_a_restart_count_without_a_policy_says_nothing() -> None:
    host = convert_host.host_config_of(Fields({"CapAdd": "net_admin", "CapDrop": ["MKNOD"], "RestartPolicy": {"Name": "", "MaximumRetryCount": 3}}))
    assert (host.cap_add, host.cap_drop, host.restart, host.restart_max) == (("net_admin",), ("MKNOD",), "no", 0)


def test_detach_keys_are_held_back_until_they_are_complete_or_broken() -> None:
    keys = detach.keys_of("")
    assert keys == b"\x10\x11"
    detacher = detach.Detacher(keys)
    assert detacher.feed(b"ab\x10") == (b"ab", False)
    assert detacher.feed(b"c\x10\x10") == (b"\x10c\x10", False)
    assert detacher.feed(b"\x11later") == (b"", True)
    with pytest.raises(InvalidArgument, match="Invalid detach keys"):
        detach.keys_of("ctrl-1")
    with pytest.raises(InvalidArgument, match="Unknown character: 'ctrl-A'"):
        detach.keys_of("ctrl-A")
    assert detach.keys_of("ctrl-a,DEL,x,ctrl-_") == b"\x01\x7fx\x1f"


@pytest.mark.parametrize(
    ("host", "driver"),
    [
        ({}, "json-file"),  # docker-py, which looks for that name
        ({"LogConfig": {"Type": "", "Config": {}}}, "local"),  # docker without --log-driver
        ({"LogConfig": {}}, "local"),
        ({"LogConfig": {"Type": "none"}}, "none"),
    ],
)
def test_who_says_nothing_of_logs_gets_dockers_default_and_who_has_no_wish_gets_ours(host: dict[str, Any], driver: str) -> None:
    assert convert_host.host_config_of(Fields(host)).log_driver == driver
