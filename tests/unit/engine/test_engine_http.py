"""The HTTP layer of the engine over a real unix socket: versions, headers, routes, errors, streams. The node is a stand-in that records calls."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import quote

import pytest
import trio

from agent.engine.routes import ROUTES, compile_routes, find
from agent.engine.server import run_engine, split_version
from agent.events import Event, EventBus
from agent.records import LocalNetwork
from cluster.model.changes import Kind
from cluster.model.errors import Conflict, InvalidArgument, NotFound, NotLeader, Unavailable
from cluster.model.ids import ClusterId, NetworkId, ServiceId, TaskId
from cluster.model.objects import Cluster, Meta, Network, Service, Task, TaskStatus
from cluster.model.specs import ContainerSpec, NetworkSpec, ServiceMode, ServiceSpec, TaskSpec
from cluster.model.task_state import TaskState
from cluster.wire.calls import Ids, LogLine, LogsOf, Objects, Query, ServiceWrite

SERVICE = Service(ServiceId("s1"), ServiceSpec("web", TaskSpec(ContainerSpec("busybox:latest")), mode=ServiceMode(replicas=2)), Meta(7), spec_version=7)


def task(identifier: str, spec_version: int = 7, state: TaskState = TaskState.RUNNING) -> Task:
    return Task(
        TaskId(identifier), SERVICE.id, SERVICE.spec.task, service_name="web", spec_version=spec_version, slot=1,
        status=TaskStatus(state), desired_state=TaskState.RUNNING,
    )  # fmt: skip


class RecordingSwarm:
    """Answers the managers' calls from a few objects and remembers what was asked."""

    state, node_id, node_address, error, is_manager = "active", "node1", "192.168.200.10", "", True
    managers = ("192.168.200.10:2377",)

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.failure: Exception | None = None

    async def call(self, name: str, request: Any = None) -> Any:
        self.calls.append((name, request))
        if self.failure is not None:
            raise self.failure
        if not isinstance(request, Query):
            return Ids("made", ("a warning",))
        if request.kind is Kind.SERVICE:
            if request.reference not in ("", "web", "s1"):
                raise NotFound("object not found")
            return Objects(services=(SERVICE,))
        if request.kind is Kind.TASK:
            return Objects(tasks=(task("t1"), task("t2", spec_version=3, state=TaskState.FAILED)))
        if request.kind is Kind.NETWORK:
            return Objects(networks=(Network(NetworkId("o1"), NetworkSpec("mynet")),))
        return Objects(clusters=(Cluster(ClusterId("c")),))

    async def query(self, request: Query) -> Objects:
        found = await self.call("control.list", request)
        assert isinstance(found, Objects)
        return found

    @asynccontextmanager
    async def stream(self, name: str, request: Any) -> AsyncIterator[AsyncIterator[Any]]:
        self.calls.append((name, request))

        async def lines() -> AsyncIterator[LogLine]:
            yield LogLine("t1", "s1", "n1", 1, 1_700_000_000_000_000_001, b"said by x\n")
            yield LogLine("t1", "s1", "n1", 2, 1_700_000_000_000_000_002, b"aside\n")

        yield lines()


class LocalOnly:
    extra: tuple[LocalNetwork, ...] = ()

    def all(self) -> tuple[LocalNetwork, ...]:
        return (LocalNetwork(id="b" * 64, name="bridge", driver="bridge", created_at_ns=1), *self.extra)

    def find(self, reference: str) -> LocalNetwork:
        raise NotFound(f"network {reference} not found")


class NoContainers:
    def records(self) -> tuple[Any, ...]:
        return ()

    def find(self, reference: str) -> Any:
        raise NotFound(f"No such container: {reference}")

    async def wait(self, _identifier: str, _condition: str) -> tuple[int, str]:
        await trio.sleep_forever()
        raise AssertionError


Answer = tuple[int, dict[str, str], bytes]
Ask = Callable[..., Awaitable[Answer]]


def stand_in(root: Path) -> Any:
    return SimpleNamespace(
        root=root, swarm=RecordingSwarm(), networks=SimpleNamespace(locals=LocalOnly()), containers=NoContainers(), events=EventBus(), hostname="h",
        engine_id="e", version="0.1.0", backend="nft", labels=(),
    )  # fmt: skip


def with_engine(tmp_path: Path, body: Callable[[Any, Ask], Awaitable[None]]) -> None:
    """Run `body(node, ask)` against the engine's real socket."""

    async def main() -> None:
        node, path = stand_in(tmp_path), tmp_path / "engine.sock"

        async def ask(method: str, target: str, json_body: object = None, raw: bytes = b"") -> Answer:
            payload = raw or (json.dumps(json_body).encode() if json_body is not None else b"")
            stream = await trio.open_unix_socket(str(path))
            async with stream:
                head = f"{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {len(payload)}\r\n\r\n"
                await stream.send_all(head.encode() + payload)
                received = b""
                with trio.fail_after(5):
                    async for piece in stream:
                        received += piece
            top, _, rest = received.partition(b"\r\n\r\n")
            lines = top.decode().split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
            return int(lines[0].split()[1]), headers, _dechunked(rest) if headers.get("transfer-encoding") == "chunked" else rest

        async with trio.open_nursery() as nursery:
            await nursery.start(run_engine, cast("Any", node), path)
            await body(node, ask)
            nursery.cancel_scope.cancel()

    trio.run(main)


def _dechunked(data: bytes) -> bytes:
    out = b""
    while data:
        size, _, data = data.partition(b"\r\n")
        length = int(size, 16)
        out, data = out + data[:length], data[length + 2 :]
    return out


def message(answer: Answer) -> tuple[int, str]:
    return answer[0], json.loads(answer[2])["message"]


def test_ping_says_versions_and_swarm(tmp_path: Path) -> None:
    async def body(node: Any, ask: Ask) -> None:
        status, headers, text = await ask("GET", "/_ping")
        assert (status, text) == (200, b"OK")
        assert headers["api-version"] == "1.51"
        assert headers["ostype"] == "linux"
        assert headers["swarm"] == "active/manager"
        assert headers["docker-experimental"] == "false"
        assert headers["server"].startswith("Festoon/")
        status, headers, text = await ask("HEAD", "/_ping")
        assert (status, text) == (200, b"")
        node.swarm.state = "inactive"
        assert (await ask("GET", "/v1.41/_ping"))[1]["swarm"] == "inactive"

    with_engine(tmp_path, body)


def test_versions_out_of_range_are_refused_in_dockers_words(tmp_path: Path) -> None:
    async def body(_node: Any, ask: Ask) -> None:
        assert message(await ask("GET", "/v1.99/version")) == (400, "client version 1.99 is too new. Maximum supported API version is 1.51")
        assert message(await ask("GET", "/v1.10/version")) == (
            400,
            "client version 1.10 is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version",
        )
        assert (await ask("GET", "/v1.24/version"))[0] == 200
        assert message(await ask("GET", "/nosuch")) == (404, "page not found")
        assert message(await ask("PATCH", "/version")) == (404, "page not found")

    with_engine(tmp_path, body)


def test_malformed_bodies_and_parameters_are_the_users_mistakes(tmp_path: Path) -> None:
    async def body(_node: Any, ask: Ask) -> None:
        assert (await ask("POST", "/services/create", raw=b"{"))[0] == 400
        assert (await ask("POST", "/services/create", raw=b"[]"))[0] == 400
        assert (await ask("POST", "/services/create", raw=b'{"Name":"\\ud800"}'))[0] == 400
        assert message(await ask("GET", "/services?filters=%7B%22nosuch%22%3A%5B%22x%22%5D%7D")) == (400, "invalid filter 'nosuch'")
        assert (await ask("POST", "/services/web/update?version=x", {}))[0] == 400
        assert (await ask("GET", "/services/web/logs"))[0] == 400

    with_engine(tmp_path, body)


def test_errors_keep_their_status_and_sentence(tmp_path: Path) -> None:
    async def body(node: Any, ask: Ask) -> None:
        node.swarm.failure = Conflict("name conflicts with an existing object: service web already exists")
        assert message(await ask("POST", "/services/create", {"Name": "web"})) == (409, node.swarm.failure.message)
        node.swarm.failure = Unavailable("This node is not a swarm manager.")
        assert message(await ask("GET", "/nodes")) == (503, "This node is not a swarm manager.")
        node.swarm.failure = NotLeader("10.0.0.1:2377")
        status, text = message(await ask("GET", "/nodes"))
        assert status == 503
        assert text.startswith("The swarm does not have a leader.")

    with_engine(tmp_path, body)


def test_a_service_that_is_not_there_has_dockers_sentence(tmp_path: Path) -> None:
    async def body(_node: Any, ask: Ask) -> None:
        assert message(await ask("GET", "/services/nosuch")) == (404, "service nosuch not found")
        assert message(await ask("GET", "/networks/nosuch?scope=local")) == (404, "network nosuch not found")
        assert message(await ask("GET", "/containers/nosuch/json")) == (404, "No such container: nosuch")

    with_engine(tmp_path, body)


def test_service_create_and_update_reach_the_managers(tmp_path: Path) -> None:
    async def body(node: Any, ask: Ask) -> None:
        status, _, text = await ask("POST", "/v1.50/services/create", {"Name": "web", "Mode": {"Replicated": {"Replicas": 3}}})
        assert (status, json.loads(text)) == (201, {"ID": "made", "Warnings": ["a warning"]})
        await ask("POST", "/services/web/update?version=7&registryAuthFrom=spec&rollback=previous", {"Name": "web"})
        name, request = node.swarm.calls[-1]
        assert name == "control.service_update"
        assert isinstance(request, ServiceWrite)
        assert (request.id, request.version, request.rollback) == ("s1", 7, True)

    with_engine(tmp_path, body)


def test_a_service_without_a_name_gets_one(tmp_path: Path) -> None:
    async def body(node: Any, ask: Ask) -> None:
        assert (await ask("POST", "/services/create", {"TaskTemplate": {"ContainerSpec": {"Image": "nginx:latest"}}}))[0] == 201
        name, request = node.swarm.calls[-1]
        assert (name, request.spec.name != "", request.spec.name != "web") == ("control.service_create", True, True)

    with_engine(tmp_path, body)


def test_one_name_is_one_network_of_the_node_or_of_the_cluster(tmp_path: Path) -> None:
    async def body(node: Any, ask: Ask) -> None:
        assert message(await ask("POST", "/networks/create", {"Name": "mynet"})) == (409, "network with name mynet already exists")
        node.networks.locals.extra = (LocalNetwork(id="c" * 64, name="mine", driver="bridge", created_at_ns=1),)
        answer = await ask("POST", "/networks/create", {"Name": "mine", "Driver": "overlay"})
        assert message(answer) == (409, "network with name mine already exists")

    with_engine(tmp_path, body)


def test_service_list_with_status_counts_tasks(tmp_path: Path) -> None:
    async def body(_node: Any, ask: Ask) -> None:
        shown = json.loads((await ask("GET", "/services?status=true"))[2])
        assert shown[0]["ServiceStatus"] == {"RunningTasks": 1, "DesiredTasks": 2, "CompletedTasks": 0}
        assert json.loads((await ask("GET", "/services?filters=%7B%22name%22%3A%5B%22x%22%5D%7D"))[2]) == []

    with_engine(tmp_path, body)


def test_a_task_that_runs_the_same_is_up_to_date_whatever_its_version(tmp_path: Path) -> None:
    async def body(node: Any, ask: Ask) -> None:
        filters = "%7B%22_up-to-date%22%3A%7B%22true%22%3Atrue%7D%2C%22service%22%3A%7B%22web%22%3Atrue%7D%7D"
        assert [t["ID"] for t in json.loads((await ask("GET", f"/tasks?filters={filters}"))[2])] == ["t1", "t2"]
        assert next(r for _, r in node.swarm.calls if r.kind is Kind.TASK).services == ("s1",)
        wrong = "%7B%22desired-state%22%3A%5B%22nosuch%22%5D%7D"
        assert message(await ask("GET", f"/tasks?filters={wrong}")) == (400, "invalid filter 'desired-state=[nosuch]'")

    with_engine(tmp_path, body)


def test_service_logs_are_framed_and_say_where_they_come_from(tmp_path: Path) -> None:
    async def body(node: Any, ask: Ask) -> None:
        status, headers, text = await ask("GET", "/v1.41/services/web/logs?stdout=1&stderr=1&details=1&timestamps=1&tail=5")
        origin = b"com.docker.swarm.node.id=n1,com.docker.swarm.service.id=s1,com.docker.swarm.task.id=t1"
        first = b"2023-11-14T22:13:20.000000001Z " + origin + b" said by x\n"
        assert status == 200
        assert headers["content-type"] == "application/vnd.docker.raw-stream"
        assert text.startswith(b"\x01\0\0\0" + len(first).to_bytes(4, "big") + first)
        assert b"\x02\0\0\0" in text
        request = node.swarm.calls[-1][1]
        assert isinstance(request, LogsOf)
        assert (request.tail, request.follow, request.services) == (5, False, ("s1",))
        assert (await ask("GET", "/services/web/logs?stdout=1"))[1]["content-type"] == "application/vnd.docker.multiplexed-stream"

    with_engine(tmp_path, body)


def test_swarm_spec_parameters_reach_the_membership(tmp_path: Path) -> None:
    async def body(node: Any, ask: Ask) -> None:
        seen = []

        async def init(options: Any) -> str:
            seen.append(options)
            return "node1"

        node.swarm.init = init
        status, _, text = await ask("POST", "/swarm/init", {"AdvertiseAddr": "192.168.200.10", "ListenAddr": "0.0.0.0:2377", "SubnetSize": 26})
        assert (status, json.loads(text)) == (200, "node1")
        assert (seen[0].advertise_address, seen[0].subnet_size, seen[0].availability) == ("192.168.200.10", 26, "active")
        await ask("POST", "/swarm/init", {"DataPathPort": 7, "ListenAddr": "0.0.0.0:2377"})
        assert seen[1].data_path_port == 7

    with_engine(tmp_path, body)


def test_events_are_lines_that_filters_choose(tmp_path: Path) -> None:
    async def body(node: Any, ask: Ask) -> None:
        node.events.publish(Event("container", "start", "c1", (("name", "a"),), time_ns=5))
        node.events.publish(Event("network", "create", "n1", time_ns=6))
        filters = "%7B%22type%22%3A%7B%22container%22%3Atrue%7D%7D"
        status, _, text = await ask("GET", f"/events?since=0&until=1&filters={filters}")
        assert status == 200
        shown = [json.loads(line) for line in text.splitlines()]
        assert [(e["Type"], e["Action"], e["Actor"]["ID"], e["status"]) for e in shown] == [("container", "start", "c1", "start")]

    with_engine(tmp_path, body)


def test_events_are_chosen_by_beginnings_whole_actions_and_images(tmp_path: Path) -> None:
    async def body(node: Any, ask: Ask) -> None:
        node.events.publish(Event("container", "health_status: healthy", "c1", (("image", "busybox:1"), ("name", "web")), time_ns=5))
        node.events.publish(Event("container", "die", "c2", (("image", "a.b:5/busybox"), ("name", "db")), time_ns=6))
        node.events.publish(Event("network", "create", "n1", (("name", "web_net"),), time_ns=7))
        for filters, shown in (
            ({"container": ["we"]}, ["c1", "n1"]), ({"container": ["/db"]}, ["c2"]), ({"event": ["health_status"]}, ["c1"]), ({"event": ["di"]}, []),
            ({"event": ["health_status: healthy", "die"]}, ["c1", "c2"]), ({"event": ["health_status: unhealthy"]}, []), ({"image": ["busybox"]}, ["c1"]),
            ({"image": ["a.b:5/busybox"]}, ["c2"]),
        ):  # fmt: skip
            _, _, text = await ask("GET", f"/events?since=0&until=1&filters={quote(json.dumps(filters))}")
            assert [json.loads(line)["Actor"]["ID"] for line in text.splitlines()] == shown, filters
        status, sentence = message(await ask("GET", "/events?since=2&until=1"))
        assert (status, sentence) == (400, "`since` time (2) cannot be after `until` time (1)")

    with_engine(tmp_path, body)


def test_what_is_not_served_says_so_in_one_sentence(tmp_path: Path) -> None:
    async def body(_node: Any, ask: Ask) -> None:
        for method, path in (("POST", "/build"), ("POST", "/build/cancel"), ("POST", "/session")):
            status, text = message(await ask(method, path))
            assert status == 501
            assert text

    with_engine(tmp_path, body)


def test_routes_take_names_with_slashes_only_where_images_are() -> None:
    table = compile_routes()
    found = find(table, "GET", "/images/a/b:c/json")
    assert found is not None
    assert found[1] == {"name": "a/b:c"}
    assert find(table, "GET", "/services/a/b") is None
    assert find(table, "GET", "/images/json") is not None
    assert find(table, "GET", "services") is None


def test_a_removal_without_a_name_comes_to_whom_it_is_meant_for_and_a_question_does_not() -> None:
    table = compile_routes()
    for path in ("/containers/", "/images/", "/volumes/"):
        found = find(table, "DELETE", path)
        assert found is not None
        assert set(found[1].values()) == {""}
    assert find(table, "GET", "/images//json") is None


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route[0]} {route[1]}")
def test_no_route_is_hidden_by_an_earlier_one(route: tuple[str, str, Any]) -> None:
    method, path, handler = route
    found = find(compile_routes(), method, path.replace("*", "").replace("{", "").replace("}", ""))
    assert found is not None
    assert found[0] is handler


def test_unversioned_paths_speak_the_newest_version() -> None:
    assert split_version("/info") == ((1, 51), "/info")
    assert split_version("/v1.41/containers/json") == ((1, 41), "/containers/json")
    with pytest.raises(InvalidArgument):
        split_version("/v2.0/info")


def test_a_body_nested_without_end_is_the_clients_mistake(tmp_path: Path) -> None:
    async def body(_node: Any, ask: Ask) -> None:
        for nested in (b"[" * 100_000, b'{"a":' * 100_000):
            assert message(await ask("POST", "/containers/create", raw=nested)) == (400, "invalid JSON: exceeded max depth")

    with_engine(tmp_path, body)
