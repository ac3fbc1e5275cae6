"""Whatever a service's spec says, converting it to the API's JSON, through text, and back gives the same spec."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from agent.engine.convert_services import service_spec_json, service_spec_of, with_defaults
from agent.engine.fields import Fields
from cluster.model.specs import (
    ContainerSpec,
    EndpointMode,
    EndpointSpec,
    FailureAction,
    GenericResource,
    HealthCheck,
    Mount,
    NetworkAttachmentConfig,
    Placement,
    Platform,
    PortConfig,
    PublishMode,
    Resources,
    RestartCondition,
    RestartPolicy,
    ServiceMode,
    ServiceModeKind,
    ServiceSpec,
    TaskSpec,
    Ulimit,
    UpdateConfig,
    UpdateOrder,
)

TEXT = st.text(max_size=8)
WORD = st.text(st.characters(categories=("Ll", "Nd")), min_size=1, max_size=8)
WORDS = st.lists(TEXT, max_size=3).map(tuple)
PAIRS = st.dictionaries(WORD, TEXT, max_size=3).map(lambda d: tuple(sorted(d.items())))
NUMBER = st.integers(0, 2**62)
MAYBE = st.none() | NUMBER

PATH = st.from_regex(r"/[a-z0-9 .]{1,8}", fullmatch=True)
VOLUME_NAME = st.from_regex(r"[a-z][a-z0-9_.-]{1,8}", fullmatch=True)
BINDS = st.builds(
    Mount, st.just("bind"), PATH, PATH, st.booleans(), st.sampled_from([(), (("propagation", "rslave"),), (("create-mountpoint", "true"),)])
)
VOLUMES = st.builds(
    Mount, st.just("volume"), VOLUME_NAME, PATH, st.booleans(),
    st.sampled_from([(), (("volume-nocopy", "true"), ("volume-label:a", "b"), ("volume-driver", "local"), ("volume-opt:o", "p"))]),
)  # fmt: skip
MEMORY = st.builds(Mount, st.just("tmpfs"), st.just(""), PATH, st.booleans(), st.sampled_from([(), (("tmpfs-size", "64"), ("tmpfs-mode", "1770"))]))
HEALTH = st.none() | st.builds(HealthCheck, WORDS, NUMBER, NUMBER, NUMBER, NUMBER)
CONTAINER = st.builds(
    ContainerSpec, image=TEXT, command=WORDS, args=WORDS, hostname=TEXT, env=WORDS, dir=TEXT, user=TEXT, groups=WORDS, labels=PAIRS, tty=st.booleans(),
    open_stdin=st.booleans(), read_only=st.booleans(), init=st.none() | st.booleans(), stop_signal=TEXT, stop_grace_ns=MAYBE,
    mounts=st.lists(BINDS | VOLUMES | MEMORY, max_size=3).map(tuple), hosts=WORDS, dns_nameservers=WORDS, dns_search=WORDS, dns_options=WORDS, health=HEALTH,
    sysctls=PAIRS, cap_add=WORDS, cap_drop=WORDS, ulimits=st.lists(st.builds(Ulimit, WORD, NUMBER, NUMBER), max_size=2).map(tuple), isolation=WORD,
)  # fmt: skip
GENERIC = st.builds(GenericResource, WORD, NUMBER) | st.builds(GenericResource, WORD, st.just(1), WORD)
RESOURCES = st.none() | st.builds(Resources, NUMBER, NUMBER, NUMBER, st.lists(GENERIC, max_size=2).map(tuple))
NETWORKS = st.lists(st.builds(NetworkAttachmentConfig, WORD, WORDS, PAIRS), max_size=2).map(tuple)
TASK = st.builds(
    TaskSpec, container=CONTAINER, limits=RESOURCES, reservations=RESOURCES,
    restart=st.none() | st.builds(RestartPolicy, st.sampled_from(RestartCondition), MAYBE, NUMBER, MAYBE),
    placement=st.none() | st.builds(Placement, WORDS, WORDS, NUMBER, st.lists(st.builds(Platform, TEXT, TEXT), max_size=2).map(tuple)), networks=NETWORKS,
    force_update=NUMBER, log_driver=TEXT, log_options=PAIRS, runtime=st.just("container"),
)  # fmt: skip
MODES = st.one_of(
    st.builds(ServiceMode, st.just(ServiceModeKind.REPLICATED), NUMBER),
    st.just(ServiceMode(ServiceModeKind.GLOBAL)),
    st.builds(ServiceMode, st.just(ServiceModeKind.REPLICATED_JOB), NUMBER, NUMBER),
    st.just(ServiceMode(ServiceModeKind.GLOBAL_JOB)),
)
UPDATE = st.none() | st.builds(
    UpdateConfig, NUMBER, NUMBER, st.sampled_from(FailureAction), st.none() | st.integers(1, 2**62), st.floats(0, 1), st.sampled_from(UpdateOrder)
)
PORTS = st.builds(
    PortConfig, st.sampled_from(["tcp", "udp", "sctp"]), st.integers(0, 65535), st.integers(0, 65535), st.sampled_from(PublishMode), TEXT
)
ENDPOINT = st.none() | st.builds(EndpointSpec, st.sampled_from(EndpointMode), st.lists(PORTS, max_size=3).map(tuple))
SPECS = st.builds(ServiceSpec, name=TEXT, task=TASK, labels=PAIRS, mode=MODES, update=UPDATE, rollback=UPDATE, endpoint=ENDPOINT, networks=NETWORKS)


def through_text(value: object) -> Fields:
    return Fields(msgspec.json.decode(msgspec.json.encode(value)))


@given(SPECS)
def test_a_spec_comes_back_equal(spec: ServiceSpec) -> None:
    assert service_spec_of(through_text(service_spec_json(spec))) == spec


@given(SPECS)
def test_defaults_filled_in_twice_are_the_same_and_can_be_sent_back(spec: ServiceSpec) -> None:
    once = with_defaults(service_spec_json(spec))
    assert with_defaults(once) == once
    again = service_spec_of(through_text(once))
    assert (again.name, again.mode, again.labels, again.task.networks) == (spec.name, spec.mode, spec.labels, spec.task.networks)
