"""What users may do with services: the rules and Docker's sentences."""

from __future__ import annotations

from random import Random

import msgspec
import pytest

from cluster.model.changes import Kind, Op, created, deleted
from cluster.model.errors import ClusterError, Conflict, FailedPrecondition, InvalidArgument, NotFound, OutOfSequence, Unsupported
from cluster.model.ids import NetworkId
from cluster.model.objects import Network, Service, UpdateState
from cluster.model.specs import (
    ContainerSpec,
    EndpointMode,
    EndpointSpec,
    Mount,
    NetworkAttachmentConfig,
    NetworkSpec,
    Placement,
    PortConfig,
    PublishMode,
    Resources,
    ServiceMode,
    ServiceModeKind,
    ServiceSpec,
    TaskSpec,
    UpdateConfig,
)
from cluster.wire.calls import Remove, ServiceWrite
from manager.control import services
from manager.store import Store

NOW = 1_700_000_000_000_000_000


def spec(name: str = "web", **more: object) -> ServiceSpec:
    task = {k: more.pop(k) for k in ("limits", "reservations", "placement", "networks") if k in more}
    container = more.pop("container", ContainerSpec("busybox"))
    return ServiceSpec(name, TaskSpec(container, **task), **more)  # type: ignore[arg-type]


def published(*ports: PortConfig, mode: EndpointMode = EndpointMode.VIP) -> EndpointSpec:
    return EndpointSpec(mode, ports)


def port(number: int, mode: PublishMode = PublishMode.INGRESS) -> PortConfig:
    return PortConfig(target_port=80, published_port=number, publish_mode=mode)


class World:
    """A store and the index of its last entry."""

    def __init__(self) -> None:
        self.store = Store()
        self.rng = Random(1)
        self.ingress = self.network("ingress", ingress=True)

    def create(self, wanted: ServiceSpec) -> Service:
        changes, answer = services.create(self.store, ServiceWrite(wanted), NOW, self.rng)
        self.store.apply(self.store.index + 1, changes)
        service = self.store.get(Kind.SERVICE, answer.id)
        assert service is not None
        return service

    def update(self, service: Service, wanted: ServiceSpec, version: int | None = None, *, rollback: bool = False) -> Service:
        seen = service.meta.version if version is None else version
        request = ServiceWrite(wanted, service.id, seen, rollback)
        changes, _ = services.update(self.store, request, NOW + 1, self.rng)
        self.store.apply(self.store.index + 1, changes)
        after = self.store.get(Kind.SERVICE, service.id)
        assert after is not None
        return after

    def network(self, name: str, *, ingress: bool = False) -> Network:
        network = Network(NetworkId("n" + name), NetworkSpec(name, ingress=ingress))
        self.store.apply(self.store.index + 1, (created(network),))
        return network


@pytest.fixture
def world() -> World:
    return World()


@pytest.mark.parametrize(
    ("wanted", "sentence"),
    [
        (spec("bad name"), "name must be valid as a DNS name component"),
        (spec("0123456789" * 6 + "0123"), "name must be 63 characters or fewer"),
        (spec("-x"), "name must be valid as a DNS name component"),
        (spec(""), "meta: name must be provided"),
        (spec(container=ContainerSpec("")), "ContainerSpec: image reference must be provided"),
        (spec(container=ContainerSpec("Bad Image")), 'ContainerSpec: "Bad Image" is not a valid repository/tag'),
        (
            spec(container=ContainerSpec("busybox", mounts=(Mount("volume", "a", "/x"), Mount("bind", "/b", "/x")))),
            "ContainerSpec: duplicate mount point: /x",
        ),
        (spec(limits=Resources(nano_cpus=10_000)), "invalid cpu value 1e-05: Must be at least 0.001"),
        (spec(limits=Resources(nano_cpus=100_000)), "invalid cpu value 0.0001: Must be at least 0.001"),
        (spec(reservations=Resources(memory_bytes=1)), "invalid memory value 1: Must be at least 4MiB"),
        (spec(placement=Placement(("nonsense",))), "constraint expected one operator from ==, !="),
        (
            spec(endpoint=published(port(81), mode=EndpointMode.DNSRR)),
            "EndpointSpec: port published with ingress mode can't be used with dnsrr mode",
        ),
        (spec(labels=(("festoon.port.80.affinity", "x"),)), "invalid affinity value 'x': it is one of client-ip, none"),
        (
            spec(labels=(("festoon.port.web.affinity", "none"),)),
            "invalid label 'festoon.port.web.affinity': labels of ports are festoon.port.PORT[/PROTOCOL].affinity and .source-ip",
        ),
        (spec(endpoint=published(port(81), port(81))), "EndpointSpec: duplicate published ports provided"),
        (
            spec(update=UpdateConfig(max_failure_ratio=1.5)),
            "TaskSpec: update-maxfailureratio cannot be less than 0 or bigger than 1",
        ),
    ],
)
def test_a_bad_spec_is_refused_in_dockers_words(world: World, wanted: ServiceSpec, sentence: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        world.create(wanted)
    assert refused.value.message == sentence


def test_host_ports_go_with_dnsrr(world: World) -> None:
    world.create(spec(endpoint=published(port(81, PublishMode.HOST), mode=EndpointMode.DNSRR)))


def test_a_taken_name_conflicts_in_any_case(world: World) -> None:
    world.create(spec("web"))
    for name in ("web", "WEB"):
        with pytest.raises(ClusterError, match=f"name conflicts with an existing object: service {name} already exists"):
            world.create(spec(name))


@pytest.mark.parametrize(
    ("holder", "asker", "kind"),
    [
        (PublishMode.INGRESS, PublishMode.INGRESS, "an ingress port"),
        (PublishMode.INGRESS, PublishMode.HOST, "an ingress port"),
        (PublishMode.HOST, PublishMode.INGRESS, "a host-published port"),
    ],
)
def test_a_taken_port_names_its_service(world: World, holder: PublishMode, asker: PublishMode, kind: str) -> None:
    web = world.create(spec("web", endpoint=published(port(8080, holder))))
    with pytest.raises(InvalidArgument) as refused:
        world.create(spec("two", endpoint=published(port(8080, asker))))
    assert refused.value.message == f"port '8080' is already in use by service 'web' ({web.id}) as {kind}"


def test_two_services_may_publish_one_port_in_host_mode(world: World) -> None:
    world.create(spec("one", endpoint=published(port(8080, PublishMode.HOST))))
    world.create(spec("two", endpoint=published(port(8080, PublishMode.HOST))))


def test_a_service_keeps_its_own_port_in_an_update(world: World) -> None:
    web = world.create(spec("web", endpoint=published(port(8080))))
    world.update(web, spec("web", endpoint=published(port(8080)), labels=(("a", "b"),)))


def test_networks_are_named_by_id_afterwards(world: World) -> None:
    network = world.network("mynet")
    web = world.create(spec("web", networks=(NetworkAttachmentConfig("mynet", ("alias",)),)))
    assert web.spec.task.networks == (NetworkAttachmentConfig(network.id, ("alias",)),)


def test_the_deprecated_list_of_networks_moves_into_the_task(world: World) -> None:
    network = world.network("mynet")
    wanted = msgspec.structs.replace(spec("web"), networks=(NetworkAttachmentConfig("mynet"),))
    web = world.create(wanted)
    assert web.spec.task.networks == (NetworkAttachmentConfig(network.id),)
    assert web.spec.networks == ()


def test_an_unknown_network_is_named(world: World) -> None:
    with pytest.raises(NotFound, match=r"^network nosuch not found$"):
        world.create(spec(networks=(NetworkAttachmentConfig("nosuch"),)))


def test_the_mesh_needs_its_network(world: World) -> None:
    plain = world.create(spec())
    world.store.apply(world.store.index + 1, (deleted(world.ingress),))
    words = "service needs ingress network, but no ingress network is present"
    for ask in (lambda: world.create(spec("other", endpoint=published(port(81)))), lambda: world.update(plain, spec(endpoint=published(port(81))))):
        with pytest.raises(FailedPrecondition, match=words):
            ask()
    world.create(spec("on-nodes", endpoint=published(port(81, PublishMode.HOST))))


def test_nobody_attaches_to_the_ingress_network(world: World) -> None:
    with pytest.raises(InvalidArgument, match='Service cannot be explicitly attached to the ingress network "ingress"'):
        world.create(spec(networks=(NetworkAttachmentConfig("ingress"),)))


def test_update_keeps_the_replaced_spec(world: World) -> None:
    web = world.create(spec("web"))
    after = world.update(web, spec("web", labels=(("a", "b"),)))
    assert after.previous_spec == web.spec
    assert after.spec.labels == (("a", "b"),)
    assert after.meta.version > web.meta.version
    assert after.spec_version == after.meta.version


def test_a_stale_version_is_out_of_sequence(world: World) -> None:
    web = world.create(spec("web"))
    world.update(web, spec("web", labels=(("a", "b"),)))
    with pytest.raises(OutOfSequence, match="update out of sequence"):
        world.update(web, spec("web"))


def test_mode_and_name_stay(world: World) -> None:
    web = world.create(spec("web"))
    with pytest.raises(InvalidArgument, match="service mode change is not allowed"):
        world.update(web, spec("web", mode=ServiceMode(ServiceModeKind.GLOBAL)))
    with pytest.raises(Unsupported, match="renaming services is not supported"):
        world.update(web, spec("other"))


def test_rollback_swaps_the_specs(world: World) -> None:
    first = world.create(spec("web"))
    second = world.update(first, spec("web", labels=(("a", "b"),)))
    third = world.update(second, second.spec, rollback=True)
    assert (third.spec, third.previous_spec) == (first.spec, second.spec)
    assert third.update_status is not None
    assert third.update_status.state is UpdateState.ROLLBACK_STARTED


def test_rollback_needs_a_previous_spec(world: World) -> None:
    web = world.create(spec("web"))
    with pytest.raises(FailedPrecondition, match=r"^service [a-z0-9]{25} does not have a previous spec$"):
        world.update(web, web.spec, rollback=True)


def test_a_job_runs_anew_after_an_update(world: World) -> None:
    mode = ServiceMode(ServiceModeKind.REPLICATED_JOB, 3)
    job = world.create(spec("job", mode=mode))
    assert (job.job_iteration, world.update(job, spec("job", mode=mode, labels=(("a", "b"),))).job_iteration) == (1, 2)


def test_remove_deletes_once(world: World) -> None:
    web = world.create(spec("web"))
    changes, answer = services.remove(world.store, Remove(web.id), NOW, world.rng)
    assert [(c.op, c.kind, c.id) for c in changes] == [(Op.DELETE, Kind.SERVICE, web.id)]
    assert answer.id == web.id
    world.store.apply(world.store.index + 1, changes)
    with pytest.raises(NotFound, match=f"service {web.id} not found"):
        services.remove(world.store, Remove(web.id), NOW, world.rng)


def test_ids_come_from_the_given_randomness(world: World) -> None:
    same = [services.create(Store(), ServiceWrite(spec()), NOW, Random(7))[1].id for _ in range(2)]
    assert same[0] == same[1]
    assert len(same[0]) == 25


def test_conflict_is_the_class_of_a_taken_name(world: World) -> None:
    world.create(spec("web"))
    with pytest.raises(Conflict):
        world.create(spec("web"))
