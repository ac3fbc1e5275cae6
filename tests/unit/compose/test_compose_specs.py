"""A stack as what is posted, and as what `stack config` prints."""

import pytest

from cli.compose import specs
from cli.compose.dump import dump, stack_text
from cli.compose.source import ComposeError
from cli.compose.stack import Settings, Stack, check_images, load
from cluster.model import depends_on


def settings(**files: bytes) -> Settings:
    def read(path: str) -> bytes:
        name = path.rpartition("/")[2]
        if name not in files:
            raise FileNotFoundError(2, "No such file or directory", path)
        return files[name]

    return Settings("/w", {"V": "secret"}, read)


def stack_of(text: str) -> Stack:
    return load([("c.yml", text.encode())], settings())


def spec_of(text: str, name: str = "a") -> dict[str, object]:
    return specs.services(stack_of(text), "st")[name]


def test_a_service_becomes_what_docker_posts() -> None:
    spec = spec_of(
        """
services:
  a:
    image: busybox
    command: sleep "1 0"
    environment: {B: "2", A: }
    ports: ["8090:80"]
    networks: {front: {aliases: [w]}}
    volumes: ["data:/data:ro"]
    secrets: [s]
    deploy: {replicas: 2, labels: {x: "y"}, resources: {limits: {cpus: "0.5", memory: 50M}}, update_config: {order: start-first}}
networks: {front: }
volumes: {data: }
secrets: {s: {file: ./f}}
"""
    )
    assert spec == {
        "Name": "st_a",
        "Labels": {"x": "y", "com.docker.stack.namespace": "st", "com.docker.stack.image": "busybox"},
        "TaskTemplate": {
            "ContainerSpec": {
                "Image": "busybox:latest",
                "Labels": {"com.docker.stack.namespace": "st"},
                "Args": ["sleep", "1 0"],
                "Env": ["A", "B=2"],
                "Privileges": {"CredentialSpec": None, "SELinuxContext": None},
                "Mounts": [
                    {
                        "Type": "volume", "Source": "st_data", "Target": "/data", "ReadOnly": True,
                        "VolumeOptions": {"Labels": {"com.docker.stack.namespace": "st"}},
                    }
                ],
                "Secrets": [{"File": {"Name": "s", "UID": "0", "GID": "0", "Mode": 0o444}, "SecretName": "st_s"}],
            },
            "Resources": {"Limits": {"NanoCPUs": 500_000_000, "MemoryBytes": 50 * 1024 * 1024}},
            "Placement": {},
            "Networks": [{"Target": "st_front", "Aliases": ["w", "a"]}],
            "ForceUpdate": 0,
        },
        "Mode": {"Replicated": {"Replicas": 2}},
        "UpdateConfig": {"Parallelism": 1, "MaxFailureRatio": 0, "Order": "start-first"},
        "EndpointSpec": {"Ports": [{"Protocol": "tcp", "TargetPort": 80, "PublishedPort": 8090, "PublishMode": "ingress"}]},
    }  # fmt: skip


def test_networks_are_made_where_a_service_uses_them() -> None:
    made, external = specs.networks(
        stack_of("services:\n  a: {image: x}\n  b: {image: x, networks: [n, e]}\nnetworks: {n: {internal: true}, e: {external: true}, unused: {}}\n"), "st"
    )
    labels = {"com.docker.stack.namespace": "st"}
    assert made == {"st_default": {"Driver": "overlay", "Labels": labels}, "st_n": {"Driver": "overlay", "Labels": labels, "Internal": True}}
    assert external == ["e"]


def test_secrets_come_from_files_contents_and_variables() -> None:
    stack = stack_of("services: {}\nsecrets: {f: {file: ./f}, c: {content: text}, e: {environment: V}, x: {external: true}}\n")
    made = specs.file_objects(stack, "st", "secret", settings(f=b"data"))
    assert {one["Name"]: one["Data"] for one in made} == {"st_f": "ZGF0YQ==", "st_c": "dGV4dA==", "st_e": "c2VjcmV0"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("services:\n  a:\n    image: x\n    networks: [n]\n", 'c.yml:4: service a: undefined network "n"'),
        ("services:\n  a:\n    image: x\n    volumes: ['vvv:/v']\n", 'c.yml:4: service a: undefined volume "vvv"'),
        ("services:\n  a:\n    image: x\n    secrets:\n      - n\n", 'c.yml:5: service a: undefined secret "n"'),
        ("services:\n  a:\n    image: x\n    depends_on: [n]\n", 'c.yml:4: service a: depends on undefined service "n"'),
        ("services:\n  a: {image: x, depends_on: [b]}\n  b: {image: x, depends_on: [a]}\n", "c.yml:2: service a: dependency cycle detected: a -> b -> a"),
        ("services:\n  a:\n    image: x\n    deploy:\n      mode: foo\n", "c.yml:5: service a: Unknown mode: foo"),
        ("services:\n  a:\n    image: x\n    restart: foo\n", "c.yml:4: service a: invalid restart policy: unknown policy 'foo'"),
    ],
)
def test_what_can_not_be_meant_names_file_and_line(text: str, message: str) -> None:
    with pytest.raises(ComposeError) as caught:
        spec_of(text)
    assert caught.value.message.startswith(message)


def test_a_service_needs_an_image() -> None:
    with pytest.raises(ComposeError, match=r"c.yml:2: invalid image reference for service a: no image specified"):
        check_images(stack_of("services:\n  a: {command: x}\n"))


def test_dependencies_are_a_label_that_can_be_read_back() -> None:
    asked = "{b: {condition: service_healthy}, c: {condition: service_started}}"
    spec = spec_of(f"services:\n  a:\n    image: x\n    depends_on: {asked}\n  b: {{image: x}}\n  c: {{image: x}}\n")
    labels = spec["Labels"]
    assert isinstance(labels, dict)
    assert depends_on.of(tuple(labels.items())) == (
        depends_on.Dependency("st_b", depends_on.Condition.HEALTHY),
        depends_on.Dependency("st_c", depends_on.Condition.STARTED),
    )


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("1", '"1"'), ("yes", '"yes"'), ("12:30", '"12:30"'), ("2024-01-02", '"2024-01-02"'), ("a: b", "'a: b'"), ("- a", "'- a'"), ("-a", "-a"),
        ("it's", "it's"),
        ("'a'", "'''a'''"), ("a #b", "'a #b'"), ("a#b", "a#b"), ("", '""'), ("a\tb", '"a\\tb"'), ("\x01", '"\\x01"'), ("a\nb", "|-\n  a\n  b"),
        ("a\n", "|\n  a"), (" x\ny", "|2-\n   x\n  y"), ("a\n\n", "|+\n  a\n"), ("~", '"~"'), ("<<", "<<"), ("é", "é"), ("\U0001d11e", '"\\U0001D11E"'),
        (".5", '".5"'), ("1e3", '"1e3"'), ("08", '"08"'), ("0x", "0x"), ("-", "'-'"), ("--", "--"), ("---", "'---'"), ("trailing ", "'trailing '"),
    ],
)  # fmt: skip
def test_texts_are_written_as_docker_writes_them(value: str, written: str) -> None:
    assert dump({"k": value}) == f"k: {written}\n"


def test_config_prints_the_long_form() -> None:
    text = stack_text(stack_of("services:\n  a: {image: x, ports: [80], healthcheck: {interval: 1m30s}, deploy: {resources: {limits: {memory: 1k}}}}\n"))
    assert text == (
        'version: "3.13"\nservices:\n  a:\n    deploy:\n      resources:\n        limits:\n          memory: "1024"\n    healthcheck:\n      interval: 1m30s\n'
        "    image: x\n    ports:\n      - mode: ingress\n        target: 80\n        protocol: tcp\n"
    )
