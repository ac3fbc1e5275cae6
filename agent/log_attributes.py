"""What `--log-opt labels|labels-regex|env|env-regex|tag` of json-file adds to each line that is asked for with details. Pure.

Source: moby's daemon/logger (loginfo.go: ExtraAttributes; loggerutils/log_tag.go) and daemon/logger/loggerutils/attrs for the form.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from agent.records import Record
from cluster.model.errors import Internal

SHORT_ID: Final = 12
_FIELD: Final = re.compile(r"\{\{\s*\.(\w+)\s*\}\}")
_KEPT: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_FAILED: Final = "failed to initialize logging driver: "


def details_of(record: Record) -> bytes:
    """`a=1,tag=x`, sorted by name, each part as in a query. Empty for what another driver keeps. Raises Internal as at the start."""
    if record.host.log_driver != "json-file":
        return b""
    options = dict(record.host.log_options)
    env = {name: value for name, equals, value in (entry.partition("=") for entry in record.config.env) if equals}
    found = _chosen(dict(record.config.labels), options.get("labels", ""), options.get("labels-regex", ""))
    found |= _chosen(env, options.get("env", ""), options.get("env-regex", ""))
    if tag := options.get("tag"):
        found["tag"] = _tag(tag, record)
    return ",".join(f"{_quoted(name)}={_quoted(value)}" for name, value in sorted(found.items())).encode()


def _chosen(values: Mapping[str, str], names: str, pattern: str) -> dict[str, str]:
    try:
        matches = re.compile(pattern).search if pattern else None
    except re.error as error:
        raise Internal(f"{_FAILED}error parsing regexp: {error.msg}: `{pattern}`") from error
    return {name: value for name, value in values.items() if name in names.split(",") or (matches is not None and matches(name))}


def _tag(template: str, record: Record) -> str:
    """`{{.Name}}` and its like; nothing else of Go's templates."""
    fields = {
        "ID": record.id[:SHORT_ID], "FullID": record.id, "Name": record.name, "ImageName": record.config.image,
        "ImageID": record.image_id.partition(":")[2][:SHORT_ID], "ImageFullID": record.image_id, "DaemonName": "docker",
    }  # fmt: skip
    rest = _FIELD.sub("", template)
    if "{{" in rest:
        raise Internal(f"{_FAILED}template: log-tag:1: unclosed action")
    for found in _FIELD.finditer(template):
        if found[1] not in fields:
            where = f"template: log-tag:1:{found.start() + 2}: executing \"log-tag\" at <.{found[1]}>"
            raise Internal(f"{_FAILED}{where}: can't evaluate field {found[1]} in type *logger.Info")
    return _FIELD.sub(lambda found: fields[found[1]], template)


def _quoted(text: str) -> str:
    """As Go's url.QueryEscape."""
    return "".join(chr(byte) if byte in _KEPT else "+" if byte == 0x20 else f"%{byte:02X}" for byte in text.encode())
