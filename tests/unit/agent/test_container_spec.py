"""Docker's defaults for a container: environment, capabilities, files, signals."""

import re

import pytest

from agent import container_spec as cs
from agent.records import Config, HostConfig, Record, State
from cluster.model.errors import InvalidArgument
from runtime.images.config import ImageConfig
from runtime.spec import DEFAULT_CAPABILITIES, RootFs, User


def record(**changes: object) -> Record:
    config = Config(image="busybox", hostname="box", cmd=("sleep", "1"), env=("PATH=/bin", "A=1"))
    base = {
        "id": "a" * 64, "name": "x", "created_at_ns": 1, "image_id": "sha256:1", "path": "sleep", "args": ("1",), "config": config, "host": HostConfig(),
        "state": State(),
    }  # fmt: skip
    return Record(**(base | changes))  # type: ignore[arg-type]


def test_the_users_variables_override_the_images_and_a_bare_name_removes() -> None:
    merged = cs.merge_environment(("PATH=/bin", "A=1", "B=2"), ("A=9", "B", "HOSTNAME"))
    assert merged == ("A=9", "B", "HOSTNAME", "PATH=/bin"), "inspect shows what was asked for"
    assert cs.environment(Config(image="i", hostname="box", env=merged), "/root") == ("PATH=/bin", "A=9", "HOME=/root")


def test_environment_starts_with_path_and_hostname_and_has_a_home() -> None:
    spec = cs.compile_container(record(), RootFs((), "u", "w"), User(), "/root", files="/c", log_path="/l", namespaces=cs.Namespaces(), mounts=())
    assert spec.env == ("PATH=/bin", "HOSTNAME=box", "A=1", "HOME=/root")
    assert [m.target for m in spec.mounts] == ["/etc/hostname", "/etc/hosts", "/etc/resolv.conf"]


def test_capabilities_are_dockers_fourteen_changed_by_add_and_drop() -> None:
    assert set(cs.capabilities((), (), privileged=False)) == set(DEFAULT_CAPABILITIES)
    assert "NET_ADMIN" in cs.capabilities(("NET_ADMIN",), (), privileged=False)
    assert cs.capabilities(("CAP_CHOWN",), ("ALL",), privileged=False) == ("CHOWN",)
    assert len(cs.capabilities((), (), privileged=True)) == len(cs.ALL_CAPABILITIES)
    with pytest.raises(InvalidArgument, match="CAP_NONSENSE"):
        cs.capabilities(("nonsense",), (), privileged=False)


def test_an_own_entrypoint_drops_the_images_command() -> None:
    image = ImageConfig(env=("X=1",), cmd=("sh",), entrypoint=("/init",), working_dir="/w")
    assert cs.with_image(Config(image="i"), image, "b" * 64).cmd == ("sh",)
    own = cs.with_image(Config(image="i", entrypoint=("/mine",)), image, "b" * 64)
    assert (own.entrypoint, own.cmd, own.working_dir, own.hostname) == (("/mine",), None, "/w", "b" * 12)


@pytest.mark.parametrize(
    ("asked", "merged"),
    [
        ({}, (("/init",), ("sh",))),
        ({"cmd": ("ls",)}, (("/init",), ("ls",))),
        ({"entrypoint": ()}, ((), ("sh",))),  # docker-py's way to say "none"
        ({"entrypoint": (), "cmd": ("ls",)}, ((), ("ls",))),
        ({"entrypoint": ("",), "cmd": ("ls",)}, (None, ("ls",))),  # docker's
        ({"entrypoint": ("",)}, (None, None)),
    ],
)
def test_an_empty_entrypoint_is_none_at_all(asked: dict[str, tuple[str, ...]], merged: tuple[object, object]) -> None:
    own = cs.with_image(Config(image="i", **asked), ImageConfig(cmd=("sh",), entrypoint=("/init",)), "b" * 64)  # type: ignore[arg-type]
    assert (own.entrypoint, own.cmd) == merged


def test_a_working_folder_is_kept_without_detours() -> None:
    assert cs.with_image(Config(image="i", cmd=("sh",), working_dir="//tmp/../x/./y/"), ImageConfig(), "b" * 64).working_dir == "/x/y"


def test_an_empty_home_is_none() -> None:
    assert cs.environment(Config(image="i", hostname="box", env=("HOME=",)), "/root")[2:] == ("HOME=/root",)


def test_a_loopback_resolver_of_the_host_is_not_handed_down() -> None:
    assert cs.resolv_file("nameserver 127.0.0.53\nsearch lan\n", HostConfig()) == "search lan\nnameserver 8.8.8.8\nnameserver 8.8.4.4\n"
    assert cs.names_stub_only("nameserver 127.0.0.53\noptions edns0 trust-ad\n")
    assert not cs.names_stub_only("nameserver 127.0.0.53\nnameserver 10.1.1.1\n")
    assert cs.resolv_file("nameserver 10.1.1.1\n", HostConfig(dns=("9.9.9.9",), dns_search=(".",))) == "nameserver 9.9.9.9\n"


def test_hosts_file_has_extra_names_and_the_own_one() -> None:
    text = cs.hosts_file(Config(image="i", hostname="box"), ["10.0.1.8/24"], ["db:1.2.3.4", "up:host-gateway"], "172.17.0.1")
    assert "1.2.3.4\tdb\n172.17.0.1\tup\n" in text
    assert text.endswith("10.0.1.8\tbox\n")


@pytest.mark.parametrize(("text", "number"), [("TERM", 15), ("SIGKILL", 9), ("2", 2), ("sigusr1", 10), ("SIGRTMIN+3", 37), ("rtmax-14", 50), ("RTMAX", 64)])
def test_signals(text: str, number: int) -> None:
    assert cs.signal_number(text) == number


def test_an_unknown_signal_is_a_users_mistake() -> None:
    for text in ("NOPE", "RTMIN+16", "RTMAX-15"):
        with pytest.raises(InvalidArgument, match=f"Invalid signal: {re.escape(text)}"):
            cs.signal_number(text)
