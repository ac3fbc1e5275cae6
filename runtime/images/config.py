"""What an image is: the values read from its configuration, and a configuration made from a file system (`import`) or a container (`commit`).

Pure: bytes in, values out. The raw bytes are kept, because their digest is the image's id. Source: OCI image
specification, config.md. What `--change` says is changes.py's.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from runtime.errors import BadImage
from runtime.images.changes import apply

MAX_CONFIG_BYTES = 4 * 1024 * 1024
MAX_LAYERS = 127  # as Docker
EPOCH = "0001-01-01T00:00:00Z"

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
    empty_layer: bool = False  # this step changed no file


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
    docker_version: str = ""  # of the builder, where it says so
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
            docker_version=_text(document, "docker_version"),
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
    apply(config, changes)
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


def laid_over(own: dict[str, Any], base: dict[str, Any]) -> dict[str, Any]:
    """One configuration in the API's form over another one: what it does not say is the other's, lists of names are joined."""
    out = base | {key: value for key, value in own.items() if value}
    for key in ("ExposedPorts", "Labels", "Volumes"):
        out[key] = (base.get(key) or {}) | (own.get(key) or {})
    named = {entry.partition("=")[0] for entry in own.get("Env") or ()}
    out["Env"] = [*(own.get("Env") or ()), *(entry for entry in base.get("Env") or () if entry.partition("=")[0] not in named)]
    out["Healthcheck"] = (base.get("Healthcheck") or {}) | (own.get("Healthcheck") or {}) or None
    if own.get("Entrypoint"):
        out["Cmd"] = own.get("Cmd")  # the command was for the other program
    return out


def committed(raw: bytes, diff_id: str, config: dict[str, Any], changes: Sequence[str], step: HistoryEntry) -> bytes:
    """The configuration of an image made of another one, a new layer (empty: none, no file was changed) and how its
    container was configured. Raises BadImage.
    """
    document = parse(raw)
    command = config.get("Cmd")
    apply(config, changes)
    if not config.get("Entrypoint") and not config.get("Cmd"):
        config["Cmd"] = command  # as Docker: nothing to run is no wish
    document.pop("docker_version", None)  # of who made the other one
    document |= {"config": config, "created": step.created, "author": step.author, "comment": step.comment}
    document["rootfs"] = {"type": "layers", "diff_ids": [*diff_ids(document), *filter(None, [diff_id])]}
    entry: dict[str, Any] = {"created": step.created, "created_by": step.created_by, "author": step.author, "comment": step.comment, "empty_layer": not diff_id}
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
