"""Docker's Python SDK on a node's socket: another client than docker, with its own way to read streams. Only what it does differently or alone; the
meaning of each request is tried elsewhere."""

from __future__ import annotations

import gc
import io
import itertools
import socket
import tarfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from lab import machines
from tests.driver import MANAGER, Lab, until

docker = pytest.importorskip("docker", reason="needs the PyPI package docker: ./check installs it")

pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # docker-py leaves hijacked sockets to the garbage collector
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

Client = Any
"""docker-py has no types."""


@pytest.fixture(scope="module")
def client(lab: Lab) -> Iterator[Client]:
    made = docker.DockerClient(base_url=f"unix://{machines.socket_of(lab.name, MANAGER)}", timeout=60)
    yield made
    made.close()
    gc.collect()  # what it left is found here, and not in the middle of another module's test


@pytest.fixture
def keep(client: Client) -> Iterator[Callable[..., Any]]:
    """keep(container): removed at the end."""
    kept: list[Any] = []

    def add(container: Any) -> Any:
        kept.append(container)
        return container

    yield add
    for container in kept:
        try:
            container.remove(force=True, v=True)
        except docker.errors.NotFound:
            pass


def archive(**files: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))
    return out.getvalue()


def test_run_gives_the_output_back_and_raises_for_a_status(client: Client) -> None:
    """docker-py looks for the driver's name: only json-file's output comes back."""
    assert client.containers.run("busybox", "echo hello", remove=True) == b"hello\n"
    both = client.containers.run("busybox", ["sh", "-c", "echo out; echo err >&2"], remove=True, stdout=True, stderr=True)
    assert sorted(both.split()) == [b"err", b"out"]  # of what both hold at one moment, either may be first
    assert b"".join(client.containers.run("busybox", "echo streamed", remove=True, stream=True)) == b"streamed\n"
    with pytest.raises(docker.errors.ContainerError) as failed:
        client.containers.run("busybox", ["sh", "-c", "echo why >&2; exit 3"], remove=True)
    assert (failed.value.exit_status, failed.value.stderr) == (3, b"why\n")
    with pytest.raises(docker.errors.APIError, match="executable file not found"):
        client.containers.run("busybox", "no-such-program", remove=True)
    assert client.info()["LoggingDriver"] == "local", "what is made without a word about logs by others"


def test_a_container_that_says_nothing_of_logs_keeps_json_lines_and_others_do_as_they_are_told(client: Client, keep: Any, lab: Lab) -> None:
    silent = keep(client.containers.run("busybox", "echo one", detach=True))
    silent.wait()
    silent.reload()
    assert silent.attrs["HostConfig"]["LogConfig"] == {"Type": "json-file", "Config": {}}
    assert '{"log":"one\\n","stream":"stdout"' in lab.ok(MANAGER, "cat", silent.attrs["LogPath"])
    told = keep(client.containers.run("busybox", "echo two", detach=True, log_config={"Type": "local"}))
    told.wait()
    told.reload()
    assert (told.attrs["HostConfig"]["LogConfig"]["Type"], told.attrs["LogPath"], told.logs()) == ("local", "", b"two\n")


def test_the_life_of_a_container(client: Client, keep: Any) -> None:
    box = keep(client.containers.create("busybox", "sleep 1000", name="py-life", labels={"py": "1"}, environment={"A": "b"}, stop_signal="SIGKILL"))
    assert (box.status, box.name, box.labels) == ("created", "py-life", {"py": "1"})
    box.start()
    box.reload()
    assert box.status == "running"
    assert [each.name for each in client.containers.list(filters={"label": "py=1"})] == ["py-life"]
    box.pause()
    box.reload()
    assert box.status == "paused"
    box.unpause()
    box.rename("py-renamed")
    box.reload()
    assert box.name == "py-renamed"
    box.update(mem_limit="64m", memswap_limit="64m")
    box.reload()
    assert box.attrs["HostConfig"]["Memory"] == 64 << 20
    assert "sleep 1000" in box.top()["Processes"][0][-1]
    box.restart(timeout=0)
    box.kill(signal="KILL")
    assert box.wait()["StatusCode"] == 137
    box.start()
    box.stop(timeout=0)
    box.reload()
    assert box.status == "exited"
    box.remove()
    with pytest.raises(docker.errors.NotFound):
        client.containers.get("py-renamed")


def test_what_was_asked_for_is_shown_in_its_users_words(client: Client, keep: Any) -> None:
    """Ansible and others compare it with what they would ask for now, and make the container anew where it differs."""
    host = {"cap_add": ["NET_ADMIN"], "cap_drop": ["CAP_CHOWN"], "runtime": "runc", "isolation": "default"}
    mac = "02:42:ac:11:00:0a"
    box = keep(client.containers.create("busybox", environment={"A": None, "B": "c"}, entrypoint="", init=False, mac_address=mac, **host))
    shown, config = box.attrs["HostConfig"], box.attrs["Config"]
    assert (shown["CapAdd"], shown["CapDrop"], shown["Runtime"], shown["Isolation"]) == (["NET_ADMIN"], ["CAP_CHOWN"], "runc", "default")
    assert (shown["Init"], config["MacAddress"]) == (False, mac)
    assert (config["Entrypoint"], config["Cmd"], config["Env"][:2]) == ([], ["sh"], ["A", "B=c"])
    plain = keep(client.containers.create("busybox", entrypoint="true")).attrs
    assert (plain["Config"]["Entrypoint"], plain["Config"]["Cmd"], plain["HostConfig"]["Runtime"]) == (["true"], None, "festoon")
    assert "Init" not in plain["HostConfig"]


def test_an_entrypoint_of_nothing_hides_the_images(client: Client, keep: Any) -> None:
    box = keep(client.containers.create("busybox", "true"))
    box.commit("py-entry", changes='ENTRYPOINT ["echo", "from the image"]')
    try:
        assert client.containers.run("py-entry", "echo mine", entrypoint="", remove=True) == b"mine\n"
        assert client.containers.run("py-entry", remove=True) == b"from the image\n"
    finally:
        client.images.remove("py-entry")


def test_statuses_that_programs_look_at(client: Client, keep: Any) -> None:
    silent = keep(client.containers.run("busybox", "true", detach=True, log_config={"Type": "none"}))
    with pytest.raises(docker.errors.APIError, match="does not support reading") as refused:
        silent.logs()
    assert refused.value.status_code == 501
    with pytest.raises(docker.errors.APIError, match="update the memoryswap at the same time") as refused:
        keep(client.containers.create("busybox", mem_limit="64m")).update(mem_limit="900m")
    assert refused.value.status_code == 409


def test_a_container_without_a_network_has_its_loopback_alone(client: Client, keep: Any) -> None:
    box = keep(client.containers.run("busybox", "sleep 1000", name="py-alone", network_disabled=True, detach=True))
    box.reload()
    assert (box.attrs["Config"]["NetworkDisabled"], box.attrs["NetworkSettings"]["Networks"]) == (True, {})
    assert box.attrs["NetworkSettings"]["SandboxKey"] == ""
    assert box.exec_run("ls /sys/class/net").output == b"lo\n"
    assert box.exec_run("ping -c 1 127.0.0.1").exit_code == 0


def test_exec_in_its_forms(client: Client, keep: Any) -> None:
    box = keep(client.containers.run("busybox", "sleep 1000", detach=True))
    assert tuple(box.exec_run(["sh", "-c", "echo out; echo err >&2; exit 4"], demux=True)) == (4, (b"out\n", b"err\n"))
    assert box.exec_run("id -u", user="1000").output == b"1000\n"
    assert box.exec_run("tty", tty=True).output == b"/dev/pts/0\r\n"
    assert b"".join(box.exec_run(["sh", "-c", "echo a; echo b"], stream=True).output) == b"a\nb\n"
    assert not box.exec_run("pwd", workdir="/tmp", environment={"X": "y"}, detach=True).output
    made = client.api.exec_create(box.id, "tty", tty=True)
    assert client.api.exec_start(made) == b"/dev/pts/0\r\n", "in frames: who starts it says nothing of a terminal"
    _, stream = box.exec_run("cat", stdin=True, socket=True)
    raw = stream._sock
    raw.sendall(b"typed\n")
    raw.shutdown(socket.SHUT_WR)
    heard = b""
    while piece := raw.recv(4096):
        heard += piece
    stream.close()
    assert heard == b"\x01\0\0\0\0\0\0\x06typed\n"


def test_logs_attach_and_stats(client: Client, keep: Any) -> None:
    script = "echo first; echo second >&2; while read line; do echo heard $line; done; echo over"
    box = keep(client.containers.create("busybox", ["sh", "-c", script], stdin_open=True))
    stream = box.attach_socket(params={"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1})
    box.start()
    stream._sock.sendall(b"this\n")
    follower = box.logs(stream=True, follow=True)
    assert sorted(itertools.islice(follower, 3)) == [b"first\n", b"heard this\n", b"second\n"]
    numbers = box.stats(stream=False)
    assert numbers["pids_stats"]["current"] == 1
    assert 0 < numbers["memory_stats"]["usage"] < numbers["memory_stats"]["limit"]
    assert numbers["cpu_stats"]["cpu_usage"]["total_usage"] > 0
    series = box.stats(decode=True)
    assert len(list(itertools.islice(series, 2))) == 2
    series.close()
    stream._sock.shutdown(socket.SHUT_WR)
    assert b"".join(follower) == b"over\n"
    assert box.wait()["StatusCode"] == 0
    stream.close()


def test_files_go_in_and_out_and_become_images(client: Client, keep: Any) -> None:
    box = keep(client.containers.run("busybox", "sleep 1000", detach=True))
    assert box.put_archive("/tmp", archive(one="1\n", two="22\n"))
    assert box.exec_run("cat /tmp/one /tmp/two").output == b"1\n22\n"
    data, facts = box.get_archive("/tmp/two")
    with tarfile.open(fileobj=io.BytesIO(b"".join(data))) as tar:
        member = tar.extractfile("two")
        assert member is not None
        assert member.read() == b"22\n"
    assert (facts["name"], facts["size"]) == ("two", 3)
    assert {"Path": "/tmp/two", "Kind": 1} in box.diff()
    with tarfile.open(fileobj=io.BytesIO(b"".join(box.export()))) as tar:
        assert "tmp/one" in tar.getnames()
    own = box.commit("py-own", "1", conf={"Env": ["MADE=no"], "Labels": {"own": "yes"}})
    assert (own.attrs["Config"]["Env"][0], own.labels) == ("MADE=no", {"own": "yes"})
    client.images.remove("py-own:1")
    image = box.commit("py-made", "1", changes="ENV MADE=yes")
    try:
        assert image.tags == ["py-made:1"]
        assert client.containers.run("py-made:1", ["sh", "-c", "cat /tmp/one; echo $MADE"], remove=True) == b"1\nyes\n"
    finally:
        client.images.remove("py-made:1")


def test_images(client: Client) -> None:
    busybox = client.images.get("busybox")
    assert busybox.id in {image.id for image in client.images.list()}
    assert busybox.tag("py-tagged", "7")
    assert "py-tagged:7" in client.images.get("py-tagged:7").tags
    saved = b"".join(client.images.get("py-tagged:7").save(named="py-tagged:7"))
    client.images.remove("py-tagged:7")
    with pytest.raises(docker.errors.ImageNotFound):
        client.images.get("py-tagged:7")
    assert [image.tags for image in client.images.load(saved)] == [[*busybox.tags, "py-tagged:7"]]
    assert len(client.images.get("py-tagged:7").history()) >= 1
    client.images.remove("py-tagged:7")
    with pytest.raises(docker.errors.APIError, match="build"):
        client.images.build(fileobj=io.BytesIO(b"FROM busybox\n"))
    assert client.images.prune()["SpaceReclaimed"] >= 0


def test_volumes_and_networks(client: Client, keep: Any) -> None:
    volume = client.volumes.create("py-volume", labels={"py": "1"})
    network = client.networks.create("py-network", driver="bridge", labels={"py": "1"})
    try:
        assert [each.name for each in client.volumes.list(filters={"label": "py=1"})] == ["py-volume"]
        assert client.volumes.get("py-volume").attrs["Driver"] == "local"
        assert [each.name for each in client.networks.list(filters={"label": "py"})] == ["py-network"]
        mount = docker.types.Mount("/data", "py-volume")
        box = keep(client.containers.run("busybox", "sleep 1000", detach=True, name="py-box", mounts=[mount], network="py-network"))
        network.reload()
        assert [each.name for each in network.containers] == ["py-box"]
        assert client.containers.run("busybox", "ping -c 1 -W 5 py-box", remove=True, network="py-network").count(b"1 packets received") == 1
        network.disconnect(box)
        network.connect(box, aliases=["other"])
        assert b"1 packets received" in client.containers.run("busybox", "ping -c 1 -W 5 other", remove=True, network="py-network")
        with pytest.raises(docker.errors.APIError, match="volume is in use"):
            volume.remove()
        box.remove(force=True)
    finally:
        network.remove()
        volume.remove()
    assert client.volumes.prune()["SpaceReclaimed"] >= 0
    assert client.networks.prune()["NetworksDeleted"] in (None, [])


def test_swarm_services_nodes_and_tasks(client: Client) -> None:
    assert client.swarm.attrs["JoinTokens"]["Worker"].startswith("SWMTKN-1-")
    nodes = {node.attrs["Description"]["Hostname"]: node for node in client.nodes.list()}
    assert nodes[MANAGER].attrs["ManagerStatus"]["Leader"]
    worker = client.nodes.get(nodes["swarm-worker1"].id)
    worker.update({**worker.attrs["Spec"], "Labels": {"py": "1"}})
    until(lambda: client.nodes.get(worker.id).attrs["Spec"]["Labels"] == {"py": "1"})
    worker.reload()
    worker.update({**worker.attrs["Spec"], "Labels": {}})
    service = client.services.create("busybox", "sleep 1000", name="py-service", mode=docker.types.ServiceMode("replicated", replicas=2), labels={"py": "1"})
    try:
        assert [each.name for each in client.services.list(filters={"label": "py=1"})] == ["py-service"]

        def running(number: int) -> bool:
            tasks = service.tasks(filters={"desired-state": "running"})
            return [task["Status"]["State"] for task in tasks] == ["running"] * number

        assert until(lambda: running(2))
        assert service.scale(1)
        assert until(lambda: running(1))
        service.reload()
        assert service.update(env=["A=b"])

        def replaced() -> bool:
            tasks = service.tasks(filters={"desired-state": "running"})
            return [(task["Status"]["State"], task["Spec"]["ContainerSpec"].get("Env")) for task in tasks] == [("running", ["A=b"])]

        assert until(replaced)
        service.reload()
        service.force_update()
        task = client.api.inspect_task(service.tasks()[0]["ID"])
        assert task["ServiceID"] == service.id
    finally:
        service.remove()
    with pytest.raises(docker.errors.NotFound):
        client.services.get("py-service")


def test_an_update_of_the_swarm_says_all_of_it(client: Client) -> None:
    """What is left out is what it is by default: programs leave out what is 0 or empty."""
    swarm = client.swarm
    swarm.update(task_history_retention_limit=3, keep_old_snapshots=2, labels={"py": "1"})
    swarm.reload()
    spec = swarm.attrs["Spec"]
    assert (spec["Orchestration"]["TaskHistoryRetentionLimit"], spec["Raft"]["KeepOldSnapshots"], spec["Labels"]) == (3, 2, {"py": "1"})
    swarm.update()
    swarm.reload()
    spec = swarm.attrs["Spec"]
    assert (spec["Orchestration"]["TaskHistoryRetentionLimit"], spec["Raft"]["KeepOldSnapshots"], spec["Labels"]) == (5, 0, {})
    with pytest.raises(docker.errors.APIError, match='swarm spec must be named "default"'):
        swarm.update(name="other")


def test_what_is_shown_to_be_on_a_network_can_be_taken_off(client: Client) -> None:
    """Ansible takes all off that it is about to remove, by the names that it sees there."""
    ingress = client.networks.get("ingress")
    shown = {each["Name"] for each in ingress.attrs["Containers"].values()}
    assert shown == {"ingress-endpoint"}
    ingress.disconnect("ingress-endpoint", force=True)
    with pytest.raises(docker.errors.NotFound, match="endpoint other-endpoint not found"):
        ingress.disconnect("other-endpoint", force=True)


def test_addresses_and_aliases_that_can_not_be(client: Client, keep: Any) -> None:
    pool = docker.types.IPAMPool(subnet="10.94.0.0/24", aux_addresses={"a": "10.1.1.1"})
    with pytest.raises(docker.errors.APIError, match=r"auxiliary address: \(a:10.1.1.1\) must belong to the master pool: 10.94.0.0/24"):
        client.networks.create("py-aux", ipam=docker.types.IPAMConfig(pool_configs=[pool]))
    alias = client.api.create_networking_config({"bridge": client.api.create_endpoint_config(aliases=["x"])})
    with pytest.raises(docker.errors.APIError, match="network-scoped alias is supported only for containers in user defined networks"):
        client.api.create_container("busybox", networking_config=alias)


def test_events_and_system(client: Client, keep: Any) -> None:
    assert client.ping()
    assert client.version()["ApiVersion"] == client.api._version
    assert set(client.info()["Runtimes"]) >= {"festoon", "runc"}, "all that a container may ask for"
    began = int(time.time())
    box = keep(client.containers.run("busybox", "true", detach=True, labels={"py-events": "1"}))
    box.wait()
    box.remove()
    seen = client.events(decode=True, since=began, until=int(time.time()) + 1, filters={"label": "py-events=1"})
    assert [event["Action"] for event in seen] == ["create", "start", "die", "destroy"]
    assert client.df()["Images"]
    assert client.containers.prune(filters={"label": "no-such"})["SpaceReclaimed"] == 0


def test_older_versions_of_the_api_mean_what_they_meant(lab: Lab, client: Client, keep: Any) -> None:
    """A bind's read-only tree has been a promise since 1.44 only; what a container has got is told from its first start on."""
    old = docker.APIClient(base_url=f"unix://{machines.socket_of(lab.name, MANAGER)}", version="1.43", timeout=60)

    def body(**options: bool) -> dict[str, Any]:
        mount = {"Type": "bind", "Source": "/tmp", "Target": "/t", "ReadOnly": True, "BindOptions": {"Propagation": "rprivate"} | options}
        return {"Image": "busybox", "Cmd": ["true"], "HostConfig": {"Mounts": [mount]}}

    with pytest.raises(docker.errors.APIError, match=r"BindOptions.ReadOnlyForceRecursive needs API v1.44 or newer"):
        old.create_container_from_config(body(ReadOnlyForceRecursive=True))
    made = keep(client.containers.get(old.create_container_from_config(body(ReadOnlyNonRecursive=True))["Id"]))
    assert made.attrs["HostConfig"]["Mounts"][0]["BindOptions"] == {"Propagation": "rprivate"}
    looks = {"Image": "busybox", "Cmd": ["grep", " /host/shm ", "/proc/self/mountinfo"], "HostConfig": {"Binds": ["/dev:/host:ro"]}}
    for api, found in ((old, b" rw,"), (client.api, b" ro,")):
        one = keep(client.containers.get(api.create_container_from_config(looks)["Id"]))
        one.start()
        one.wait()
        assert b" /host/shm" + found in one.logs()
    assert (made.attrs["ResolvConfPath"], made.attrs["NetworkSettings"]["Networks"]["bridge"]["NetworkID"]) == ("", "")
    made.start()
    made.wait()
    made.reload()
    assert made.attrs["ResolvConfPath"].endswith(f"{made.id}/resolv.conf")
    assert made.attrs["NetworkSettings"]["Networks"]["bridge"]["NetworkID"] == client.networks.get("bridge").id
    old.close()


def test_attaching_replays_what_was_said_when_asked(client: Client, keep: Any) -> None:
    box = keep(client.containers.run("busybox", ["sh", "-c", "echo earlier; read line; echo $line"], detach=True, stdin_open=True))
    assert until(lambda: box.logs() == b"earlier\n")
    assert box.attach(logs=True, stream=False) == b"earlier\n"
    assert box.attach(logs=False, stream=False) == b""
    said = box.attach(logs=True, stream=True)
    assert next(said) == b"earlier\n"
    feed = box.attach_socket(params={"stdin": 1, "stream": 1})
    feed._sock.sendall(b"later\n")
    feed._sock.shutdown(socket.SHUT_WR)
    assert b"".join(said) == b"later\n"
    feed.close()
    box.wait()
    assert box.attach(logs=True, stream=False, stderr=False) == b"earlier\nlater\n"
