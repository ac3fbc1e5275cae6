"""`festoon service create` and `update`: flags to a spec, the spec to the daemon, and waiting until it holds."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Final

from cli import dependency_fields, service_fields, service_spec, service_update
from cli.api import Api, reference
from cli.commands.plan import show_plan
from cli.commands.service import roll_back, show_warnings
from cli.convergence import wait_converged
from cli.env_files import env_lines
from cli.failures import CliFailure
from cli.image_pinning import credentials_of, pin
from cli.patience import patience
from cli.service_flags import CREATE, SHARED, UPDATE, flagged
from cli.usage import command

_NOT_OF_THE_SPEC: Final = frozenset({"detach", "quiet", "verify", "rollback", "dry_run", "wait", "timeout"})


@command(
    "create", "IMAGE [COMMAND] [ARG...]", summary="Create a new service", least=1, most=None, interspersed=False
)
@flagged(SHARED, CREATE)
def create(api: Api, arguments: tuple[str, ...], **flags: Any) -> int:
    waiting = patience(flags["wait"], flags["timeout"], detach=flags["detach"])
    lines = env_lines(flags["env_file"], os.environ)
    environment = service_fields.last_of_each((*lines, *service_fields.environment(flags["env"], os.environ)))
    spec = service_spec.build(arguments[0], arguments[1:], flags, environment)
    service_spec.dependencies(spec, flags, lambda word, wanted: _identified(api, word, wanted))
    service_spec.network_names(spec, lambda name: _network_id(api, name))
    if flags["dry_run"]:
        return show_plan(api, [{"Spec": spec}])
    headers = credentials_of(arguments[0], wanted=bool(flags["with_registry_auth"]))
    unpinned = "" if flags["no_resolve_image"] else pin(api, spec["TaskTemplate"], headers)
    made = api.post("/services/create", spec, headers=headers)
    show_warnings(made, unpinned)
    print(made["ID"], flush=True)
    if not flags["detach"]:
        wait_converged(api, made["ID"], flags["verify"] / 1e9, quiet=bool(flags["quiet"]), patience=waiting)
    return 0


@command("update", "SERVICE", summary="Update a service", least=1, most=1)
@flagged(SHARED, UPDATE)
def update(api: Api, arguments: tuple[str, ...], **flags: Any) -> int:
    name = arguments[0]
    waiting = patience(flags["wait"], flags["timeout"], detach=flags["detach"], rollback=bool(flags["rollback"]))
    if flags["rollback"] and any(v not in (None, ()) for k, v in flags.items() if k not in _NOT_OF_THE_SPEC):
        raise CliFailure("other flags may not be combined with --rollback")
    found = api.get(f"/services/{reference(name, 'service')}", insertDefaults="false")
    if flags["rollback"]:
        if flags["dry_run"]:
            return show_plan(api, [{"Spec": found.get("PreviousSpec") or found["Spec"], "ID": found["ID"], "Version": found["Version"]["Index"]}])
        roll_back(api, found)
    else:
        flags["env_add"] = service_fields.environment(flags["env_add"], os.environ)
        service_update.apply(found["Spec"], flags, lambda network: _network_id(api, network), lambda word, wanted: _identified(api, word, wanted))
        if flags["dry_run"]:
            return show_plan(api, [{"Spec": found["Spec"], "ID": found["ID"], "Version": found["Version"]["Index"]}])
        image = str(found["Spec"]["TaskTemplate"]["ContainerSpec"]["Image"])
        headers = credentials_of(image, wanted=bool(flags["with_registry_auth"]))
        unpinned = pin(api, found["Spec"]["TaskTemplate"], headers) if flags["image"] and not flags["no_resolve_image"] else ""
        show_warnings(api.post(f"/services/{found['ID']}/update", found["Spec"], headers=headers, version=found["Version"]["Index"]), unpinned)
    print(name, flush=True)
    if not flags["detach"]:
        wait_converged(api, found["ID"], flags["verify"] / 1e9, quiet=bool(flags["quiet"]), patience=waiting, name=name)
    return 0


def _network_id(api: Api, name: str) -> str:
    found = api.get(f"/networks/{reference(name, 'network')}", scope="swarm")
    return str(found["Id"])


def _identified(api: Api, word: str, wanted: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """References to secrets or configs, with their ids."""
    names = [str(one[f"{word.capitalize()}Name"]) for one in wanted]
    known = {str(item["Spec"]["Name"]): str(item["ID"]) for item in api.get(f"/{word}s", filters={"name": names}) or ()} if names else {}
    return dependency_fields.identified(wanted, word, known)
