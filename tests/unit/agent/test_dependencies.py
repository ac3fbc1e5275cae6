"""What a task's container gets of secrets and configs: places, owners, and data with its templates filled in."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from agent.dependencies import Dependencies, places
from cluster.model.assignments import ConfigItem, SecretItem
from cluster.model.errors import InvalidArgument
from cluster.model.ids import ConfigId, SecretId, ServiceId, TaskId
from cluster.model.objects import Config, NodeDescription, Secret, Task
from cluster.model.specs import ContainerSpec, DependencyFile, DependencySpec, TaskSpec
from runtime.spec import IdRange

NODE = NodeDescription(hostname="here")


def secret(name: str, data: bytes = b"x") -> SecretItem:
    return SecretItem(Secret(SecretId(name), DependencySpec(name, data=data)))


def config(data: bytes, templating: str = "golang") -> ConfigItem:
    return ConfigItem(Config(ConfigId("t"), DependencySpec("t", data=data, templating=templating)))


def file(name: str, target: str = "", **more: object) -> DependencyFile:
    return DependencyFile(name, name, target or name, **more)  # type: ignore[arg-type]


def task(**container: object) -> Task:
    spec = TaskSpec(ContainerSpec("busybox", **container))  # type: ignore[arg-type]
    return Task(TaskId("t" * 25), ServiceId("s" * 25), spec, service_name="web", slot=2, service_labels=(("tier", "front"),))


def given(*items: SecretItem | ConfigItem) -> Dependencies:
    made = Dependencies()
    made.assign(items, (), complete=True)
    return made


def expanded(data: bytes, templating: str = "golang") -> bytes:
    made = task(secrets=(file("s", "inner"),), configs=(file("t"),), env=("A=b",))
    return given(secret("s", b"hunter2"), config(data, templating)).files(made, NODE, "n1", None)[1].data


def test_where_files_are() -> None:
    spec = task(secrets=(file("a"), file("b", "/abs/x"), file("c", "sub/y")), configs=(file("d"), file("e", "/etc/e"))).spec.container
    assert [target for target, _ in places(spec)] == ["/run/secrets/a", "/abs/x", "/run/secrets/sub/y", "/d", "/etc/e"]


def test_owners_and_modes_also_in_a_user_namespace() -> None:
    made, dependencies = task(secrets=(file("a", uid="7", gid="8", mode=0o400), file("b"))), given(secret("a"), secret("b", b"y"))
    plain = dependencies.files(made, NODE, "n1", None)
    assert [(f.data, f.uid, f.gid, f.mode) for f in plain] == [(b"x", 7, 8, 0o400), (b"y", 0, 0, 0o444)]
    inside = dependencies.files(made, NODE, "n1", IdRange(100_000, 1000))
    assert [(f.uid, f.gid) for f in inside] == [(100_007, 100_008), (100_000, 100_000)]
    for uid in ("x", "-1", "1000"):
        with pytest.raises(InvalidArgument, match="invalid owner"):
            dependencies.files(task(secrets=(file("a", uid=uid),)), NODE, "n1", IdRange(100_000, 1000))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("{{ .Service.Name }} {{.Task.Slot}} {{.Node.Hostname}} {{.Node.ID}}", "web 2 here n1"),
        ('{{ env "A" }}{{ env "NONE" }}', "b"),
        ("{{ range $k, $v := .Service.Labels }}{{ $k }}={{ $v }}{{ end }}", "tier=front"),
        ('{{ secret "inner" }}', "hunter2"),
        ('{{ if eq (env "A") "b" }}yes{{ else }}no{{ end }}', "yes"),
    ],
)
def test_templates(text: str, shown: str) -> None:
    assert expanded(text.encode()).decode() == shown


@pytest.mark.parametrize("text", ["{{ .Nope }}", "{{", '{{ secret "nosuch" }}', "{{ nosuch }}", '{{ config "s" }}'])
def test_templates_that_do_not_fit(text: str) -> None:
    with pytest.raises(InvalidArgument):
        expanded(text.encode())


def test_bytes_that_are_no_text_pass_through_a_template_unchanged() -> None:
    assert expanded(b"\xff\xfe {{ .Service.Name }} \x00") == b"\xff\xfe web \x00"


def test_another_template_driver_is_refused() -> None:
    with pytest.raises(InvalidArgument, match=r"^unable to get config from config store: failed to expand templated config t: unrecognized template type$"):
        expanded(b"x", "jinja")


def test_a_task_waits_until_all_is_here() -> None:
    async def main() -> None:
        spec, dependencies = task(secrets=(file("a"), file("b"))).spec.container, given(secret("a"))
        assert not dependencies.has(spec)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(dependencies.wait_for, spec)
            await trio.testing.wait_all_tasks_blocked()
            dependencies.assign((secret("b"),), (), complete=False)
        assert dependencies.has(spec)
        dependencies.assign((), ("secret/a",), complete=False)
        assert not dependencies.has(spec)

    trio.run(main)
