"""`festoon stack deploy` and `config`: Compose files to a stack, and the stack to the cluster.

Everything that can be wrong with the files is found before the first request that changes something: a stack is never half deployed for a mistake in a file.
Source of the order and the words: docker/cli's cli/command/stack/deploy_composefile.go.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from cli import dependency_fields
from cli.api import Api, reference
from cli.commands.service import show_warnings
from cli.commands.stack import checked_name, in_stack
from cli.compose import specs
from cli.compose.stack import Settings, Stack, check_images, load
from cli.convergence import wait_converged
from cli.failures import CliFailure
from cli.flags import STRINGS, option, options, switch
from cli.image_pinning import credentials_of, look_up, unpinned
from cli.usage import command

MAX_FILE_BYTES: Final = 4 * 1024 * 1024 + 1
"""More than a Compose file, a secret or a config may have: who reads it says so."""

VERIFY_S: Final = 1.0
RESOLVE: Final = ("always", "changed", "never")
_NOT_A_MANAGER: Final = (
    'this node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again'
)
_IN_THE_BACKGROUND: Final = (
    "Since --detach=false was not specified, tasks will be created in the background.\nIn a future release, --detach=false will become the default."
)
_FILES_HELP: Final = 'Path to a Compose file, or "-" to read from stdin'


@command("config", summary="Outputs the final config file, after doing merges and interpolations")
@options("--compose-file", "-c", help=_FILES_HELP, type=STRINGS)
@switch("--skip-interpolation", help="Skip interpolation and output only merged config")
def config(api: Api, arguments: tuple[str, ...], compose_file: tuple[str, ...], skip_interpolation: bool | None) -> int:
    from cli.compose.dump import stack_text

    stack, _ = read_stack(compose_file, interpolate=not skip_interpolation)
    warn(stack.warnings)
    print(stack_text(stack), end="")
    return 0


@command("deploy", "STACK", summary="Deploy a new stack or update an existing stack", least=1, most=1, aliases=["stack deploy", "stack up"])
@options("--compose-file", "-c", help=_FILES_HELP, type=STRINGS)
@switch("--detach", "-d", help="Exit immediately instead of waiting for the stack services to converge (default true)")
@switch("--prune", help="Prune services that are no longer referenced")
@switch("--quiet", "-q", help="Suppress progress output")
@option("--resolve-image", help='Query the registry to resolve image digest and supported platforms ("always", "changed", "never")', default="always")
@switch("--with-registry-auth", help="Send registry authentication details to Swarm agents")
def deploy(api: Api, arguments: tuple[str, ...], **flags: Any) -> int:
    namespace = checked_name(arguments[0])
    stack, settings = checked_stack(flags["compose_file"])
    if flags["resolve_image"] not in RESOLVE:
        raise CliFailure(f"Invalid option {flags['resolve_image']} for flag --resolve-image")
    networks, external = specs.networks(stack, namespace)
    objects = {word: specs.file_objects(stack, namespace, word, settings) for word in ("secret", "config")}
    wanted = specs.services(stack, namespace)
    if flags["detach"] is None:
        print(_IN_THE_BACKGROUND, file=sys.stderr)
    if not ((api.get("/info") or {}).get("Swarm") or {}).get("ControlAvailable"):
        raise CliFailure(_NOT_A_MANAGER)
    known = {s["Spec"]["Name"]: s for s in api.get("/services", filters=in_stack(namespace)) or ()}
    _refuse_absent(api, external, objects, wanted)
    if flags["prune"]:
        _prune(api, known, {spec["Name"] for spec in wanted.values()})
    _make_networks(api, namespace, networks)
    for word, bodies in objects.items():
        for body in bodies:
            _make_object(api, word, body)
    ids = [_deploy_service(api, spec, known.get(spec["Name"]), flags) for spec in wanted.values()]
    if flags["detach"] is False:
        for service_id in ids:
            wait_converged(api, service_id, VERIFY_S, quiet=bool(flags["quiet"]))
    return 0


def checked_stack(files: Sequence[str]) -> tuple[Stack, Settings]:
    """The stack of these files, with what docker says of them said. Raises CliFailure."""
    stack, settings = read_stack(files)
    warn(stack.warnings)
    if stack.unsupported:
        print(f"Ignoring unsupported options: {', '.join(stack.unsupported)}\n", file=sys.stderr)
    if stack.deprecated:
        from cli.compose.stack import DEPRECATED

        listed = "\n\n".join(f"{key}: {DEPRECATED[key]}" for key in stack.deprecated)
        print(f"Ignoring deprecated options:\n\n{listed}\n", file=sys.stderr)
    check_images(stack)
    return stack, settings


def read_stack(files: Sequence[str], *, interpolate: bool = True) -> tuple[Stack, Settings]:
    """Raises CliFailure for a file that can't be read, ComposeError for one that is wrong."""
    if not files:
        raise CliFailure("Specify a Compose file (with --compose-file)")
    folder = os.getcwd() if tuple(files) == ("-",) else os.path.dirname(os.path.abspath(files[0]))
    settings = Settings(folder, dict(os.environ), read_file, interpolate)
    return load([(name, _bytes_of(name)) for name in files], settings), settings


def read_file(path: str) -> bytes:
    """Raises OSError."""
    with open(path, "rb") as file:
        return file.read(MAX_FILE_BYTES)


def _bytes_of(name: str) -> bytes:
    if name == "-":
        return sys.stdin.buffer.read(MAX_FILE_BYTES)
    try:
        return read_file(name)
    except OSError as e:
        verb = "read" if isinstance(e, IsADirectoryError) else "open"
        raise CliFailure(f"{verb} {name}: {(e.strerror or str(e)).lower()}") from e


def warn(sentences: Sequence[str]) -> None:
    """As docker's logger writes them."""
    import json
    import time

    for sentence in sentences:
        print(f'time="{time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}" level=warning msg={json.dumps(sentence)}', file=sys.stderr)


def _refuse_absent(api: Api, external: Sequence[str], objects: Mapping[str, Sequence[Mapping[str, Any]]], services: Mapping[str, Mapping[str, Any]]) -> None:
    """Raises CliFailure when the cluster has not what the stack takes for given."""
    for name in external:
        if name in ("host", "bridge", "none", "default"):
            continue
        found = api.find(f"/networks/{reference(name, 'network')}")
        if found is None:
            raise CliFailure(
                f'network "{name}" is declared as external, but could not be found. You need to create a swarm-scoped network before the stack is deployed'
            )
        if found.get("Scope") != "swarm":
            scope = found.get("Scope", "")
            raise CliFailure(f'network "{name}" is declared as external, but it is not in the right scope: "{scope}" instead of "swarm"')
    for word, made in objects.items():
        title = word.capitalize()
        names = {str(body["Name"]) for body in made}
        references = [one for spec in services.values() for one in spec["TaskTemplate"]["ContainerSpec"].get(f"{title}s", ())]
        asked = sorted({str(one[f"{title}Name"]) for one in references} - names)
        known = _ids(api, word, asked)
        for name, spec in services.items():
            wanted = spec["TaskTemplate"]["ContainerSpec"].get(f"{title}s", ())
            with _failing(f"service {name}"):
                dependency_fields.identified(wanted, word, known | dict.fromkeys(names, ""))


def _ids(api: Api, word: str, names: Sequence[str]) -> dict[str, str]:
    found = api.get(f"/{word}s", filters={"name": list(names)}) or () if names else ()
    return {str(item["Spec"]["Name"]): str(item["ID"]) for item in found}


def _prune(api: Api, known: Mapping[str, Mapping[str, Any]], kept: set[str]) -> None:
    for name in sorted(known.keys() - kept):
        print(f"Removing service {name}", flush=True)
        try:
            api.delete(f"/services/{known[name]['ID']}")
        except CliFailure as e:
            print(f"Failed to remove service {known[name]['ID']}: {e.message}", file=sys.stderr, end="")


def _make_networks(api: Api, namespace: str, networks: Mapping[str, Mapping[str, Any]]) -> None:
    known = {network["Name"] for network in api.get("/networks", filters=in_stack(namespace)) or ()}
    for name, body in networks.items():
        if name in known:
            continue
        print(f"Creating network {name}", flush=True)
        with _failing(f"failed to create network {name}"):
            api.post("/networks/create", {"Name": name, **body})


def _make_object(api: Api, word: str, body: Mapping[str, Any]) -> None:
    name = str(body["Name"])
    found = api.find(f"/{word}s/{reference(name, word)}")
    if found is not None:
        with _failing(f"failed to update {word} {name}"):
            api.post(f"/{word}s/{found['ID']}/update", body, version=found["Version"]["Index"])
        return
    print(f"Creating {word} {name}", flush=True)
    with _failing(f"failed to create {word} {name}"):
        api.post(f"/{word}s/create", body)


def _deploy_service(api: Api, spec: dict[str, Any], known: Mapping[str, Any] | None, flags: Mapping[str, Any]) -> str:
    """Make or update one; its id. Raises CliFailure."""
    name, container = str(spec["Name"]), spec["TaskTemplate"]["ContainerSpec"]
    for word in ("secret", "config"):
        title = word.capitalize()
        if wanted := container.get(f"{title}s"):
            container[f"{title}s"] = dependency_fields.identified(wanted, word, _ids(api, word, [str(one[f"{title}Name"]) for one in wanted]))
    image = str(container["Image"])
    headers = credentials_of(image, wanted=bool(flags["with_registry_auth"]))
    if known is None:
        print(f"Creating service {name}", flush=True)
        if flags["resolve_image"] != "never":
            container["Image"] = look_up(api, image, headers)[0] or image
        with _failing(f"failed to create service {name}"):
            return str(api.post("/services/create", spec, headers=headers)["ID"])
    print(f"Updating service {name} (id: {known['ID']})", flush=True)
    before = known["Spec"]
    pinned = ""
    if flags["resolve_image"] == "always" or (flags["resolve_image"] == "changed" and image != before["Labels"].get(specs.IMAGE)):
        pinned = look_up(api, image, headers)[0]
        container["Image"] = pinned or image
        if not pinned:
            print(unpinned(image), file=sys.stderr)
    elif image == before["Labels"].get(specs.IMAGE):
        container["Image"] = before["TaskTemplate"]["ContainerSpec"]["Image"]
    spec["TaskTemplate"]["ForceUpdate"] = before["TaskTemplate"].get("ForceUpdate", 0)
    how: dict[str, Any] = {"version": known["Version"]["Index"]} | ({} if headers else {"registryAuthFrom": "spec"})
    with _failing(f"failed to update service {name}"):
        show_warnings(api.post(f"/services/{known['ID']}/update", spec, headers=headers, **how))
    return str(known["ID"])


@contextmanager
def _failing(what: str) -> Iterator[None]:
    """What could not be done stands before why."""
    try:
        yield
    except CliFailure as e:
        raise CliFailure(f"{what}: {e.message}", e.status) from e
