"""A mistyped name: the daemon's sentence stays the first line, and the nearest name that there is follows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli import contexts
from cli.api import Api
from cli.failures import CliFailure
from cli.nearest import with_proposals
from cluster.wire.http import json_response

THERE = {
    "/containers/json": [{"Names": ["/web-front"]}],
    "/images/json": [{"RepoTags": ["busybox:latest", "team/tool:2"]}, {"RepoTags": None}],
    "/tasks": [{"ServiceID": "s1", "Slot": 1}],
    "/services": [{"ID": "s1", "Spec": {"Name": "shop_web", "Labels": {"com.docker.stack.namespace": "shop"}}}],
    "/networks": [{"Name": "backbone"}],
    "/nodes": [{"Description": {"Hostname": "worker1"}}],
    "/volumes": {"Volumes": [{"Name": "database"}]},
    "/secrets": [{"Spec": {"Name": "password"}}],
    "/configs": [{"Spec": {"Name": "settings"}}],
}


@pytest.mark.parametrize(
    ("said", "proposed"),
    [
        ("No such container: web-frnt", "web-front"),
        ("No such image: busybx:latest", "busybox"),
        ("No such image: team/tol:2", "team/tool:2"),
        ("service shop-web not found", "shop_web"),
        ("network backbon not found", "backbone"),
        ("node worker11 not found", "worker1"),
        ("get databse: no such volume", "database"),
        ("secret pasword not found", "password"),
        ("config setings not found", "settings"),
        ("task shop-web not found", "shop_web"),
        ("task shop-web.1 not found", "shop_web.1"),
        ("no such task, container or network: shopweb.1", "shop_web.1"),
        ("no such task, container or network: backbon", "backbone"),
        ("no such task, container or network: web-frnt: a worker captures what is on itself", "web-front"),
        ("An image does not exist locally with the tag: busybx", "busybox"),
        ("No such container: something-else", ""),
        ("No such container: shop_web", ""),
        ("something else went wrong with web-frnt", ""),
    ],
)
def test_the_nearest_name_is_proposed_after_the_daemons_words(festoon: Callable[..., Any], engine: Any, said: str, proposed: str) -> None:
    engine.answers |= {("GET", path): found for path, found in THERE.items()}
    engine.answers["POST", "/containers/x/start"] = json_response({"message": said}, 404)
    result = festoon("start", "x")
    lines = result.err.splitlines()
    assert lines[0] == f"Error response from daemon: {said}"
    assert lines[1:2] == ([f"Did you mean '{proposed}'?"] if proposed else lines[1:2])
    assert ("Did you mean" in result.err) is bool(proposed)
    assert result.status == 1


def test_any_kind_may_be_meant_and_a_daemon_that_can_not_say_is_asked_in_vain(festoon: Callable[..., Any], engine: Any) -> None:
    engine.answers |= {("GET", path): found for path, found in THERE.items() if path != "/services"}
    assert "No such object: databas\nDid you mean 'database'?" in festoon("inspect", "databas").err


def test_a_stack_is_proposed(festoon: Callable[..., Any], engine: Any) -> None:
    engine.answers["GET", "/services"] = THERE["/services"]
    engine.answers["GET", "/tasks"] = []
    assert "nothing found in stack: shp\nDid you mean 'shop'?" in festoon("stack", "ps", "shp").err
    engine.answers |= {("GET", path): [] for path in ("/secrets", "/configs", "/networks")}
    engine.answers["GET", "/services"] = lambda number: THERE["/services"] if number % 2 else []
    for command in ("services", "rm"):
        assert festoon("stack", command, "shp").err == "Nothing found in stack: shp\nDid you mean 'shop'?\n"


def test_an_image_that_no_registry_has_either_may_be_one_that_is_here(festoon: Callable[..., Any], engine: Any) -> None:
    engine.answers["GET", "/images/json"] = THERE["/images/json"]
    engine.answers["POST", "/containers/create"] = json_response({"message": "No such image: busibox:latest"}, 404)
    engine.answers["POST", "/images/create"] = json_response({"message": "pull access denied for busibox"}, 404)
    assert festoon("run", "busibox").err.splitlines()[:3] == [
        "Unable to find image 'busibox:latest' locally", "festoon: Error response from daemon: pull access denied for busibox", "Did you mean 'busybox'?",
    ]  # fmt: skip


def test_a_context_is_proposed(festoon: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    for command in (("context", "use", "defualt"), ("context", "rm", "defualt")):
        assert festoon(*command).err.splitlines()[1:] == ["Did you mean 'default'?"], command
    with pytest.raises(CliFailure, match="context not found") as refused:
        contexts.read("defualt")
    said = f"Failed to initialize: unable to resolve docker endpoint: {refused.value.message}"
    assert with_proposals(said, Api("unix:///nowhere")).splitlines()[1:] == ["Did you mean 'default'?"]
