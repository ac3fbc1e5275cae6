"""Lists of objects: as Docker's tables, as JSON lines, or by a template (`--format`). Pure: rows in, text out.

A row maps field names (what `{{.Name}}` and `--format json` call them) to values; a listing names the fields'
headers and the default table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from cli.failures import FAILED, CliFailure
from cli.output import aligned
from cluster.model.go_values import Struct, go_text
from cluster.model.template_functions import as_json

Row = Mapping[str, Any]
TABLE: Final = "table"
RAW: Final = "raw"
UNREADABLE: Final = 64
"""Exit status of `inspect` for a template that can't be read, as Docker's."""


class Listing(NamedTuple):  # importing dataclasses takes a sixth of the time of `ps`
    """`headers`: every field and its header. `columns`: the fields of the default table. `quiet`: the field that
    `-q` prints. `cells`: fields whose text in the default table is another field's (which is in no header): {"ID":
    "_id_with_star"}. `kind`: what Docker calls a row's type when a template asks for a field that it has not. A row's value that
    can be called is a method of templates (`{{.Label "key"}}`). `raw`: the template that `--format raw` stands for. `tried_first`: whether a
    template is tried before there are rows, and its failures are told in the words of `ps`."""

    headers: Mapping[str, str]
    columns: Sequence[str]
    quiet: str = "ID"
    cells: Mapping[str, str] | None = None
    kind: str = ""
    tried_first: bool = False
    raw: str = ""

    def render(self, rows: Sequence[Row], form: str, *, quiet: bool = False) -> str:
        """The whole text. Raises CliFailure for a template that doesn't fit."""
        form = form or TABLE
        if quiet and form == TABLE:
            return "".join(f"{row[self.quiet]}\n" for row in rows)
        if form == TABLE:
            cells = self.cells or {}
            lines = ["\t".join(self.headers[c] for c in self.columns)]
            lines += ["\t".join(go_text(row[cells.get(c, c)]) for c in self.columns) for row in rows]
            return aligned(lines)
        if form == "json":
            form = "{{json .}}"
        elif form == RAW and self.raw:
            form = next((line for line in self.raw.splitlines() if "{{.ID}}" in line), self.raw.partition("\n")[0]) if quiet else self.raw
        return self._templated(rows, form)

    def _empty(self) -> Struct:
        return Struct(dict.fromkeys(self.headers, "") | {"Label": label_of(None)}, self.kind)

    def _templated(self, rows: Sequence[Row], form: str) -> str:
        from cluster.model.templates import Template, TemplateError, TemplateSyntaxError

        table = form.startswith(TABLE + " ")
        text = form.removeprefix(TABLE + " ").strip() if table else form
        text = text.replace("\\t", "\t").replace("\\n", "\n")
        public = [Struct({name: value for name, value in sorted(row.items()) if name in self.headers or callable(value)}, self.kind) for row in rows]
        try:
            template = Template(text)
            if self.tried_first and not rows:
                none = self._empty()
                template.render(none, functions={"json": _row_json(none)})
            lines = [template.render(row, functions={"json": _row_json(row)}) for row in public]
            if table:
                header = template.render({**self.headers, "Label": lambda key: key}, functions={"json": lambda value: value})
                return aligned([header, *lines])
        except TemplateError as e:
            if not self.tried_first:
                raise CliFailure(f"template parsing error: {e}") from e
            if isinstance(e, TemplateSyntaxError):
                raise CliFailure(f"failed to parse template: {e}") from e
            raise CliFailure(f"failed to execute template: {_failure_of(form, self._empty()) or e}") from e
        return "".join(line + "\n" for line in lines)


def _failure_of(form: str, row: Struct) -> ValueError | None:
    """How the whole form fails, its word `table` with it: that is what Docker tries before there are rows."""
    from cluster.model.templates import Template, TemplateError

    try:
        Template(form).render(row)
    except TemplateError as e:
        return e
    return None


def _row_json(row: Row) -> Callable[[Any], str]:
    """`json` as the rows of lists have it: a whole row is escaped for HTML, a field of it isn't."""

    def encode(value: Any) -> str:
        if value is not row:
            return as_json(value)
        return rows_json({name: item for name, item in row.items() if not callable(item)})

    return encode


def rows_json(rows: Any) -> str:
    """Of whole rows: escaped for HTML."""
    return as_json(rows).replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def check_template(form: str, status: int = UNREADABLE, name: str = "") -> None:
    """Raises CliFailure for a template of `inspect` that can't be read. `name`: see Template."""
    from cluster.model.templates import Template, TemplateError

    try:
        Template(form, name=name)
    except TemplateError as e:
        raise CliFailure(f"template parsing error: {e}", status) from e


def label_of(labels: Mapping[str, str] | None) -> Callable[[str], str]:
    """What `{{.Label "key"}}` asks of a row."""
    return lambda key: (labels or {}).get(key, "")


def inspected(found: Sequence[tuple[Any, str]], form: str, *, preface: str = "template parsing error: ", name: str = "", status: int = FAILED,
              or_raw: bool = True) -> str:  # fmt: skip
    """What `inspect` prints of answers and the names of their types in Go: indented JSON as the daemon ordered it, or a template's lines. `or_raw`:
    what doesn't fit the type is tried on the JSON. Raises CliFailure, its words behind `preface`, with `status`. `name`: see Template."""
    import json

    if not form:
        return json.dumps([value for value, _ in found], indent=4, ensure_ascii=False) + "\n"
    if form == "json":
        return as_json([value for value, _ in found]) + "\n"
    from cli.answers import raw, typed
    from cluster.model.templates import Template, TemplateError

    def one(value: Any, kind: str) -> str:
        try:
            return template.render(typed(value, kind))
        except TemplateError:
            if not or_raw:
                raise
            return template.render(raw(value), strict=True)

    try:
        template = Template(form, name=name)
        return "".join(one(value, kind) + "\n" for value, kind in found)
    except TemplateError as e:
        raise CliFailure(f"{preface}{e}", status) from e
