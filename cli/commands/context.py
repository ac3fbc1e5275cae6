"""`festoon context …`: create, export, import, inspect, ls, rm, show, update, use. Source of the words: docker/cli's cli/command/context."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Mapping
from typing import Any, Final

from cli import contexts
from cli.api import DEFAULT_HOST, Api
from cli.commands.system import FORMAT_HELP, LIST_FORMAT_HELP
from cli.failures import CliFailure, each
from cli.flags import FlagType, option, options, switch
from cli.listing import Listing, check_template, inspected
from cli.output import ellipsis, natural
from cli.usage import Group, command

context = Group(
    "context",
    summary="Manage contexts",
    lazy={
        "create": ("cli.commands.context:create", "Create a context"),
        "export": ("cli.commands.context:export", "Export a context to a tar archive FILE or a tar stream on STDOUT."),
        "import": ("cli.commands.context:import_", "Import a context from a tar or zip file"),
        "inspect": ("cli.commands.context:inspect", "Display detailed information on one or more contexts"),
        "ls": ("cli.commands.context:ls", "List contexts"),
        "rm": ("cli.commands.context:rm", "Remove one or more contexts"),
        "show": ("cli.commands.context:show", "Print the name of the current context"),
        "update": ("cli.commands.context:update", "Update a context"),
        "use": ("cli.commands.context:use", "Set the current docker context"),
    },
    aliases={"list": "ls", "remove": "rm"},
)
MAX_ARCHIVE_BYTES: Final = 10 * 1024 * 1024
MAX_ERROR_LENGTH: Final = 45
_FILES: Final = {"ca": "ca.pem", "cert": "cert.pem", "key": "key.pem"}
_LISTING: Final = Listing(
    {"Current": "<no value>", "Description": "DESCRIPTION", "DockerEndpoint": "DOCKER ENDPOINT", "Error": "ERROR", "Name": "NAME"},
    ("Name", "Description", "DockerEndpoint", "Error"),
    "Name",
    {"Name": "_shown", "Error": "_error"},
    "*formatter.clientContextContext",
)


def _pair(text: str) -> tuple[tuple[str, str], ...]:
    parts = [part.partition("=") for part in text.split(",")]
    for key, equals, _ in parts:
        if not equals:
            raise ValueError(f"{key} must be formatted as key=value")
    return tuple((key, value) for key, _, value in parts)


ENDPOINT: Final = FlagType("stringToString", _pair, several=True, shown_default="[]")


_AS_GO: Final = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"})
"""How Go's encoder writes these in JSON that may come to stand in a page; what the daemon sent, other inspections show as it is."""

OVERRIDDEN: Final = (
    "Warning: {0} environment variable overrides the active context. To use {1}, either set the global --context flag, or unset {0} environment variable."
)
ENDPOINT_DETAILS: Final = """\
Docker endpoint config:

NAME                DESCRIPTION
from                Copy named context's Docker endpoint configuration
host                Docker endpoint on which to connect
ca                  Trust certs signed only by this CA
cert                Path to TLS certificate file
key                 Path to TLS key file
skip-tls-verify     Skip TLS certificate validation

Example:

$ {{top}} context {} my-context --description "some description" --docker "host=tcp://myserver:2376,ca=~/ca-file,cert=~/cert-file,key=~/key-file"\
"""


@command("create", "CONTEXT", summary="Create a context", least=1, most=1, details=ENDPOINT_DETAILS.format("create"))
@option("--description", help="Description of the context", default="")
@options("--docker", help="set the docker endpoint", type=ENDPOINT)
@option("--from", "from_", help="create context from a named context", default="")
def create(api: Api, arguments: tuple[str, ...], description: str, docker: tuple[tuple[str, str], ...], from_: str) -> int:
    name = contexts.checked(arguments[0])
    if contexts.exists(name):
        raise CliFailure(f'context "{name}" already exists')
    found: dict[str, Any] = {"Name": name, "Metadata": {}, "Endpoints": {}}
    tls: dict[str, bytes] = {}
    source = from_ or ("" if docker else contexts.current(""))
    if source:
        known = _known(source, _flag(api))
        found |= {key: known[key] for key in ("Metadata", "Endpoints") if key in known}
        tls = contexts.tls_files(source)
    if docker:
        found["Endpoints"], tls = {"docker": _endpoint(docker)}, _tls(docker)
    if description:
        found["Metadata"] = {**found["Metadata"], "Description": description}
    contexts.write(name, found, tls)
    print(name)
    print(f'Successfully created context "{name}"', file=sys.stderr)
    return 0


def _flag(api: Api) -> str:
    return api.host if api.context == contexts.DEFAULT else ""


def _known(name: str, flag: str = "") -> dict[str, Any]:
    """A context, or the default one, which is in no file. `flag`: what -H says. Raises CliFailure."""
    if name != contexts.DEFAULT:
        return contexts.read(name)
    host = flag or os.environ.get("FESTOON_HOST") or os.environ.get("DOCKER_HOST") or DEFAULT_HOST
    return {"Name": name, "Metadata": {"Description": contexts.DEFAULT_DESCRIPTION}, "Endpoints": {"docker": {"Host": host, "SkipTLSVerify": False}}}


def _endpoint(docker: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    given = dict(docker)
    for key in given:
        if key not in ("from", "host", "skip-tls-verify", *_FILES):
            raise CliFailure(f"unable to create docker endpoint config: unrecognized config key: {key}")
    if "from" in given:
        return dict((_known(given["from"]).get("Endpoints") or {}).get("docker") or {})
    skip = given.get("skip-tls-verify", "false").lower()
    if skip not in ("true", "false", "1", "0"):
        raise CliFailure(f"unable to create docker endpoint config: skip-tls-verify: invalid value {skip}")
    made: dict[str, Any] = {"Host": given["host"]} if given.get("host") else {}
    return made | {"SkipTLSVerify": skip in ("true", "1")}


def _tls(docker: tuple[tuple[str, str], ...]) -> dict[str, bytes]:
    made = {}
    for key, path in docker:
        if key not in _FILES or not path:
            continue
        try:
            with open(os.path.expanduser(path), "rb") as file:
                data = file.read(MAX_ARCHIVE_BYTES)
        except OSError as e:
            raise CliFailure(f"unable to create docker endpoint config: open {path}: {(e.strerror or str(e)).lower()}") from e
        if b"-----BEGIN " not in data:
            problem = f"failed to retrieve context tls info: {_FILES[key]} seems invalid"
            raise CliFailure(f"unable to create docker endpoint config: invalid docker endpoint options: {problem}")
        made[_FILES[key]] = data
    return made


@command("update", "CONTEXT", summary="Update a context", least=1, most=1, details=ENDPOINT_DETAILS.format("update"))
@option("--description", help="Description of the context", default="")
@options("--docker", help="set the docker endpoint", type=ENDPOINT)
def update(api: Api, arguments: tuple[str, ...], description: str, docker: tuple[tuple[str, str], ...]) -> int:
    name = contexts.checked(arguments[0])
    found, tls = contexts.read(name), contexts.tls_files(name)
    if description:
        found["Metadata"] = {**(found.get("Metadata") or {}), "Description": description}
    if docker:
        found["Endpoints"], tls = {**(found.get("Endpoints") or {}), "docker": _endpoint(docker)}, _tls(docker)
    contexts.write(name, found, tls)
    print(name)
    print(f'Successfully updated context "{name}"', file=sys.stderr)
    return 0


@command("use", "CONTEXT", summary="Set the current docker context", least=1, most=1)
def use(api: Api, arguments: tuple[str, ...]) -> int:
    name = arguments[0]
    if name != contexts.DEFAULT:
        contexts.read(contexts.checked(name))
    contexts.choose(name)
    print(name)
    print(f'Current context is now "{name}"', file=sys.stderr)
    if name != contexts.DEFAULT and (variable := contexts.overriding()):
        print(OVERRIDDEN.format(variable, f'"{name}"'), file=sys.stderr)
    return 0


@command("show", summary="Print the name of the current context")
def show(api: Api, arguments: tuple[str, ...]) -> int:
    print(contexts.current(api.context))
    return 0


@command("ls", summary="List contexts", aliases=["context ls", "context list"])
@option("--format", help=LIST_FORMAT_HELP, default="")
@switch("--quiet", "-q", help="Only show context names")
def ls(api: Api, arguments: tuple[str, ...], format: str, quiet: bool | None) -> int:
    now = contexts.current(api.context)
    found = {one["Name"]: one for one in (*contexts.every(), _known(contexts.DEFAULT, _flag(api)))}
    rows = {name: _row(name, one, now, "") for name, one in found.items()}
    if now not in rows:
        try:
            contexts.read(now)
        except CliFailure as e:
            rows[now] = _row(now, {}, now, e.message)
    print(_LISTING.render([rows[name] for name in sorted(rows, key=natural)], format, quiet=bool(quiet)), end="")
    variable = contexts.overriding()
    if variable:
        print(OVERRIDDEN.format(variable, "a context"), file=sys.stderr)
    return 0


def _row(name: str, one: Mapping[str, Any], now: str, error: str) -> dict[str, Any]:
    shown = name + (" *" if name == now else "")
    description = str((one.get("Metadata") or {}).get("Description", ""))
    return {
        "Current": name == now, "Description": description, "DockerEndpoint": contexts.host_of(dict(one)), "Error": error, "Name": name,
        "_shown": shown, "_error": ellipsis(error, MAX_ERROR_LENGTH),
    }  # fmt: skip


@command("inspect", "[CONTEXT] [CONTEXT...]", summary="Display detailed information on one or more contexts", most=None)
@option("--format", "-f", help=FORMAT_HELP, default="")
def inspect(api: Api, arguments: tuple[str, ...], format: str) -> int:
    check_template(format)
    found, failures = [], []
    for name in arguments or (contexts.current(api.context),):
        try:
            found.append(_inspected(name, _flag(api)))
        except CliFailure as e:
            failures.append(e.message)
    try:
        shown = inspected([(one, "context.contextWithTLSListing") for one in found], format, or_raw=False) if found or not format else "\n"
        print(shown if format else shown.translate(_AS_GO), end="")
    except CliFailure:
        print()  # as Docker does when a template does not fit what was found
        raise
    if failures:
        raise CliFailure("\n".join(failures))
    return 0


def _inspected(name: str, flag: str) -> dict[str, Any]:
    one = _known(name, flag)
    own = name != contexts.DEFAULT
    material = {"docker": sorted(contexts.tls_files(name))} if own and contexts.tls_files(name) else {}
    places = (str(contexts.metadata_folder(name)), str(contexts.tls_folder(name))) if own else ("<IN MEMORY>", "<IN MEMORY>")
    return {
        "Name": name,
        "Metadata": one.get("Metadata") or {} if own else {},
        "Endpoints": one.get("Endpoints") or {},
        "TLSMaterial": material,
        "Storage": dict(zip(("MetadataPath", "TLSPath"), places, strict=True)),
    }


@command("rm", "CONTEXT [CONTEXT...]", summary="Remove one or more contexts", least=1, most=None, aliases=["context rm", "context remove"])
@switch("--force", "-f", help="Force the removal of a context in use")
def rm(api: Api, arguments: tuple[str, ...], force: bool | None) -> int:
    now = contexts.current(api.context)

    def remove(name: str) -> None:
        if name == contexts.DEFAULT:
            raise CliFailure(f'context "{contexts.DEFAULT}" cannot be removed')
        if not contexts.exists(name) and not force:
            raise CliFailure(f'context "{name}" does not exist')
        if name == now:
            if not force:
                raise CliFailure(f'context "{name}" is in use, set -f flag to force remove')
            contexts.choose(contexts.DEFAULT)
        contexts.remove(name)
        print(name)

    return each(arguments, remove)


rm.optional = False


@command("export", "CONTEXT [FILE|-]", summary="Export a context to a tar archive FILE or a tar stream on STDOUT.", least=1, most=2)
def export(api: Api, arguments: tuple[str, ...]) -> int:
    name = arguments[0]
    known = _known(name) if name == contexts.DEFAULT else contexts.read(contexts.checked(name))
    data = _archive(known, contexts.tls_files(name))
    target = arguments[1] if len(arguments) > 1 else f"{name}.dockercontext"
    if target == "-":
        if sys.stdout.isatty():
            raise CliFailure("cowardly refusing to export to a terminal, specify a file path")
        sys.stdout.buffer.write(data)
        return 0
    try:
        with open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
    except OSError as e:
        raise CliFailure(f"open {target}: {(e.strerror or str(e)).lower()}") from e
    print(f'Written file "{target}"', file=sys.stderr)
    return 0


def _archive(found: Mapping[str, Any], tls: Mapping[str, bytes]) -> bytes:
    import tarfile

    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        meta = json.dumps(found, separators=(",", ":")).encode()
        members = [("meta.json", 0o644, meta), ("tls", 0o700, None)]
        if tls:
            members += [("tls/docker", 0o700, None), *((f"tls/docker/{file}", 0o600, data) for file, data in tls.items())]
        for path, mode, data in members:
            info = tarfile.TarInfo(path)
            info.mode, info.size, info.type = mode, len(data or b""), tarfile.REGTYPE if data is not None else tarfile.DIRTYPE
            tar.addfile(info, io.BytesIO(data or b""))
    return out.getvalue()


export.optional = True  # as Docker's usage line, although it has none


@command("import", "CONTEXT FILE|-", summary="Import a context from a tar or zip file", least=2, most=2)
def import_(api: Api, arguments: tuple[str, ...]) -> int:
    name, source = contexts.checked(arguments[0]), arguments[1]
    if contexts.exists(name):
        raise CliFailure(f'context "{name}" already exists')
    try:
        if source == "-":
            data = sys.stdin.buffer.read(MAX_ARCHIVE_BYTES)
        else:
            with open(source, "rb") as file:
                data = file.read(MAX_ARCHIVE_BYTES)
    except OSError as e:
        raise CliFailure(f"open {source}: {(e.strerror or str(e)).lower()}") from e
    files = _members(data)
    try:
        found = json.loads(files["meta.json"])
        endpoints = dict(found["Endpoints"])
    except (KeyError, TypeError, ValueError) as e:
        raise CliFailure("invalid context: no metadata found") from e
    tls = {file: files[f"tls/docker/{file}"] for file in contexts.TLS_FILES if f"tls/docker/{file}" in files}
    contexts.write(name, {"Name": name, "Metadata": found.get("Metadata") or {}, "Endpoints": endpoints}, tls)
    print(name)
    print(f'Successfully imported context "{name}"', file=sys.stderr)
    return 0


def _members(data: bytes) -> dict[str, bytes]:
    """The files of an archive by path; nothing is ever unpacked. Raises CliFailure."""
    import tarfile
    import zipfile

    try:
        if data.startswith(b"PK"):
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                infos = [info for info in archive.infolist() if info.file_size <= contexts.MAX_META_BYTES]
                return {info.filename: archive.read(info) for info in infos}
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            members = ((member.name, tar.extractfile(member)) for member in tar if member.isreg() and member.size <= contexts.MAX_META_BYTES)
            return {name: file.read() for name, file in members if file is not None}
    except (tarfile.TarError, zipfile.BadZipFile, EOFError) as e:
        raise CliFailure(f"invalid context: {e}") from e
