"""`--change` of commit and import: Dockerfile's instructions on a container's configuration, which has null for what is empty."""

from __future__ import annotations

import json
from typing import Any

import pytest

from runtime.errors import BadImage
from runtime.images import config

EMPTY = {"Env": None, "Cmd": None, "Labels": None, "ExposedPorts": None, "Volumes": None, "OnBuild": None}
BASE = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}).encode()


def changed(*changes: str) -> dict[str, Any]:
    raw = config.committed(BASE, "sha256:" + "a" * 64, dict(EMPTY), changes, config.HistoryEntry())
    found: dict[str, Any] = json.loads(raw)["config"]
    return found


@pytest.mark.parametrize(
    ("change", "key", "value"),
    [
        ("EXPOSE 80/tcp 53/UDP", "ExposedPorts", {"80/tcp": {}, "53/udp": {}}),
        ("EXPOSE 80-82", "ExposedPorts", {"80/tcp": {}, "81/tcp": {}, "82/tcp": {}}),
        ('LABEL x=y z="q r"', "Labels", {"x": "y", "z": "q r"}),
        ("VOLUME /a /b", "Volumes", {"/a": {}, "/b": {}}),
        ("ENV P q", "Env", ["P=q"]),
        ("ENV A=1\nENV B=2\nENV A=$B C=${A:-x}$A", "Env", ["A=2", "B=2", "C=11"]),
        (r"ENV A='$B' B=\$B C=${N:-d} D=${N:+d} E=a\ b", "Env", ["A=$B", "B=$B", "C=d", "D=", "E=a b"]),
        ('ENV A "b  c" d', "Env", ["A=b  c d"]),
        ("ENV P=/p\nVOLUME $P/a\nVOLUME b", "Volumes", {"/p/a": {}, "b": {}}),
        ('LABEL "a b"=c', "Labels", {"a b": "c"}),
        ("ENV U=me\nUSER $U", "User", "me"),
        ("ONBUILD RUN x", "OnBuild", ["RUN x"]),
        ("HEALTHCHECK --interval=1m30s --retries=2 CMD true", "Healthcheck", {"Interval": 90_000_000_000, "Retries": 2, "Test": ["CMD-SHELL", "true"]}),
        ("WORKDIR a/../b", "WorkingDir", "/b"),
        ("CMD", "Cmd", ["/bin/sh", "-c"]),
        ("# a remark\n\nUSER me", "User", "me"),
        ("HEALTHCHECK NONE", "Healthcheck", {"Test": ["NONE"]}),
        ("HEALTHCHECK --retries=2 CMD x\nHEALTHCHECK NONE", "Healthcheck", {"Test": ["NONE"], "Retries": 2}),
    ],
)
def test_what_a_change_makes_of_nothing(change: str, key: str, value: object) -> None:
    assert changed(change)[key] == value


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("EXPOSE bad", "Invalid containerPort: bad"),
        ("EXPOSE 90-80", "Invalid containerPort: 90-80"),
        ("EXPOSE 80/x", "Invalid proto: x"),
        ("STOPSIGNAL 9", "stopsignal is not a valid change command"),
        ("HEALTHCHECK --interval=bad CMD true", 'time: invalid duration "bad"'),
        ("HEALTHCHECK --nosuch=1 CMD true", "Unknown flag: nosuch"),
        ("HEALTHCHECK --retries=x CMD true", 'strconv.ParseInt: parsing "x": invalid syntax'),
        ("HEALTHCHECK --retries=0 CMD true", "--retries must be at least 1 (not 0)"),
        ("HEALTHCHECK BAD", 'Unknown type "BAD" in HEALTHCHECK (try CMD)'),
        ("HEALTHCHECK CMD", "Missing command after HEALTHCHECK CMD"),
        ("HEALTHCHECK NONE x", "HEALTHCHECK NONE takes no arguments"),
        ("ENV", "ENV requires at least one argument"),
        ("ENV A", "ENV must have two arguments"),
        ("ENV =x", "ENV names can not be blank"),
        ("LABEL a", "LABEL must have two arguments"),
        ("USER", "USER requires exactly one argument"),
        ('VOLUME [""]', "VOLUME specified can not be an empty string"),
        ("VOLUME []", "VOLUME requires at least one argument"),
        ("", "file with no instructions"),
        ("ONBUILD ONBUILD RUN x", "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"),
        ("ONBUILD from y", "FROM isn't allowed as an ONBUILD trigger"),
        ("ENV A=${", "syntax error: bad substitution"),
        ("ENV A=${B:x}", "unsupported modifier (x) in substitution"),
        ("ENV A='b", "unexpected end of statement while looking for matching single-quote"),
        ("# only a remark", "file with no instructions"),
    ],
)
def test_refused_changes(change: str, sentence: str) -> None:
    with pytest.raises(BadImage) as caught:
        changed(change)
    assert str(caught.value) == sentence


def test_nothing_to_run_is_no_wish() -> None:
    configured = {"Cmd": ["touch", "/x"], "Entrypoint": None, "WorkingDir": "/w"}
    raw = config.committed(BASE, "sha256:" + "a" * 64, configured, ("ENTRYPOINT []", "CMD []", "WORKDIR deeper"), config.HistoryEntry())
    found = json.loads(raw)["config"]
    assert (found["Cmd"], found["Entrypoint"], found["WorkingDir"]) == (["touch", "/x"], [], "/w/deeper")


@pytest.mark.parametrize(
    ("changes", "entrypoint", "command"),
    [
        (('ENTRYPOINT ["a"]',), ["a"], None),
        (('CMD ["b"]', 'ENTRYPOINT ["a"]'), ["a"], ["b"]),
        (('ENTRYPOINT ["a"]', 'CMD ["b"]'), ["a"], ["b"]),
        (("ENTRYPOINT",), None, ["touch", "/x"]),
    ],
)
def test_another_program_does_not_take_the_command_over(changes: tuple[str, ...], entrypoint: object, command: object) -> None:
    raw = config.committed(BASE, "sha256:" + "a" * 64, {"Cmd": ["touch", "/x"], "Entrypoint": ["old"]}, changes, config.HistoryEntry())
    found = json.loads(raw)["config"]
    assert (found["Entrypoint"], found["Cmd"]) == (entrypoint, command)


def test_an_image_of_nothing_new_has_no_new_layer() -> None:
    found = json.loads(config.committed(BASE, "", dict(EMPTY), (), config.HistoryEntry(created="2024-01-01T00:00:00Z")))
    assert (found["rootfs"]["diff_ids"], found["history"]) == ([], [{"created": "2024-01-01T00:00:00Z", "empty_layer": True}])


def test_a_configuration_of_ones_own_lies_over_the_containers() -> None:
    base = {"Env": ["A=1", "B=2"], "Cmd": ["sh"], "Entrypoint": ["/init"], "User": "me", "Labels": {"x": "1"}, "ExposedPorts": {"80/tcp": {}}}
    assert config.laid_over({"Env": ["B=3"], "Labels": {"y": "2"}, "Cmd": None, "User": ""}, base) == base | {
        "Env": ["B=3", "A=1"], "Labels": {"x": "1", "y": "2"}, "Volumes": {}, "Healthcheck": None,
    }  # fmt: skip
    assert config.laid_over({"Entrypoint": ["/mine"], "Cmd": None}, base)["Cmd"] is None
