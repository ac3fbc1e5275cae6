"""Templates print, and refuse, as docker's client does: template_answers.json is what 28.2 said to `context inspect cx -f …`; the types' values too."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.answer_types import NAMED, TYPES
from cli.answers import fields_of, typed
from cli.failures import CliFailure
from cli.listing import inspected
from cluster.model.go_values import Struct, element_type, plain
from cluster.model.template_syntax import MAX_DEPTH
from cluster.model.templates import Template, TemplateError

TIMES: list[dict[str, str]] = json.loads(Path(__file__).with_name("time_answers.json").read_text())
"""Of docker's client 28.2, asked for services that were created then."""
ANSWERS: list[dict[str, str]] = json.loads(Path(__file__).with_name("template_answers.json").read_text())
CONTEXT = {"Name": "cx", "Metadata": {}, "Endpoints": {}, "TLSMaterial": {}, "Storage": {}}
SCALARS = frozenset({"string", "bool", "int", "int64", "uint", "uint8", "uint16", "uint32", "uint64", "float32", "interface {}", "struct {}", "error",
                     "time.Time", "time.Duration", "fs.FileMode", "registry.NetIPNet"})  # fmt: skip
CONTAINER: dict[str, Any] = {
    "Id": "ab" * 32, "Created": "2026-11-30T02:08:22.7Z", "Name": "/c1", "SizeRw": 5,
    "State": {"Status": "running", "Running": True, "Pid": 7, "StartedAt": "x", "FinishedAt": "y"},
    "Config": {"Cmd": ["a", "b"], "Labels": {"k": "v"}, "ExposedPorts": {"80/tcp": {}}, "Healthcheck": {"Test": ["NONE"], "Interval": 5 * 10**9}},
    "HostConfig": {"NetworkMode": "bridge", "RestartPolicy": {"Name": "no"}, "Memory": 64, "Ulimits": [{"Name": "nofile", "Hard": 2, "Soft": 1}]},
    "NetworkSettings": {"Ports": {"80/tcp": [{"HostIp": "::", "HostPort": "81"}], "9/udp": None}, "Networks": {"bridge": {"IPAddress": "1.2.3.4"}}},
}  # fmt: skip
SERVICE: dict[str, Any] = {
    "ID": "s", "Version": {"Index": 7}, "CreatedAt": "2026-11-30T02:08:22.75Z",
    "Spec": {"Name": "web", "Mode": {"Replicated": {"Replicas": 3}}, "UpdateConfig": {"Delay": 90 * 10**9, "MaxFailureRatio": 0.1, "Order": "stop-first"}},
}  # fmt: skip


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: answer["template"])
def test_templates_print_and_refuse_as_dockers(answer: dict[str, str]) -> None:
    try:
        said = {"text": inspected([(CONTEXT, "context.contextWithTLSListing")], answer["template"], preface="", or_raw=False).removesuffix("\n")}
    except CliFailure as failure:
        said = {"error": failure.message}
    assert {"template": answer["template"], **said} == answer


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{.State}}", "{running true false false false false 7 0  x y <nil>}"),
        ('{{printf "%+v" .HostConfig.RestartPolicy}} {{printf "%#v" .HostConfig.RestartPolicy}}',
         '{Name:no MaximumRetryCount:0} container.RestartPolicy{Name:"no", MaximumRetryCount:0}'),
        ("{{.ID}} {{.Config.Healthcheck}} {{.HostConfig.Ulimits}}", "ab" * 32 + " {[NONE] 5s 0s 0s 0s 0} [nofile=1:2]"),
        ("{{.SizeRw}} {{.SizeRootFs}} {{json .SizeRootFs}} {{if .SizeRw}}y{{end}}{{if .SizeRootFs}}n{{end}}", "5 <nil> null y"),
        ("{{.NetworkSettings.Ports}}", "map[80/tcp:[{:: 81}] 9/udp:[]]"),
        ("{{range $p, $at := .NetworkSettings.Ports}}{{$p.Port}}/{{$p.Proto}} {{range $at}}{{.HostIP}} {{end}}{{end}}", "80/tcp :: 9/udp "),
        ("{{range $p, $at := .NetworkSettings.Ports}}{{range $at}}{{.HostIp}}{{end}}{{end}}", "::"),  # only JSON has that name
        ('{{(index (index .NetworkSettings.Ports "80/tcp") 0).HostPort}}', "81"),
        ('{{index .Config.Labels "k"}} {{.Config.Labels.x}} {{join .Config.Cmd ","}} {{json .Config.Volumes}}', "v <no value> a,b null"),
        ("{{.HostConfig.NetworkMode.IsBridge}} {{.HostConfig.NetworkMode | upper}}", "<error>"),
        ("{{json .State}}", '{"Status":"running","Running":true,"Paused":false,"Restarting":false,"OOMKilled":false,"Dead":false,"Pid":7,"ExitCode":0,'
                            '"Error":"","StartedAt":"x","FinishedAt":"y"}'),
        ("{{.HostConfig.Memory.X}}", "<error>"),
    ],
)  # fmt: skip
def test_a_container_is_a_value_of_gos_types_and_else_json(template: str, text: str) -> None:
    try:
        shown = inspected([(CONTAINER, "container.InspectResponse")], template).removesuffix("\n")
    except CliFailure:
        shown = "<error>"
    assert shown == text


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{.Version}} {{.Meta}}", "7 {7 2026-11-30 02:08:22.75 +0000 UTC 0001-01-01 00:00:00 +0000 UTC}"),
        ("{{.Spec.UpdateConfig}} {{.Spec.UpdateConfig.Delay.Seconds}}", "{0 1m30s  0s 0.1 stop-first} 90"),
        ("{{.Spec.Mode.Replicated.Replicas}} {{.Spec.Name}} {{.Spec.Annotations}}", "3 web {web map[]}"),
        ("{{.PreviousSpec}} {{json .Endpoint.VirtualIPs}} {{.Endpoint.VirtualIPs}}", "<nil> null []"),
        ("{{json .Spec.UpdateConfig}}", '{"Parallelism":0,"Delay":90000000000,"MaxFailureRatio":0.1,"Order":"stop-first"}'),
        ('{{printf "%#v" .CreatedAt}}', "time.Date(2026, time.November, 30, 2, 8, 22, 750000000, time.UTC)"),
    ],
)
def test_a_service_is_one_too(template: str, text: str) -> None:
    assert inspected([(SERVICE, "swarm.Service")], template, or_raw=False) == text + "\n"


@pytest.fixture
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", request.param)
        time.tzset()
        yield
    time.tzset()


@pytest.mark.parametrize(("zone", "answer"), [(answer["zone"], answer) for answer in TIMES], indirect=["zone"], ids=lambda value: str(value)[:60])
def test_times_say_what_gos_say(zone: None, answer: dict[str, str]) -> None:
    service = {**SERVICE, "CreatedAt": answer["created"], "UpdatedAt": answer["updated"],
               "UpdateStatus": {"StartedAt": "2025-03-01T01:02:03.4Z"}}  # fmt: skip
    service["Spec"] = {"Name": "w", "UpdateConfig": {"Delay": 5_400_123_456_789}}
    try:
        said = {"text": inspected([(service, "swarm.Service")], answer["template"], or_raw=False).removesuffix("\n")}
    except CliFailure as failure:
        said = {"error": failure.message}
    assert {**answer, **said} == answer


@pytest.mark.parametrize(
    ("mode", "value", "template", "text"),
    [
        ("IpcMode", "container:x", "{{.IsContainer}} {{.Container}} {{.IsPrivate}} {{.Valid}}", "true x false true"),
        ("IpcMode", "container:", "{{.IsContainer}} {{.Valid}}", "true true"),
        ("PidMode", "container:", "{{.IsContainer}} {{.Valid}} {{.IsPrivate}}", "true false false"),
        ("UTSMode", "", "{{.IsPrivate}} {{.IsHost}} {{.Valid}}", "true false true"),
        ("CgroupnsMode", "nosuch", "{{.IsPrivate}} {{.IsEmpty}} {{.Valid}}", "false false false"),
        ("Isolation", "Default", "{{.IsDefault}} {{.IsProcess}}", "true false"),
    ],
)
def test_modes_have_the_methods_of_gos(mode: str, value: str, template: str, text: str) -> None:
    of = template.replace("{{.", f"{{{{.HostConfig.{mode}.")
    assert inspected([({"HostConfig": {mode: value}}, "container.InspectResponse")], of) == text + "\n"


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{{range .Config.Cmd}}{{.X}}{{end}}", "<.X>: can't evaluate field X in type interface {}"),
        ("{{range $i, $c := .Config.Cmd}}{{$c.X}}{{end}}", "<$c.X>: can't evaluate field X in type interface {}"),
        ("{{range .Config.Cmd}}{{with .}}{{.X}}{{end}}{{end}}", "<.X>: can't evaluate field X in type string"),
        ("{{.State.Health.Status}}", '<.State.Health.Status>: map has no entry for key "Health"'),
        ("{{.State.Nope}}", '<.State.Nope>: map has no entry for key "Nope"'),
        ("{{.State.Running.X}}", "<.State.Running.X>: can't evaluate field X in type interface {}"),
        ("{{.Config.Cmd | .Nope}}", "<.Nope>: Nope is not a method but has arguments"),
        ("{{lower .State.Pid}}", "<.State.Pid>: wrong type for value; expected string; got json.Number"),
    ],
)
def test_what_fits_neither_is_told_of_the_json(template: str, words: str) -> None:
    with pytest.raises(CliFailure, match=re.escape(words)):
        inspected([(CONTAINER, "container.InspectResponse")], template)


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{{.UpdateStatus.State}}", "<.UpdateStatus.State>: nil pointer evaluating *swarm.UpdateStatus.State"),
        ("{{.UpdateStatus.Nope}}", "<.UpdateStatus.Nope>: can't evaluate field Nope in type *swarm.UpdateStatus"),
        ("{{.Spec.Mode.Nope}}", "<.Spec.Mode.Nope>: can't evaluate field Nope in type swarm.ServiceMode"),
        ("{{.Spec.Name.X}}", "<.Spec.Name.X>: can't evaluate field X in type string"),
        ("{{lower .Version.Index}}", "<.Version.Index>: wrong type for value; expected string; got uint64"),
        ("{{len .Spec}}", "error calling len: len of type swarm.ServiceSpec"),
    ],
)
def test_what_does_not_fit_is_told_of_its_type(template: str, words: str) -> None:
    with pytest.raises(CliFailure, match=re.escape(words)):
        inspected([(SERVICE, "swarm.Service")], template, or_raw=False)


def test_every_type_that_a_field_has_is_known() -> None:
    for name in (line.partition(":")[0] for line in TYPES.strip("\n").split("\n") if not line.startswith(" ")):
        for _, _, _, kind, _ in fields_of(name) or ():
            inner = kind.removeprefix("*")
            while inner.startswith(("[", "map[")) or inner in NAMED:
                inner = NAMED.get(inner) or element_type(inner).removeprefix("*")
            assert inner in SCALARS or fields_of(inner) is not None, (name, kind)


@given(st.recursive(st.none() | st.integers() | st.text() | st.booleans(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8))
def test_an_answer_of_another_shape_is_no_crash(value: object) -> None:
    for kind in ("container.InspectResponse", "swarm.Service", "system.dockerInfo", "network.Inspect"):
        assert isinstance(plain(typed(value, kind)), dict)


PIECES = (
    "{{", "}}", "{{-", "-}}", " ", "$x", ":=", "=", ",", "|", "(", ")", ".", ".Name", ".Endpoints", "$", "1", "-1", "1.5", "'a'", '"a"', "`b`", "nil",
    "true", "if", "else", "end", "range", "with", "define", "template", "block", "break", "continue", "index", "len", "eq", "lt", "printf", "slice", "join",
    "x", "/*", "*/",
)  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), max_size=14), st.lists(st.sampled_from(PIECES), max_size=8))
def test_whatever_is_typed_is_rendered_or_refused(head: list[str], body: list[str]) -> None:
    for text in ("".join(head), "{{range $x := " + " ".join(head) + "}}" + " ".join(body) + "{{end}}", "{{" + " ".join(head) + "}}"):
        try:
            said = Template(text).render(typed(CONTEXT, "context.contextWithTLSListing"))
        except TemplateError as refused:
            said = str(refused).removeprefix("template: ")
        assert isinstance(said, str)


def test_deep_and_endless_templates_are_refused() -> None:
    for text in ("{{if .}}" * (MAX_DEPTH + 1), "{{" + "(" * (MAX_DEPTH + 1)):
        with pytest.raises(TemplateError, match=f"more than {MAX_DEPTH} levels"):
            Template(text)
    with pytest.raises(TemplateError, match="exceeded maximum template depth"):
        Template('{{define "T"}}{{template "T"}}{{end}}{{template "T"}}').render({})


def test_a_line_of_its_own_is_told() -> None:
    with pytest.raises(TemplateError, match=re.escape('template: n:2:4: executing "n" at <.Nope>: can\'t evaluate field Nope in type T')):
        Template("x\n  {{.Nope}}", name="n").render(Struct({}, "T"))
    with pytest.raises(TemplateError, match=re.escape("template: n:2: unclosed action started at n:1")):
        Template("{{.X\n", name="n")
