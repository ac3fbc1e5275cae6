"""Images -> the API's JSON. Pure. Source: the Engine API's ImageSummary, ImageInspect and ImageHistoryResponseItem, version 1.51."""

from __future__ import annotations

from datetime import datetime

from agent.engine.convert import Json, filled, mapping
from agent.engine.convert_host import exposed_json
from runtime.images.config import Image, ImageConfig


def image_summary_json(image: Image, containers: int) -> Json:
    """`containers`: how many containers of this node use it."""
    return {
        "Id": image.id,
        "ParentId": "",
        "RepoTags": list(image.references),
        "RepoDigests": list(image.repo_digests),
        "Created": image.created_unix_s,
        "Size": image.size_bytes,
        "SharedSize": -1,
        "Labels": mapping(image.config.labels),
        "Containers": containers,
    }


def image_json(image: Image) -> Json:
    return {
        "Id": image.id,
        "RepoTags": list(image.references),
        "RepoDigests": list(image.repo_digests),
        "Parent": "",
        "Comment": image.comment,
        "Created": image.created,
        "DockerVersion": image.docker_version,
        "Author": image.author,
        "Config": image_config_json(image.config),
        "Architecture": image.architecture,
        **({"Variant": image.variant} if image.variant else {}),
        "Os": image.os,
        "Size": image.size_bytes,
        "GraphDriver": {"Name": "overlay2", "Data": {}},
        "RootFS": {"Type": "layers", "Layers": list(image.diff_ids)},
        "Metadata": {"LastTagTime": "0001-01-01T00:00:00Z"},
    }


def image_config_json(config: ImageConfig) -> Json:
    out: Json = {
        "User": config.user,
        "Env": list(config.env),
        "Cmd": list(config.cmd),
        "Volumes": {path: {} for path in config.volumes} or None,
        "WorkingDir": config.working_dir,
        "Entrypoint": list(config.entrypoint) or None,
        "OnBuild": list(config.on_build) or None,
        "Labels": mapping(config.labels) or None,
    }
    if config.exposed_ports:
        out["ExposedPorts"] = exposed_json(config.exposed_ports)
    if config.healthcheck is not None:
        check = config.healthcheck
        out["Healthcheck"] = filled(
            {
                "Test": list(check.test),
                "Interval": check.interval_ns,
                "Timeout": check.timeout_ns,
                "StartPeriod": check.start_period_ns,
                "Retries": check.retries,
            }
        )
    return out | filled({"StopSignal": config.stop_signal, "Shell": list(config.shell)})


def history_json(image: Image) -> list[Json]:
    """Newest first; the newest step bears the image's id and tags. An image without a recorded history has one step."""
    steps: list[Json] = [
        {
            "Id": "<missing>",
            "Created": _unix_s(step.created),
            "CreatedBy": step.created_by,
            "Tags": [],
            "Size": 0,
            "Comment": step.comment,
        }
        for step in reversed(image.history)
    ] or [{"Id": "<missing>", "Created": image.created_unix_s, "CreatedBy": "", "Tags": [], "Size": 0, "Comment": ""}]
    sizes = list(image.layer_sizes_bytes)
    for step, recorded in zip(reversed(steps), image.history, strict=False):
        if sizes and not recorded.empty_layer:
            step["Size"] = sizes.pop(0)
    steps[0]["Size"] += sum(sizes)  # of layers that no step tells of
    steps[0] |= {"Id": image.id, "Tags": list(image.references)}
    return steps


def _unix_s(text: str) -> int:
    try:
        return int(datetime.fromisoformat(text).timestamp()) if text else 0
    except ValueError:
        return 0
