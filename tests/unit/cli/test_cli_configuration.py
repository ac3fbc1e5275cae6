"""The user's choices in `config.json`: what they stand for in each command, and what sets them aside."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli import configuration

SERVICE = {"ID": "s1", "Spec": {"Name": "web", "Labels": {}, "Mode": {"Replicated": {"Replicas": 1}}, "TaskTemplate": {"ContainerSpec": {"Image": "box"}}},
           "Endpoint": {}, "ServiceStatus": {"RunningTasks": 1, "DesiredTasks": 1}}  # fmt: skip
TASK = {"ID": "t1", "ServiceID": "s1", "NodeID": "n1", "Slot": 1, "DesiredState": "running", "Status": {"State": "running"},
        "Spec": {"ContainerSpec": {"Image": "box"}}}  # fmt: skip
NAMED = {"ID": "x1", "CreatedAt": "2024-01-01T00:00:00Z", "UpdatedAt": "2024-01-01T00:00:00Z", "Spec": {"Name": "mine"}}
ANSWERS: dict[str, Any] = {
    "/containers/json": [{"Id": "c" * 64, "Names": ["/box"], "Image": "box", "Command": "sh", "Created": 1, "State": "running", "Status": "Up"}],
    "/images/json": [{"Id": "sha256:" + "i" * 64, "RepoTags": ["box:1"], "Created": 1, "Size": 5}],
    "/networks": [{"Id": "n" * 64, "Name": "net", "Driver": "bridge", "Scope": "local"}],
    "/volumes": {"Volumes": [{"Name": "vol", "Driver": "local"}]},
    "/services": [SERVICE], "/services/s1": SERVICE, "/services/web": SERVICE, "/tasks": [TASK], "/nodes/n1": {"Description": {"Hostname": "one"}},
    "/secrets": [NAMED], "/configs": [NAMED], "/info": {}, "/nodes": [{"ID": "n1", "Description": {"Hostname": "one"}, "Spec": {}, "Status": {}}],
}  # fmt: skip


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: Any) -> Callable[..., None]:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    engine.answers |= {("GET", path): answer for path, answer in ANSWERS.items()}
    return lambda **chosen: (tmp_path / "config.json").write_text(json.dumps(chosen)) and None


@pytest.mark.parametrize(
    ("words", "name", "shown", "quiet"),
    [
        (("ps",), "psFormat", "{{.Names}}", "cccccccccccc"),
        (("images",), "imagesFormat", "{{.Repository}}", "iiiiiiiiiiii"),
        (("network", "ls"), "networksFormat", "{{.Name}}", "nnnnnnnnnnnn"),
        (("volume", "ls"), "volumesFormat", "{{.Driver}}", "vol"),
        (("service", "ls"), "servicesFormat", "{{.Name}}", "s1"),
        (("service", "ps", "web"), "tasksFormat", "{{.Name}}", "t1"),
        (("stack", "services", "st"), "servicesFormat", "{{.Name}}", "s1"),
        (("secret", "ls"), "secretFormat", "{{.Name}}", "x1"),
        (("config", "ls"), "configFormat", "{{.Name}}", "x1"),
        (("node", "ls"), "nodesFormat", "{{.Hostname}}", "n1"),
    ],
)
def test_a_usual_format_stands_for_the_flag(
    festoon: Callable[..., Any], settings: Callable[..., None], words: tuple[str, ...], name: str, shown: str, quiet: str
) -> None:
    settings(**{name: f"<{shown}>"})
    by_choice = festoon(*words)
    assert (by_choice.status, by_choice.err) == (0, "")
    assert by_choice.out.startswith("<")
    assert by_choice.out == festoon(*words, "--format", f"<{shown}>").out
    assert festoon(*words, "-q").out == quiet + "\n"
    assert festoon(*words, "--format", "other").out == "other\n"


def test_a_service_is_inspected_by_the_usual_format_unless_pretty(festoon: Callable[..., Any], settings: Callable[..., None]) -> None:
    settings(serviceInspectFormat="{{.ID}}")
    assert festoon("service", "inspect", "web").out == "s1\n"
    assert "Service Mode:" in festoon("service", "inspect", "--pretty", "web").out


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{bad", "invalid character 'b' looking for beginning of object key string"), ('{"a":}', "invalid character '}' looking for beginning of value"),
        ('{"a" 1}', "invalid character '1' after object key"), ('{"a":1 2}', "invalid character '2' after object key:value pair"),
        ('{"a":', "unexpected EOF"), ("[]", "json: cannot unmarshal array into Go value of type configfile.ConfigFile"),
        ('{"auths":{"h":{"auth":"QUI%"}}}', "illegal base64 data at input byte 3"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_read_is_warned_of_and_stops_nothing(
    tmp_path: Path, festoon: Callable[..., Any], settings: Callable[..., None], content: str, words: str
) -> None:
    settings()
    (tmp_path / "config.json").write_text(content)
    said = festoon("ps", "-q")
    assert (said.status, said.out) == (0, "cccccccccccc\n")
    assert said.err == f"WARNING: Error parsing config file ({tmp_path}/config.json): {words}\n"


@pytest.mark.parametrize("content", ["", " ", "null", "{}"])
def test_a_file_without_anything_says_nothing(tmp_path: Path, festoon: Callable[..., Any], settings: Callable[..., None], content: str) -> None:
    settings()
    (tmp_path / "config.json").write_text(content)
    assert festoon("ps", "-q").err == ""


def test_the_environment_says_which_headers_go_along(
    festoon: Callable[..., Any], settings: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings(HttpHeaders={"X-A": "b"})
    monkeypatch.setenv("DOCKER_CUSTOM_HEADERS", 'X-B=c,"X-C=d,e"')
    assert configuration.headers(configuration.read()) == (("X-B", "c"), ("X-C", "d,e"))
    monkeypatch.setenv("DOCKER_CUSTOM_HEADERS", "X-B")
    words = "failed to set custom headers from DOCKER_CUSTOM_HEADERS environment variable: missing \"=\" in key=value pair: 'X-B'"
    assert festoon("ps").err == f"Failed to initialize: {words}\n"


def test_usual_filters_go_along_with_a_prune_but_for_those_that_are_contradicted(
    festoon: Callable[..., Any], settings: Callable[..., None], engine: Any
) -> None:
    settings(pruneFilters=["label!=keep", "label=old", "nonsense"])
    engine.answers["POST", "/containers/prune"] = {}
    assert festoon("container", "prune", "-f", "--filter", "label=keep").status == 0
    target = next(target for method, target, _ in engine.seen if method == "POST")
    assert target == "/containers/prune?filters=%7B%22label%22%3A%20%5B%22keep%22%2C%20%22old%22%5D%7D"


def test_proxies_become_variables_but_for_those_that_are_given() -> None:
    chosen = {"proxies": {"default": {"httpProxy": "http://p:1", "noProxy": "here"}, "tcp://there": {"httpsProxy": "https://q"}}}
    assert configuration.proxies(chosen, "unix:///x", ["A=1", "no_proxy="]) == ["HTTP_PROXY=http://p:1", "http_proxy=http://p:1", "NO_PROXY=here"]
    assert configuration.proxies(chosen, "tcp://there", []) == ["HTTPS_PROXY=https://q", "https_proxy=https://q"]
    assert configuration.proxies({}, "unix:///x", []) == []


def test_headers_go_along_with_each_request() -> None:
    assert configuration.headers({"HttpHeaders": {"X-Mine": "1", "bad": 3}}) == (("X-Mine", "1"),)
