"""What `--change` of `commit` and `import` does to an image's configuration: Dockerfile's instructions, with its words for what is wrong. Pure.

Source: Docker's documentation of `commit --change`; BuildKit's parser for the words.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Mapping, Sequence
from typing import Any

from cluster.model.decimals import is_integer, is_natural
from runtime.errors import BadImage
from runtime.images import words

MAX_PORT = 65_535
_HEALTH_TIMES = {"interval": "Interval", "timeout": "Timeout", "start-period": "StartPeriod", "start-interval": "StartInterval"}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ns|us|ms|s|m|h)")
_UNIT_NS = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000, "m": 60_000_000_000, "h": 3_600_000_000_000}


def apply(config: dict[str, Any], changes: Sequence[str]) -> None:
    """One instruction each, on a configuration in the API's form. Raises BadImage; what comes before a wrong one has been applied then."""
    lines = [line for text in changes for line in text.split("\n") if line.strip() and not line.lstrip().startswith("#")]
    if changes and not lines:
        raise BadImage("file with no instructions")
    commanded = False
    for line in lines:
        word = _apply(config, line)
        commanded |= word == "CMD"
        if word == "ENTRYPOINT" and not commanded:
            config["Cmd"] = None  # the command was for the other program


def _apply(config: dict[str, Any], change: str) -> str:
    """The instruction."""
    instruction, _, rest = change.strip().partition(" ")
    word, rest = instruction.upper(), rest.strip()
    if not rest and word in ("USER", "WORKDIR"):
        raise BadImage(f"{word} requires exactly one argument")
    if not rest and word not in ("CMD", "ENTRYPOINT"):
        raise BadImage(f"{word or 'a change'} requires at least one argument")
    env = dict(_pair(text) for text in config.get("Env") or ())
    if word in ("CMD", "ENTRYPOINT"):
        config["Cmd" if word == "CMD" else "Entrypoint"] = _exec_form(rest) if rest or word == "CMD" else None
    elif word == "ENV":
        given = _assignments(word, rest, env)
        kept = [f"{key}={given.pop(key)}" if (key := _pair(text)[0]) in given else text for text in config.get("Env") or ()]
        config["Env"] = [*kept, *(f"{key}={value}" for key, value in given.items())]
    elif word == "LABEL":
        _add(config, "Labels", _assignments(word, rest, env))
    elif word == "EXPOSE":
        _add(config, "ExposedPorts", {port: {} for text in words.split(rest) for port in _ports(words.expand(text, env))})
    elif word == "VOLUME":
        paths = _exec_form(rest) if rest.startswith("[") else rest.split()
        if not paths:
            raise BadImage("VOLUME requires at least one argument")
        paths = [words.expand(path, env) for path in paths]
        if "" in paths:
            raise BadImage("VOLUME specified can not be an empty string")
        _add(config, "Volumes", {path: {} for path in paths})
    elif word == "USER":
        config["User"] = words.expand(rest, env)
    elif word == "WORKDIR":
        folder = words.expand(rest, env)
        config["WorkingDir"] = folder if folder.startswith("/") else posixpath.normpath(posixpath.join("/", config.get("WorkingDir") or "", folder))
    elif word == "HEALTHCHECK":
        _add(config, "Healthcheck", _healthcheck(rest))  # what it does not say is as it was
    elif word == "ONBUILD":
        if (trigger := rest.split()[0].upper()) == "ONBUILD":
            raise BadImage("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
        if trigger in ("FROM", "MAINTAINER"):
            raise BadImage(f"{trigger} isn't allowed as an ONBUILD trigger")
        config["OnBuild"] = [*(config.get("OnBuild") or ()), rest]
    else:
        raise BadImage(f"{instruction.lower()} is not a valid change command")
    return word


def _add(config: dict[str, Any], key: str, more: dict[str, Any]) -> None:
    """A container's configuration has null where an image's has nothing."""
    config[key] = {**(config.get(key) or {}), **more}


def _ports(text: str) -> list[str]:
    """`80`, `80/udp` or `80-82` one by one."""
    numbers, _, protocol = text.partition("/")
    first, _, last = numbers.partition("-")
    last = last or first
    if not (is_natural(first) and is_natural(last) and int(first) <= int(last) <= MAX_PORT):
        raise BadImage(f"Invalid containerPort: {numbers}")
    if protocol.lower() not in ("", "tcp", "udp", "sctp"):
        raise BadImage(f"Invalid proto: {protocol}")
    return [f"{number}/{protocol.lower() or 'tcp'}" for number in range(int(first), int(last) + 1)]


def _healthcheck(text: str) -> dict[str, Any]:
    """`NONE`, or options and `CMD words` in either form."""
    found: dict[str, Any] = {}
    while text.startswith("--"):
        option, _, text = text.partition(" ")
        name, _, value = option[2:].partition("=")
        text = text.strip()
        if name == "retries":
            if not is_integer(value):
                raise BadImage(f'strconv.ParseInt: parsing "{value}": invalid syntax')
            if int(value) < 1:
                raise BadImage(f"--retries must be at least 1 (not {value})")
            found["Retries"] = int(value)
        elif name in _HEALTH_TIMES:
            found[_HEALTH_TIMES[name]] = _duration_ns(value)
        else:
            raise BadImage(f"Unknown flag: {name}")
    kind, _, rest = text.partition(" ")
    if kind.upper() == "NONE":
        if rest:
            raise BadImage("HEALTHCHECK NONE takes no arguments")
        return {"Test": ["NONE"]}
    if kind.upper() != "CMD":
        raise BadImage(f'Unknown type "{kind}" in HEALTHCHECK (try CMD)')
    if not rest.strip():
        raise BadImage("Missing command after HEALTHCHECK CMD")
    words = _exec_form(rest.strip())
    return found | {"Test": ["CMD", *words] if rest.strip().startswith("[") else ["CMD-SHELL", rest.strip()]}


def _duration_ns(text: str) -> int:
    """As Go writes it: `1m30s`. Raises BadImage."""
    if not re.fullmatch(rf"(?:{_DURATION.pattern})+", text):
        raise BadImage(f'time: invalid duration "{text}"')
    return int(sum(float(number) * _UNIT_NS[unit] for number, unit in _DURATION.findall(text)))


def _exec_form(text: str) -> list[str]:
    if text.startswith("["):
        try:
            words = json.loads(text)
        except (ValueError, RecursionError):
            words = None
        if isinstance(words, list) and all(isinstance(w, str) for w in words):
            return words
    return ["/bin/sh", "-c", text] if text else ["/bin/sh", "-c"]


def _pair(text: str) -> tuple[str, str]:
    key, _, value = text.partition("=")
    return key, value


def _assignments(instruction: str, text: str, env: Mapping[str, str]) -> dict[str, str]:
    """Each value sees the environment as it was before the instruction."""
    found = words.split(text)
    if "=" not in found[0]:  # the old form: ENV KEY the rest
        first = text.split(None, 1)
        if len(first) < 2:
            raise BadImage(f"{instruction} must have two arguments")
        return {words.expand(first[0], env): words.expand(first[1], env)}
    bad = next((w for w in found if "=" not in w), None)
    if bad is not None:
        raise BadImage(f"Syntax error - can't find = in {json.dumps(bad)}. Must be of the form: name=value")
    if any(word.startswith("=") for word in found):
        raise BadImage(f"{instruction} names can not be blank")
    return {words.expand(key, env): words.expand(value, env) for key, value in map(_pair, found)}
