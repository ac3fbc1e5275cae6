"""Tables, templates and lists, compared with what the docker client prints."""

from __future__ import annotations

import re
from typing import Any

import pytest

from cli.commands.container import ports_text
from cli.failures import CliFailure
from cli.listing import UNREADABLE, Listing, check_template, inspected, label_of
from cli.output import aligned, ellipsis, natural, short_id
from cli.shapes import ANY, NODE, SERVICE, Shape
from cluster.model.templates import Template, TemplateError

VALUE: dict[str, Any] = {"Links": None, "Labels": None, "ID": "abc", "A": {"B": [1, 2, {"C": "x"}], "m": {"k": "v", "a": True}}, "E": [], "N": None}
LISTING = Listing({"ID": "ID", "Name": "NAME", "Ports": "PORTS"}, ("ID", "Name", "Ports"), quiet="full")
ROWS = [{"ID": "abc", "full": "abcdef", "Name": "a-very-long-name", "Ports": "<x>"}, {"ID": "d", "full": "dd", "Name": "n", "Ports": ""}]


def test_columns_are_ten_wide_with_three_spaces_and_the_last_is_free() -> None:
    text = aligned(["ID\tNAME\tPORTS", "a9cn3p0ovg5j\tweb\t*:8080->80/tcp", "b\tlonger-than-ten\t"])
    assert text == ("ID             NAME              PORTS\na9cn3p0ovg5j   web               *:8080->80/tcp\nb              longer-than-ten   \n")


def test_a_line_with_fewer_cells_does_not_widen_the_others() -> None:
    assert aligned(["a\tb", "a long line without cells", "c\td"]) == "a         b\na long line without cells\nc         d\n"


def test_ids_and_texts_are_shortened() -> None:
    assert short_id("sha256:" + "f" * 64) == "f" * 12
    assert (ellipsis("12345", 5), ellipsis("123456", 5)) == ("12345", "1234…")


def test_names_sort_as_people_count() -> None:
    assert sorted(["web.10", "web.2", "web", "a"], key=natural) == ["a", "web", "web.2", "web.10"]


def test_a_list_as_table_json_lines_template_or_ids() -> None:
    assert LISTING.render(ROWS, "").splitlines()[0] == "ID        NAME               PORTS"
    assert LISTING.render(ROWS, "json").splitlines()[0] == '{"ID":"abc","Name":"a-very-long-name","Ports":"\\u003cx\\u003e"}'
    assert LISTING.render(ROWS, "{{.Name}}: {{json .Ports}}") == 'a-very-long-name: "<x>"\nn: ""\n'
    assert LISTING.render(ROWS, "table {{.ID}}\\t{{.Name}}") == "ID        NAME\nabc       a-very-long-name\nd         n\n"
    assert LISTING.render(ROWS, "", quiet=True) == "abcdef\ndd\n"
    with pytest.raises(CliFailure, match="can't evaluate field Nope"):
        LISTING.render(ROWS, "{{.Nope}}")
    raw = LISTING._replace(raw="name: {{.Name}}\nid: {{.ID}}\n", tried_first=True)
    assert raw.render(ROWS[1:], "raw") == "name: n\nid: d\n\n"
    assert raw.render(ROWS, "raw", quiet=True) == "id: abc\nid: d\n"
    assert raw.render([], "{{json .}}") == ""
    assert LISTING.render(ROWS, "raw") == "raw\nraw\n"
    for template, words in (("{{.Nope}}", "failed to execute template: template: :1:2"), ("{{.Name", "failed to parse template: template: :1: un")):
        for rows in (ROWS, []):
            with pytest.raises(CliFailure, match=words):
                raw.render(rows, template)


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{.ID}} {{.A.m}} {{json .A.m}}", 'abc map[a:true k:v] {"k":"v","a":true}'),
        ("{{range .A.B}}[{{.}}]{{end}}", "[1][2][map[C:x]]"),
        ("{{range $i, $x := .A.B}}{{$i}}={{$x}};{{end}}", "0=1;1=2;2=map[C:x];"),
        ("{{range .E}}x{{else}}none{{end}}", "none"),
        ("{{if .E}}yes{{else if .ID}}id{{else}}no{{end}}", "id"),
        ('{{index .A.m "k"}} {{len .A.B}} {{(index .A.B 2).C}}', "v 3 x"),
        ("{{.Foo.Bar}}|{{.N}}", "<no value>|<nil>"),
        ("{{with .A.m}}{{.k}} {{$.ID}}{{end}}", "v abc"),
        ("a {{- .ID -}} b", "aabcb"),
        ('{{join (split .ID "b") "-"}} {{upper .ID | printf "<%s>"}}', "a-c <ABC>"),
        ('{{if eq .ID "x" "abc"}}{{if and .ID (not .E)}}both{{end}}{{end}}', "both"),
        ("{{/* nothing */}}{{$x := .ID}}{{$x}}", "abc"),
        ("{{slice .ID 1 3}} {{slice .ID 1}} {{slice .A.B 0 1}}", "bc bc [1]"),
        ("{{.Links}} {{.Labels}} {{json .Links}} {{len .Labels}}{{range .Links}}x{{end}}{{if .Labels}}y{{end}}", "[] map[] null 0"),
        ('{{html "<a&b>"}} {{urlquery "a b&"}}', "&lt;a&amp;b&gt; a+b%26"),
        ("no actions", "no actions"),
        ('{{define "T"}}[{{.}}]{{end}}{{template "T" .ID}}{{block "B" .A.m}}<{{.k}}>{{end}}{{template "B" .A.m}}', "[abc]<v><v>"),
        ("{{range .A.B}}{{if eq . 2}}{{break}}{{end}}{{.}},{{end}}", "1,"),
        ("{{range $i, $x := .A.B}}{{if eq $i 0}}{{continue}}{{end}}{{$i}};{{end}}", "1;2;"),
        ('{{js "a\\"<b>=\'"}} {{print 1 2 "x" 3}} {{index .ID 1}}', "a\\\"\\u003Cb\\u003E\\u003D\\' 1 2x3 98"),
    ],
)
def test_templates_print_as_gos(template: str, text: str) -> None:
    assert Template(template).render(VALUE) == text


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{{.ID", ":1: unclosed action"),
        ("{{if .ID}}", ":1: unexpected EOF"),
        ("{{end}}", ":1: unexpected {{end}}"),
        ("{{else}}", ":1: unexpected {{else}}"),
        ("{{}}", ":1: missing value for command"),
        ("{{nosuch .ID}}", ':1: function "nosuch" not defined'),
        ("{{.ID.X}}", ':1:5: executing "" at <.ID.X>: can\'t evaluate field X in type string'),
        ("x {{index .A.B 9}}", ':1:4: executing "" at <index .A.B 9>: error calling index: index out of range: 9'),
        ("{{index .A.B 3 | len}}", ':1:2: executing "" at <index .A.B 3>: error calling index: reflect: slice index out of range'),
        ("{{len (slice .ID 2 9)}}", ':1:7: executing "" at <slice .ID 2 9>: error calling slice: index out of range: 9'),
        ("{{break}}", ":1: {{break}} outside {{range}}"),
        ("{{if .ID}}{{define `T`}}{{end}}{{end}}", ":1: unexpected {{define}}"),
        ("{{template .ID}}", ":1: unexpected name in template clause"),
        ('{{template "T"}}', ':1: executing "" at <{{template "T"}}>: template "T" not defined'),
        ('{{define "T"}}{{template "T"}}{{end}}{{template "T"}}', ":1: exceeded maximum template depth"),
        ("{{if .ID}}" * 65, ":1: more than 64 levels"),
    ],
)
def test_templates_that_do_not_hold_say_so(template: str, words: str) -> None:
    with pytest.raises(TemplateError) as wrong:
        Template(template).render(VALUE)
    assert str(wrong.value) == f"template: {words}"


def test_a_template_with_a_name_is_called_so() -> None:
    with pytest.raises(TemplateError, match=re.escape('template: version:1:2: executing "version" at <.No>: no No')):
        Template("{{.No}}", name="version").render({}, strict="no {}")


def test_an_unknown_word_is_told_before_what_is_not_closed() -> None:
    for template, words in (("x {{bad", 'function "bad" not defined'), ("{{if .ID", "unclosed action"), ("{{json", "unclosed action")):
        with pytest.raises(TemplateError, match=words):
            Template(template)


def test_inspect_prints_indented_json_or_a_template_per_object() -> None:
    assert inspected([{"b": 1, "a": []}], "") == '[\n    {\n        "b": 1,\n        "a": []\n    }\n]\n'
    assert inspected([{"a": 1}, {"a": 2}], "{{.a}}") == "1\n2\n"
    assert inspected([{"a": 1}], "json") == '[{"a":1}]\n'
    with pytest.raises(CliFailure, match="template parsing error"):
        inspected([{}], "{{")


def test_a_template_says_where_it_asks_for_what_is_not_there() -> None:
    with pytest.raises(TemplateError, match=re.escape('template: :1:4: executing "" at <.NoSuch>: can\'t evaluate field NoSuch in type T')):
        Template("x {{.NoSuch}}").render({}, strict="can't evaluate field {} in type T")
    with pytest.raises(CliFailure, match=re.escape('executing "" at <.A.B>: map has no entry for key "B"')):
        inspected([{"A": {}}], "{{.A.B}}", Shape({"C": ""}))
    assert inspected([{"A": {}}], "<{{.A.C}}>", Shape({"C": ""})) == "<>\n"
    with pytest.raises(CliFailure, match=re.escape('at <.State.Health.Status>: map has no entry for key "Health"')):
        inspected([{"State": {}}], "{{.State.Health.Status}}")
    assert inspected([{"State": {}, "Labels": {"a": "b"}}], "{{.State.Health}} {{.Labels.x}} {{.Sysctls}}") == "<nil> <no value> map[]\n"
    with pytest.raises(CliFailure, match=re.escape("can't evaluate field Bad in type swarm.Node")):
        inspected([{"ID": "x"}], "{{.Bad}}", NODE)
    with pytest.raises(CliFailure) as unreadable:
        check_template("{{")
    assert unreadable.value.status == UNREADABLE


def test_rows_have_labels_by_key() -> None:
    listing = Listing({"Name": "NAME", "Labels": "LABELS"}, ("Name",))
    rows = [{"Name": "a", "Labels": "k=v", "Label": label_of({"k": "v"})}, {"Name": "b", "Labels": "", "Label": label_of(None)}]
    assert listing.render(rows, '{{.Name}}:{{.Label "k"}}') == "a:v\nb:\n"
    assert listing.render(rows, 'table {{.Name}}\\t{{.Label "k"}}').splitlines()[0].split() == ["NAME", "k"]
    assert listing.render(rows[:1], "json") == '{"Labels":"k=v","Name":"a"}\n'


def test_ports_are_shown_as_docker_shows_them() -> None:
    def port(private: int, kind: str = "tcp", **more: Any) -> dict[str, Any]:
        return {"PrivatePort": private, "Type": kind, **more}

    exposed = [port(80), port(90), port(92), port(91), port(53, "udp")]
    assert ports_text(exposed) == "80/tcp, 53/udp, 90-92/tcp"
    both = [port(80, IP=ip, PublicPort=public) for public in (18161, 18160) for ip in ("0.0.0.0", "::")]
    assert ports_text(both) == "0.0.0.0:18160->80/tcp, 0.0.0.0:18161->80/tcp, [::]:18160->80/tcp, [::]:18161->80/tcp"
    assert ports_text([port(n, IP="::", PublicPort=n) for n in (8080, 8081)]) == "[::]:8080-8081->8080-8081/tcp"
    assert ports_text([]) == ""


def test_a_list_or_map_that_an_answer_leaves_out_is_null_in_json() -> None:
    """Docker's client fills Go's types, where they are nil."""
    for template, value, shape, text in (
        ("{{json .Config.ExposedPorts}}", {"Config": {}}, ANY, "null"),
        ("{{len .Config.ExposedPorts}}", {"Config": {}}, ANY, "0"),
        ("{{json .Endpoint.VirtualIPs}} {{.Endpoint.VirtualIPs}}", {"Endpoint": {}}, SERVICE, "null []"),
        ("{{range .Endpoint.VirtualIPs}}<{{.Addr}}>{{end}}", {"Endpoint": {"VirtualIPs": [{"NetworkID": "n"}]}}, SERVICE, "<>"),
    ):
        assert Template(template).render(value, strict=shape.words, absent=shape.absent) == text
