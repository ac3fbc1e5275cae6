"""What older versions of the API are told."""

from __future__ import annotations

from agent.engine import past_fields

IMAGE = {"Size": 7, "Config": {"Cmd": ["sh"]}}
SUMMARY = {"Size": 7, "Containers": 2}
ENDPOINT = {"Aliases": ["a"], "DNSNames": ["web", "a", "0123456789ab", "host"]}
INFO = {
    "SecurityOptions": ["name=seccomp,profile=builtin", "name=userns"], "FirewallBackend": {"Driver": "nftables"}, "RegistryConfig": {"Mirrors": []},
    **{name: {"ID": "x"} for name in ("ContainerdCommit", "RuncCommit", "InitCommit")},
}  # fmt: skip
NEWEST = (1, 51)


def test_the_newest_version_is_told_what_there_is() -> None:
    assert past_fields.image_of(IMAGE, NEWEST) == IMAGE
    assert past_fields.summary_of(SUMMARY, NEWEST) == SUMMARY
    assert past_fields.endpoint_of(ENDPOINT, NEWEST) == ENDPOINT
    assert past_fields.info_of(INFO, NEWEST) == INFO


def test_images() -> None:
    assert past_fields.image_of(IMAGE, (1, 43))["VirtualSize"] == 7
    assert "VirtualSize" not in past_fields.image_of(IMAGE, (1, 44))
    assert past_fields.image_of(IMAGE, (1, 49))["Config"].items() >= {"Cmd": ["sh"], "Hostname": "", "Tty": False}.items()
    assert "ContainerConfig" not in past_fields.image_of(IMAGE, (1, 45))
    old = past_fields.image_of(IMAGE, (1, 44))
    assert (old["Container"], old["ContainerConfig"]) == ("", old["Config"])
    assert past_fields.summary_of(SUMMARY, (1, 50)) == {"Size": 7, "Containers": -1}
    assert past_fields.sized_of(SUMMARY, (1, 43)) == {"Size": 7, "Containers": 2, "VirtualSize": 7}


def test_endpoints() -> None:
    assert past_fields.endpoint_of(ENDPOINT, (1, 44)) == {"Aliases": ["a", "0123456789ab", "host"], "DNSNames": ENDPOINT["DNSNames"]}
    assert past_fields.endpoint_of(ENDPOINT, (1, 43)) == {"Aliases": ["a", "0123456789ab", "host"]}
    assert past_fields.endpoint_of({"Aliases": None, "DNSNames": None}, (1, 24)) == {"Aliases": None}


def test_the_nodes_own() -> None:
    assert past_fields.info_of(INFO, (1, 49)) == INFO | {"BridgeNfIptables": False, "BridgeNfIp6tables": False}
    old = past_fields.info_of(INFO, (1, 24))
    assert (old["SecurityOptions"], old["ExecutionDriver"], old["KernelMemory"]) == (["seccomp", "userns"], "<not supported>", False)
    assert old["RuncCommit"] == {"ID": "x", "Expected": "x"}
    assert old["RegistryConfig"]["AllowNondistributableArtifactsCIDRs"] is None
    assert "FirewallBackend" not in old


def test_the_first_compose_is_answered_as_of_its_time_whatever_it_asks_for() -> None:
    assert past_fields.known_to(NEWEST, "docker-compose/1.29.2 Linux/6.1.0") == (1, 41)
    assert past_fields.known_to((1, 30), "docker-compose/1.29.2 Linux/6.1.0") == (1, 30)
    assert past_fields.known_to(NEWEST, "docker-compose/2.35.1") == past_fields.known_to(NEWEST, "") == NEWEST
