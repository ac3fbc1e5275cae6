"""How a service gets secrets and configs: the flags' grammar and the references of the API's ContainerSpec. Pure.

Source: docker/cli's opts/swarmopts (secret.go, config.go) and cli/command/service/parse.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from cli.failures import CliFailure
from cli.records import fields_of

DEFAULT_MODE: Final = 0o444
Reference = dict[str, Any]


def parse_secret(text: str) -> Reference:
    """`NAME`, or `source=NAME,target=T,uid=U,gid=G,mode=0400`. Raises ValueError."""
    return _parse(text, "secret", lambda source: source.rpartition("/")[2])


def parse_config(text: str) -> Reference:
    """As `parse_secret`."""
    return _parse(text, "config", lambda source: source)


def _parse(text: str, word: str, target_of: Any) -> Reference:
    fields = fields_of(text)
    file: dict[str, Any] = {"Name": "", "UID": "0", "GID": "0", "Mode": DEFAULT_MODE}
    if len(fields) == 1 and "=" not in fields[0]:
        file["Name"] = fields[0]
        return {"File": file, _name(word): fields[0]}
    source = ""
    for field in fields:
        key, equals, value = field.partition("=")
        key = key.lower()
        if not equals:
            raise ValueError(f"invalid field '{field}' must be a key=value pair")
        if key in ("source", "src"):
            source = value
        elif key == "target":
            file["Name"] = value
        elif key in ("uid", "gid"):
            file[key.upper()] = value
        elif key == "mode":
            file["Mode"] = _mode(value)
        else:
            raise ValueError(f"invalid field in {word} request: {key}")
    if not source:
        raise ValueError("source is required")
    file["Name"] = file["Name"] or target_of(source)
    return {"File": file, _name(word): source}


def _mode(text: str) -> int:
    """As Go reads a number of any base: 0400 and 0o400 are octal."""
    try:
        return int(text, 8) if text.startswith("0") and text.isdigit() else int(text, 0)
    except ValueError:
        raise ValueError(f'invalid mode specified: strconv.ParseUint: parsing "{text}": invalid syntax') from None


def _name(word: str) -> str:
    return f"{word.capitalize()}Name"


def identified(wanted: Iterable[Reference], word: str, known: Mapping[str, str]) -> list[Reference]:
    """With ids, of which `known` has those by name, and each target once. Raises CliFailure."""
    title, by_target = word.capitalize(), {}
    for one in wanted:
        target, name = one["File"]["Name"], one[_name(word)]
        if target in by_target:
            raise CliFailure(f"duplicate {word} target for {name} not allowed")
        by_target[target] = one
    for one in by_target.values():
        if one[_name(word)] not in known:
            raise CliFailure(f"{word} not found: {one[_name(word)]}")
    return [{"File": one["File"], f"{title}ID": known[one[_name(word)]], _name(word): one[_name(word)]} for one in by_target.values()]


def updated(present: Sequence[Reference], word: str, added: Sequence[Reference], removed: Iterable[str]) -> list[Reference]:
    """Without the removed ones (by name); an added one follows. `added` are identified."""
    gone = set(removed)
    return [*(one for one in present if one[_name(word)] not in gone), *added]
