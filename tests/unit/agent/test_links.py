"""Docker's legacy links: what a container is told of another one, and what can't be linked."""

from __future__ import annotations

import pytest

from agent import links
from agent.records import Attachment, Config, HostConfig, Record, State
from cluster.model.errors import Internal, InvalidArgument, NotFound

BRIDGE = Attachment(network_id="b", network_name="bridge", interface="eth0", address="172.17.0.2/16")


def record(name: str, *, status: str = "running", host: HostConfig | None = None, exposed: tuple[str, ...] = (), env: tuple[str, ...] = ()) -> Record:
    config = Config(image="busybox", hostname=f"{name}-host", exposed_ports=exposed, env=env)
    return Record(id=f"id-{name}", name=name, created_at_ns=1, image_id="i", path="sh", args=(), config=config, host=host or HostConfig(),
                  state=State(status=status), attachments=(BRIDGE,))  # fmt: skip


def told(child: Record) -> dict[str, str]:
    parent = record("web", host=HostConfig(links=((child.id, "data-base"),)))
    return dict(line.split("=", 1) for line in links.environment(links.of(parent, {child.id: child}.get)))


def test_variables_name_every_port_and_the_child_s_own_environment() -> None:
    child = record("db", exposed=("5432/tcp", "53/udp"), env=("PASS=a=b", "PATH=/bin", "HOME=/root", "EMPTY="))
    assert told(child) == {
        "DATA_BASE_PORT": "udp://172.17.0.2:53",
        "DATA_BASE_PORT_53_UDP": "udp://172.17.0.2:53",
        "DATA_BASE_PORT_53_UDP_ADDR": "172.17.0.2",
        "DATA_BASE_PORT_53_UDP_PORT": "53",
        "DATA_BASE_PORT_53_UDP_PROTO": "udp",
        "DATA_BASE_PORT_5432_TCP": "tcp://172.17.0.2:5432",
        "DATA_BASE_PORT_5432_TCP_ADDR": "172.17.0.2",
        "DATA_BASE_PORT_5432_TCP_PORT": "5432",
        "DATA_BASE_PORT_5432_TCP_PROTO": "tcp",
        "DATA_BASE_NAME": "/web/data-base",
        "DATA_BASE_ENV_PASS": "a=b",
        "DATA_BASE_ENV_EMPTY": "",
    }


def test_runs_of_ports_are_told_by_their_ends() -> None:
    found = told(record("db", exposed=("90/tcp", "91/tcp", "92/tcp", "99/tcp", "100/tcp")))
    assert (found["DATA_BASE_PORT_90_TCP_START"], found["DATA_BASE_PORT_90_TCP_END"]) == ("tcp://172.17.0.2:90", "tcp://172.17.0.2:92")
    assert (found["DATA_BASE_PORT_90_TCP_PORT_START"], found["DATA_BASE_PORT_90_TCP_PORT_END"]) == ("90", "92")
    assert "DATA_BASE_PORT_99_TCP_START" not in found


def test_a_line_of_etc_hosts_has_the_alias_the_hostname_and_the_name() -> None:
    child = record("db")
    parent = record("web", host=HostConfig(links=((child.id, "alias"), ("id-gone", "gone"))))
    assert links.hosts_lines(links.of(parent, {child.id: child}.get)) == ("172.17.0.2\talias db-host db",)


def test_what_can_t_be_linked_is_refused_in_docker_s_words() -> None:
    def find(name: str) -> Record:
        if name == "db":
            return record("db")
        if name == "onhost":
            return record("onhost", host=HostConfig(network_mode="host"))
        raise NotFound(f"No such container: {name}")

    def resolved(mode: str, *texts: str) -> tuple[tuple[str, str], ...]:
        return links.resolved(HostConfig(network_mode=mode, links=tuple(map(links.split, texts))), find)

    assert resolved("default", "db", "/db:/web/x", "db:") == (("id-db", "db"), ("id-db", "x"))
    assert resolved("mynet", "nosuch") == ()
    with pytest.raises(InvalidArgument, match="could not get container for nosuch: No such container: nosuch"):
        resolved("bridge", "nosuch")
    with pytest.raises(InvalidArgument, match='could not get container for : invalid name or ID supplied: ""'):
        resolved("default", ":x")
    for mode, text, words in (("host", "db", "host type networking"), ("container:x", "db", "container type network"), ("default", "onhost", "host type")):
        with pytest.raises(InvalidArgument, match=f"conflicting options: {words}.*can't be used with links"):
            resolved(mode, text)
    parent, stopped = record("web"), record("db", status="exited")
    with pytest.raises(Internal, match="Cannot link to a non running container: /db AS /web/x"):
        links.check_live(parent, (links.Link("x", "/web/x", stopped),))


def test_of_two_links_with_one_alias_the_first_counts() -> None:
    host = HostConfig(links=(("a", "db"), ("b", "db"), ("b", "other")))
    assert links.resolved(host, record) == (("id-a", "db"), ("id-b", "other"))


def test_what_shares_a_network_is_linked_as_the_container_whose_network_it_is() -> None:
    sharing = {name: record(name, host=HostConfig(network_mode=f"container:{other}")) for name, other in (("beside", "db"), ("third", "beside"))}
    known = sharing | {"db": record("db")}
    assert links.resolved(HostConfig(links=(("third", "store"),)), known.__getitem__) == (("id-db", "store"),)
    waiting = {name: record(name, host=HostConfig(network_mode=f"container:{other}")) for name, other in (("a", "b"), ("b", "a"))}
    assert links.carrier(waiting["a"], waiting.__getitem__).id in {"id-a", "id-b"}
