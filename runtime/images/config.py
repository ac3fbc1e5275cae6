"""What an image is: the values read from its configuration, and a configuration made from a file system (`import`) with
Dockerfile-like changes.

Pure: bytes in, values out. The raw bytes are kept, because their digest is the image's id. Source: OCI image
specification, config.md; Docker's `import --change`.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from runtime.errors import BadImage

MAX_CONFIG_BYTES = 4 * 1024 * 1024
MAX_LAYERS = 127  # as Docker
EPOCH = "0001-01-01T00:00:00Z"

MAX_PORT = 65_535
_HEALTH_TIMES = {"interval": "Interval", "timeout": "Timeout", "start-period": "StartPeriod", "start-interval": "StartInterval"}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ns|us|ms|s|m|h)")
_UNIT_NS = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000, "m": 60_000_000_000, "h": 3_600_000_000_000}

Pairs = tuple[tuple[str, str], ...]


class Healthcheck(msgspec.Struct, frozen=True, kw_only=True):
    """Times in nanoseconds, 0 = default."""

    test: tuple[str, ...] = ()
    interval_ns: int = 0
    timeout_ns: int = 0
    start_period_ns: int = 0
    retries: int = 0


class ImageConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How to run it."""

    env: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    working_dir: str = ""
    user: str = ""
    labels: Pairs = ()
    exposed_ports: tuple[str, ...] = ()  # "80/tcp"
    volumes: tuple[str, ...] = ()
    stop_signal: str = ""
    healthcheck: Healthcheck | None = None
    shell: tuple[str, ...] = ()
    on_build: tuple[str, ...] = ()


class HistoryEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One step of the image's making."""

    created: str = ""
    created_by: str = ""
    author: str = ""
    comment: str = ""
    empty_layer: bool = False


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """One local image. `references` and `repo_digests` are familiar names, sorted; `created` is RFC 3339 as in the
    configuration.
    """

    id: str  # sha256:…
    references: tuple[str, ...]
    repo_digests: tuple[str, ...]
    created: str
    created_unix_s: int
    size_bytes: int
    layer_sizes_bytes: tuple[int, ...]  # as `diff_ids`
    architecture: str
    os: str
    variant: str
    author: str
    comment: str
    config: ImageConfig
    diff_ids: tuple[str, ...]
    history: tuple[HistoryEntry, ...]
    raw: bytes  # the configuration's bytes


def parse(raw: bytes) -> dict[str, Any]:
    """The configuration's JSON object, with what every image must say checked. Raises BadImage."""
    if len(raw) > MAX_CONFIG_BYTES:
        raise BadImage(f"an image configuration of more than {MAX_CONFIG_BYTES} bytes")
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError):
        raise BadImage("the image's configuration is no JSON") from None
    rootfs = document.get("rootfs") if isinstance(document, dict) else None
    if not isinstance(rootfs, dict) or not all(isinstance(d, str) for d in rootfs.get("diff_ids") or ()):
        raise BadImage("the image's configuration names no layers (rootfs.diff_ids)")
    if len(rootfs.get("diff_ids") or ()) > MAX_LAYERS:
        raise BadImage(f"max depth exceeded: an image has at most {MAX_LAYERS} layers")
    return dict(document)


def diff_ids(document: dict[str, Any]) -> tuple[str, ...]:
    """The layers' digests, lowest first."""
    return tuple(document["rootfs"].get("diff_ids") or ())


def image(image_id: str, raw: bytes, references: Sequence[str], repo_digests: Sequence[str], layer_sizes_bytes: Sequence[int] = ()) -> Image:
    """The value for a configuration. Raises BadImage when a field has a type that it cannot have."""
    document = parse(raw)
    try:
        return Image(
            id=image_id,
            references=tuple(sorted(references)),
            repo_digests=tuple(sorted(repo_digests)),
            created=_text(document, "created") or EPOCH,
            created_unix_s=_unix_s(_text(document, "created")),
            size_bytes=sum(layer_sizes_bytes),
            layer_sizes_bytes=tuple(layer_sizes_bytes),
            architecture=_text(document, "architecture"),
            os=_text(document, "os"),
            variant=_text(document, "variant"),
            author=_text(document, "author"),
            comment=_text(document, "comment"),
            config=_config(document.get("config") or {}),
            diff_ids=diff_ids(document),
            history=tuple(_history(h) for h in document.get("history") or ()),
            raw=raw,
        )
    except (AttributeError, TypeError, ValueError):
        raise BadImage("the image's configuration is malformed") from None


def imported(diff_id: str, changes: Sequence[str], message: str, created: str, architecture: str) -> bytes:
    """The configuration of an image made from one file system. Raises BadImage for a change that Docker would
    refuse.
    """
    config: dict[str, Any] = {}
    for change in changes:
        _apply(config, change)
    document = {
        "architecture": architecture,
        "comment": message,
        "config": config,
        "created": created,
        "history": [{"created": created, "comment": message}],
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
    }
    return json.dumps(document, separators=(",", ":"), sort_keys=True).encode()


def committed(raw: bytes, diff_id: str, config: dict[str, Any], changes: Sequence[str], step: HistoryEntry) -> bytes:
    """The configuration of an image made of another one, a new layer and how its container was configured. Raises
    BadImage.
    """
    document = parse(raw)
    for change in changes:
        _apply(config, change)
    document |= {"config": config, "created": step.created, "author": step.author, "comment": step.comment}
    document["rootfs"] = {"type": "layers", "diff_ids": [*diff_ids(document), diff_id]}
    entry = {"created": step.created, "created_by": step.created_by, "author": step.author, "comment": step.comment}
    document["history"] = [*(document.get("history") or ()), {k: v for k, v in entry.items() if v}]
    return json.dumps(document, separators=(",", ":"), sort_keys=True).encode()


def _config(document: dict[str, Any]) -> ImageConfig:
    health = document.get("Healthcheck")
    return ImageConfig(
        env=_texts(document.get("Env")),
        cmd=_texts(document.get("Cmd")),
        entrypoint=_texts(document.get("Entrypoint")),
        working_dir=_text(document, "WorkingDir"),
        user=_text(document, "User"),
        labels=tuple(sorted((str(k), str(v)) for k, v in (document.get("Labels") or {}).items())),
        exposed_ports=tuple(sorted(document.get("ExposedPorts") or {})),
        volumes=tuple(sorted(document.get("Volumes") or {})),
        stop_signal=_text(document, "StopSignal"),
        healthcheck=_health(health) if health else None,
        shell=_texts(document.get("Shell")),
        on_build=_texts(document.get("OnBuild")),
    )


def _health(document: dict[str, Any]) -> Healthcheck:
    return Healthcheck(
        test=_texts(document.get("Test")),
        interval_ns=int(document.get("Interval") or 0),
        timeout_ns=int(document.get("Timeout") or 0),
        start_period_ns=int(document.get("StartPeriod") or 0),
        retries=int(document.get("Retries") or 0),
    )


def _history(document: dict[str, Any]) -> HistoryEntry:
    return HistoryEntry(
        created=_text(document, "created"),
        created_by=_text(document, "created_by"),
        author=_text(document, "author"),
        comment=_text(document, "comment"),
        empty_layer=bool(document.get("empty_layer")),
    )


def _text(document: dict[str, Any], key: str) -> str:
    value = document.get(key) or ""
    if not isinstance(value, str):
        raise TypeError(key)
    return value


def _texts(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, str) or not all(isinstance(v, str) for v in value):
        raise TypeError("a list of strings")
    return tuple(value)


def _unix_s(created: str) -> int:
    if not created:
        return 0
    moment = datetime.fromisoformat(created)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp())


def _apply(config: dict[str, Any], change: str) -> None:
    instruction, _, rest = change.strip().partition(" ")
    word, rest = instruction.upper(), rest.strip()
    if not rest and word != "CMD":
        raise BadImage(f"{word or 'a change'} requires at least one argument")
    if word in ("CMD", "ENTRYPOINT"):
        config["Cmd" if word == "CMD" else "Entrypoint"] = _exec_form(rest)
    elif word == "ENV":
        for key, value in _assignments(rest):
            kept = [e for e in config.get("Env") or () if e.partition("=")[0] != key]
            config["Env"] = [*kept, f"{key}={value}"]
    elif word == "LABEL":
        _add(config, "Labels", dict(_assignments(rest)))
    elif word == "EXPOSE":
        _add(config, "ExposedPorts", {port: {} for text in rest.split() for port in _ports(text)})
    elif word == "VOLUME":
        paths = _exec_form(rest) if rest.startswith("[") else rest.split()
        _add(config, "Volumes", {path: {} for path in paths})
    elif word in ("USER", "WORKDIR"):
        config[{"USER": "User", "WORKDIR": "WorkingDir"}[word]] = rest
    elif word == "HEALTHCHECK":
        config["Healthcheck"] = _healthcheck(rest)
    elif word == "ONBUILD":
        config["OnBuild"] = [*(config.get("OnBuild") or ()), rest]
    else:
        raise BadImage(f"{instruction.lower()} is not a valid change command")


def _add(config: dict[str, Any], key: str, more: dict[str, Any]) -> None:
    """A container's configuration has null where an image's has nothing."""
    config[key] = {**(config.get(key) or {}), **more}


def _ports(text: str) -> list[str]:
    """`80`, `80/udp` or `80-82` one by one."""
    numbers, _, protocol = text.partition("/")
    first, _, last = numbers.partition("-")
    last = last or first
    if not (first.isdigit() and last.isdigit() and int(first) <= int(last) <= MAX_PORT):
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
        if name == "retries" and value.isdigit():
            found["Retries"] = int(value)
        elif name in _HEALTH_TIMES:
            found[_HEALTH_TIMES[name]] = _duration_ns(value)
        else:
            raise BadImage(f"Unknown flag: {name}")
    kind, _, rest = text.partition(" ")
    if kind.upper() == "NONE" and not rest:
        return {"Test": ["NONE"]}
    if kind.upper() != "CMD" or not rest.strip():
        raise BadImage(f'Unknown type "{kind}" for HEALTHCHECK (try CMD)')
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
        except ValueError:
            words = None
        if isinstance(words, list) and all(isinstance(w, str) for w in words):
            return words
    return ["/bin/sh", "-c", text] if text else []


def _assignments(text: str) -> list[tuple[str, str]]:
    first = text.split(None, 1)
    if "=" not in first[0]:  # the old form: ENV KEY the rest
        return [(first[0], first[1] if len(first) > 1 else "")]
    try:
        words = shlex.split(text)
    except ValueError:
        raise BadImage(f"Syntax error - can't parse {text!r}") from None
    bad = next((w for w in words if "=" not in w), None)
    if bad is not None:
        raise BadImage(f"Syntax error - can't find = in {bad!r}. Must be of the form: name=value")
    return [(k, v) for k, _, v in (w.partition("=") for w in words)]
