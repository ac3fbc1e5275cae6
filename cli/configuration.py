"""What the user has chosen in Docker's client configuration, `$DOCKER_CONFIG/config.json` or `~/.docker/config.json`: formats of lists, detach keys,
proxies of containers, filters of prunes, headers of requests, the context.

Owns the reading; what a choice means is the command's. Credentials are cli/credentials.py's. Source: docker/cli's config/configfile.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping
from typing import Any, Final

from cli.failures import CliFailure
from cli.records import fields_of

MAX_CONFIG_BYTES: Final = 4 * 1024 * 1024
PROXIES: Final = (
    ("httpProxy", "HTTP_PROXY"), ("httpsProxy", "HTTPS_PROXY"), ("noProxy", "NO_PROXY"), ("ftpProxy", "FTP_PROXY"), ("allProxy", "ALL_PROXY"),
)  # fmt: skip

_BASE64: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
CUSTOM_HEADERS: Final = "DOCKER_CUSTOM_HEADERS"

Settings = Mapping[str, Any]
_PLACES: Final = (
    ("Expecting property name", "looking for beginning of object key string"), ("Expecting value", "looking for beginning of value"),
    ("Expecting ':'", "after object key"), ("Expecting ','", "after object key:value pair"), ("Extra data", "after top-level value"),
)  # fmt: skip
"""Of what is wrong in JSON: Python's words, and Go's."""


def read() -> Settings:
    """Nothing where there is no file; of one that can't be read a warning is said, as by Docker's client."""
    path = f"{os.environ.get('DOCKER_CONFIG') or os.path.expanduser('~/.docker')}/config.json"
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_CONFIG_BYTES)
        found = json.loads(data) if data.strip() else None
        if found is None:
            return {}
        if not isinstance(found, dict):
            kind = {list: "array", str: "string", bool: "bool"}.get(type(found), "number")
            raise ValueError(f"json: cannot unmarshal {kind} into Go value of type configfile.ConfigFile")  # noqa: TRY004 (it is the file that is wrong)
        if (wrong := _not_base64(found.get("auths"))) is not None:
            print(f"WARNING: Error parsing config file ({path}): illegal base64 data at input byte {wrong}", file=sys.stderr)
    except FileNotFoundError:
        return {}
    except OSError as e:
        words = (e.strerror or str(e)).lower()
        said = f"parsing config file ({path}): read {path}" if isinstance(e, IsADirectoryError) else f"loading config file: open {path}"
        print(f"WARNING: Error {said}: {words}", file=sys.stderr)
        return {}
    except ValueError as e:
        print(f"WARNING: Error parsing config file ({path}): {_in_gos_words(e)}", file=sys.stderr)
        return {}
    return found


def _not_base64(auths: object) -> int | None:
    """Where the first log-in that can't be read goes wrong."""
    entries = auths.values() if isinstance(auths, dict) else ()
    for entry in entries:
        kept = str(entry.get("auth") or "") if isinstance(entry, dict) else ""
        wrong = next((place for place, one in enumerate(kept.rstrip("=")) if one not in _BASE64), None)
        if wrong is not None:
            return wrong
    return None


def _in_gos_words(error: ValueError) -> str:
    """What Go says of text that is no JSON."""
    if not isinstance(error, json.JSONDecodeError):
        return str(error)
    place = next((place for words, place in _PLACES if error.msg.startswith(words)), "")
    wrong = error.doc[error.pos : error.pos + 1]
    if not wrong:
        return "unexpected EOF" if error.doc.strip() else "EOF"
    return f"invalid character '{wrong}' {place}" if place else str(error)


def text(settings: Settings, name: str) -> str:
    """A choice that is a word; empty where there is none."""
    found = settings.get(name)
    return found if isinstance(found, str) else ""


def format_of(settings: Settings, name: str, given: str, *, quiet: bool | None = False) -> str:
    """The template of a list: the flag's, else the user's usual one, which -q sets aside."""
    return given or ("" if quiet else text(settings, name))


def headers(settings: Settings) -> tuple[tuple[str, str], ...]:
    """Sent with each request. The environment says it in the place of the file. Raises CliFailure."""
    if said := os.environ.get(CUSTOM_HEADERS):
        return _custom_headers(said)
    found = settings.get("HttpHeaders")
    return tuple((name, value) for name, value in found.items() if isinstance(value, str)) if isinstance(found, dict) else ()


def _custom_headers(said: str) -> tuple[tuple[str, str], ...]:
    where = f"custom headers from {CUSTOM_HEADERS} environment variable:"
    try:
        fields = fields_of(said)
    except ValueError as e:
        raise CliFailure(f"Failed to initialize: failed to parse {where} value must be formatted as comma-separated key=value pairs") from e
    preface = f"Failed to initialize: failed to set {where}"
    for field in fields:
        name, equals, _ = field.partition("=")
        if not name.strip():
            raise CliFailure(f"{preface} value contains a key=value pair with an empty key: '{field}'")
        if not equals:
            raise CliFailure(f"{preface} missing \"=\" in key=value pair: '{field}'")
    return tuple((field.partition("=")[0].strip(), field.partition("=")[2]) for field in fields)


def proxies(settings: Settings, host: str, environment: Iterable[str]) -> list[str]:
    """The variables that a container on the daemon at `host` gets, but those that it has."""
    every = settings.get("proxies")
    chosen = (every.get(host) or every.get("default")) if isinstance(every, dict) else None
    if not isinstance(chosen, dict):
        return []
    there = {one.partition("=")[0] for one in environment}
    named = ((variable, chosen[name]) for name, variable in PROXIES if isinstance(chosen.get(name), str) and chosen[name])
    return [f"{name}={value}" for variable, value in named for name in (variable, variable.lower()) if name not in there]


def prune_filters(settings: Settings, given: Iterable[str]) -> tuple[str, ...]:
    """Those that were given, and the user's usual ones that don't contradict them."""
    found = tuple(given)
    usual = settings.get("pruneFilters")
    for one in usual if isinstance(usual, list) else ():
        name, equals, value = str(one).partition("=")
        opposite = {"label": "label!", "label!": "label"}.get(name)
        if equals and f"{opposite}={value}" not in found and one not in found:
            found = (*found, one)
    return found
