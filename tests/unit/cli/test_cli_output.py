"""Tables, templates and lists, compared with what the docker client prints."""

from __future__ import annotations

from typing import Any

import pytest

from cli.commands.container import ports_text
from cli.failures import CliFailure
from cli.listing import UNREADABLE, Listing, check_template, inspected, label_of
from cli.output import aligned, ellipsis, natural, short_id

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
    for template, words in (
        ("{{.Nope}}", "failed to execute template: template: :1:2"), ("table {{.Nope}}", "failed to execute template: template: :1:8"),
        ("{{range .Name}}{{end}}", "can't iterate over $"), ("{{.Name 5}}", "wrong number of args for Name: want 0 got 1"),
        ("{{.Name", "failed to parse template: template: :1: un"),
    ):  # fmt: skip
        for rows in (ROWS, []):
            with pytest.raises(CliFailure, match=words):
                raw.render(rows, template)


def test_inspect_prints_indented_json_or_a_template_per_object() -> None:
    assert inspected([({"b": 1, "a": []}, "x")], "") == '[\n    {\n        "b": 1,\n        "a": []\n    }\n]\n'
    assert inspected([({"Name": "a"}, "volume.Volume"), ({"Name": "b"}, "volume.Volume")], "{{.Name}}") == "a\nb\n"
    assert inspected([({"a": 1}, "x")], "json") == '[{"a":1}]\n'
    with pytest.raises(CliFailure, match="template parsing error"):
        inspected([({}, "volume.Volume")], "{{")
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
