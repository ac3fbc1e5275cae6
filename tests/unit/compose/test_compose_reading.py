"""Compose files as values: what plain words are, where things stand, what is refused and in which words."""

import pytest

from cli.compose.interpolation import substituted
from cli.compose.source import ComposeError, parse, scalar
from cli.compose.stack import Settings, Stack, load


def no_file(path: str) -> bytes:
    raise FileNotFoundError(2, "No such file or directory", path)


def stack_of(*texts: str, environment: dict[str, str] | None = None, files: dict[str, bytes] | None = None) -> Stack:
    def read(path: str) -> bytes:
        return files[path] if files and path in files else no_file(path)

    names = [f"c{number}.yml" for number in range(len(texts))]
    return load([(name, text.encode()) for name, text in zip(names, texts, strict=True)], Settings("/w", environment or {}, read))


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("22:22", "22:22"), ("on", "on"), ("yes", "yes"), ("0777", 511), ("0o17", 15), ("1_000", 1000), ("0x1F", 31), ("1.50", 1.5), ("1e3", 1000.0),
        ("~", None), ("", None), ("True", True), ("2024-01-02", "2024-01-02"), ("0.0.0.0", "0.0.0.0"), ("08", 8.0), ("-5", -5),
    ],
)  # fmt: skip
def test_plain_words_mean_what_they_mean_to_docker(word: str, value: object) -> None:
    assert scalar(word) == value
    assert type(scalar(word)) is type(value)


def test_quoted_words_are_text_and_merge_keys_come_below() -> None:
    document = parse("c.yml", b'a: &a {x: 1, y: "2"}\nb:\n  <<: *a\n  x: 3\n')
    assert document.value == {"a": {"x": 1, "y": "2"}, "b": {"x": 3, "y": "2"}}
    assert document.place(("b", "x")).line == 4
    assert document.place(("b", "z", "q")).line == 2


def test_numbers_with_exponents_are_numbers_and_a_key_before_a_brace_has_nothing() -> None:
    (service,) = stack_of("services: {a: {image: b, environment: {A: 1e3, B: 2.123456789, C: '1e3', D:}, healthcheck: {retries: 2.5}}}").services.values()
    assert service["environment"] == {"A": "1000", "B": "2.123456789", "C": "1e3", "D": None}
    assert service["healthcheck"] == {"retries": 2}


def test_a_billion_laughs_are_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    with pytest.raises(ComposeError, match="excessive aliasing"):
        parse("c.yml", "\n".join(lines).encode())


def test_an_anchor_within_itself_is_refused() -> None:
    with pytest.raises(ComposeError, match="contains itself"):
        parse("c.yml", b"a: &a [*a]\n")


SERVICE = "services:\n  a:\n    image: x\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (SERVICE + "    nosuchkey: 1\n", "c0.yml:4: services.a Additional property nosuchkey is not allowed"),
        (SERVICE + "    environment: 5\n", "c0.yml:4: services.a.environment must be a mapping"),
        ("services:\n  a:\n    image: 5\n", "c0.yml:3: services.a.image must be a string"),
        (SERVICE + "    ports: 5\n", "c0.yml:4: services.a.ports must be a list"),
        (SERVICE + '    ports: ["80:x"]\n', "c0.yml:4: services.a.ports.0 Does not match format 'ports'"),
        (SERVICE + "    ports:\n      - 80:80\n      - {target: x}\n", "c0.yml:6: services.a.ports.1.target must be a integer"),
        (SERVICE + "    stop_grace_period: 5\n", "c0.yml:4: services.a.stop_grace_period must be a string"),
        (SERVICE + '    stop_grace_period: "5"\n', "c0.yml:4: services.a.stop_grace_period Does not match format 'duration'"),
        (SERVICE + "    volumes: [{source: x}]\n", "c0.yml:4: services.a.volumes.0 type is required"),
        (SERVICE + "    cap_add: [a, a]\n", "c0.yml:4: services.a.cap_add array items[0,1] must be unique"),
        (SERVICE + "    foo: 1\n    ports: 1\n", "c0.yml:5: services.a.ports must be a list"),
        (SERVICE + "    environment: {a: {b: c}}\n", "c0.yml:4: services.a.environment.a must be a string, number, boolean or null"),
        (SERVICE + "    ulimits: {nofile: {soft: 1}}\n", "c0.yml:4: services.a.ulimits.nofile hard is required"),
        (SERVICE + '    command: "a \\"b"\n', "c0.yml:4: services.a.command EOF found when expecting closing quote"),
        (SERVICE + "    deploy: {resources: {limits: {memory: xx}}}\n", "c0.yml:4: services.a.deploy.resources.limits.memory invalid size: 'xx'"),
        (SERVICE + "    env_file: nosuch\n", "c0.yml:4: open /w/nosuch: no such file or directory"),
        (SERVICE + "    volumes: [{type: bind, target: /x}]\n", 'c0.yml:4: invalid mount config for type "bind": field Source must not be empty'),
        (SERVICE + "    deploy: {replicas: -1}\n", "c0.yml:4: services.a.deploy.replicas -1 overflows uint"),
        (SERVICE + "    healthcheck: {retries: -1}\n", "c0.yml:4: services.a.healthcheck.retries -1 overflows uint"),
        (SERVICE + "    ports: ['80:80:80']\n", "c0.yml:4: services.a.ports.0 Does not match format 'ports'"),
        (SERVICE + "    extends: b\n", 'c0.yml:4: cannot extend service "b" in c0.yml: service not found'),
        (SERVICE + "    extends: a\n", "c0.yml:4: service a extends itself"),
        ("services:\n  a b:\n    image: x\n", "c0.yml:2: services Additional property a b is not allowed"),
        ("services: []\n", "c0.yml:1: services must be a mapping"),
        ("foo: 1\n", "c0.yml:1: (root) Additional property foo is not allowed"),
        ("- a\n", "c0.yml:1: top-level object must be a mapping"),
        ("", "c0.yml:1: top-level object must be a mapping"),
        ('version: "2"\n', "c0.yml:1: unsupported Compose file version: 2"),
        ("version: 3.8\n", "c0.yml:1: version must be a string"),
        (SERVICE + "    image: y\n", 'c0.yml:4: yaml: unmarshal errors:\n  line 4: mapping key "image" already defined at line 3'),
        (SERVICE + "    1: y\n", "c0.yml:4: non-string key in services.a: 1"),
        (
            "services:\n  a:\n    image: ${X:?no}\n",
            'c0.yml:3: invalid interpolation format for services.a.image: "required variable X is missing a value: no"; '
            "you may need to escape any $ with another $",
        ),
        (
            SERVICE + '    deploy: {replicas: "${N:-x}"}\n',
            'c0.yml:4: error while interpolating services.a.deploy.replicas: failed to cast to expected type: strconv.Atoi: parsing "x": invalid syntax',
        ),
        (SERVICE + "volumes: {f: {external: true, driver: q}}\n", 'c0.yml:4: conflicting parameters "external" and "driver" specified for volume "f"'),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_dockers_words_with_file_and_line(text: str, message: str) -> None:
    with pytest.raises(ComposeError) as caught:
        stack_of(text)
    assert caught.value.message == message


def test_yaml_that_is_none_names_the_line() -> None:
    with pytest.raises(ComposeError, match=r"^c0.yml:\d: yaml: line \d: "):
        stack_of("services:\n  a:\n    image: [x\n")


def test_forbidden_options_are_listed() -> None:
    with pytest.raises(ComposeError, match=r"compose file contains unsupported options:\n\nmem_limit: Set resource limits using deploy"):
        stack_of(SERVICE + "    mem_limit: 5\n")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a$A", "a1"), ("${A}b", "1b"), ("$$A", "$A"), ("${E:-x}", "x"), ("${E-x}", ""), ("${N-x}", "x"), ("${N:-${A}}", "1"), ("${N:-a${N:-b}c}", "abc"),
        ("${A:+y}", "y"), ("${N:+y}", ""), ("${E:+y}", ""), ("${E+y}", "y"), ("$N", ""), ("${N:-a:b}", "a:b"), ("${A:?no}", "1"),
    ],
)  # fmt: skip
def test_variables_are_substituted_as_in_the_specification(text: str, value: str) -> None:
    assert substituted(text, {"A": "1", "E": ""}) == value


def test_files_are_laid_over_one_another() -> None:
    base = SERVICE + '    command: one\n    ports: ["80:80", "90:90"]\n'
    base += '    environment: {A: "1", B: "2"}\n    cap_add: [x]\n    volumes: ["aa:/a", "bb:/b"]\n'
    over = 'services:\n  a:\n    command: two\n    ports: ["80:80", "70:70"]\n'
    over += '    environment: [B=3]\n    cap_add: [y]\n    volumes: ["cc:/a"]\n  b: {image: y}\n'
    made = stack_of(base, over).services
    assert made["a"]["command"] == ["two"]
    assert [port["published"] for port in made["a"]["ports"]] == [70, 80, 90]
    assert made["a"]["environment"] == {"A": "1", "B": "3"}
    assert made["a"]["cap_add"] == ["x", "y"]
    assert [mount["source"] for mount in made["a"]["volumes"]] == ["cc", "bb"]
    assert made["b"]["image"] == "y"


def test_a_service_extends_another_also_of_another_file() -> None:
    other = b"services:\n  base:\n    image: y\n    environment: {A: '1'}\n    env_file: e\n    volumes: ['./v:/v']\n"
    made = stack_of(
        "services:\n  a:\n    extends: {service: base, file: sub/o.yml}\n    environment: {B: '2'}\n",
        files={"/w/sub/o.yml": other, "/w/sub/e": b"C=3\n"},
    ).services["a"]
    assert made["image"] == "y"
    assert made["environment"] == {"A": "1", "B": "2", "C": "3"}
    assert made["volumes"][0]["source"] == "/w/sub/v"


def test_environment_files_and_names_without_values() -> None:
    files = {"/w/e": b"# c\nA=1\nB=\nC\nD\n"}
    text = SERVICE + "    env_file: [e, {path: nosuch, required: false}]\n    environment: {A: '2', X: , Y: }\n"
    made = stack_of(text, files=files, environment={"D": "d", "X": "x"})
    assert made.services["a"]["environment"] == {"A": "2", "B": "", "D": "d", "X": "x", "Y": None}


def test_a_service_of_a_profile_is_there_when_the_profile_is_asked_for() -> None:
    text = SERVICE + "  b: {image: y, profiles: [p]}\n"
    assert list(stack_of(text).services) == ["a"]
    assert list(stack_of(text, environment={"COMPOSE_PROFILES": "p"}).services) == ["a", "b"]
