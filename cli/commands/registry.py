"""`festoon pull`, `push`, `login`, `logout`. The daemon speaks with registries; here are the user's credentials and what is shown."""

from __future__ import annotations

import getpass
import os
import sys
from typing import Any, Final

from cli import credentials
from cli.api import Api, reference
from cli.failures import CliFailure
from cli.flags import option, switch
from cli.platforms import asked, require
from cli.transfer import Transfer
from cli.usage import command
from cluster.model.reference import InvalidReference, Reference, parse

PUSH_PLATFORM_HELP: Final = (
    "Push a platform-specific manifest as a single-platform image to the registry.\n"
    "Image index won't be pushed, meaning that other manifests, including attestations won't be preserved.\n"
    "'os[/arch[/variant]]': Explicit platform (eg. linux/amd64)"
)


@command("pull", "NAME[:TAG|@DIGEST]", summary="Download an image from a registry", least=1, most=1, aliases=["image pull", "pull"])
@switch("--all-tags", "-a", help="Download all tagged images in the repository")
@switch("--disable-content-trust", help="Skip image verification (default true)")
@option("--platform", help="Set platform if server is multi-platform capable", default="")
@switch("--quiet", "-q", help="Suppress verbose output")
def pull(api: Api, arguments: tuple[str, ...], **flags: Any) -> int:
    wanted = _parsed(arguments[0])
    every = bool(flags["all_tags"])
    if every and (wanted.tag or wanted.digest):
        raise CliFailure("tag can't be used with --all-tags/-a")
    name = wanted if every else wanted.with_default_tag()
    if not (every or wanted.tag or wanted.digest) and not flags["quiet"]:
        print(f"Using default tag: {name.tag}", flush=True)
    platform = flags["platform"] or os.environ.get("DOCKER_DEFAULT_PLATFORM", "")
    query = {"fromImage": name.familiar_repository, "tag": name.digest or name.tag, "platform": platform}
    with api.stream("POST", "/images/create", b"", credentials.header_for(name.domain), **query) as answer:
        Transfer(sys.stdout, quiet=bool(flags["quiet"])).show(answer.lines())
    print(name.repository if every else name.canonical)
    return 0


@command("push", "NAME[:TAG]", summary="Upload an image to a registry", least=1, most=1, aliases=["image push", "push"])
@switch("--all-tags", "-a", help="Push all tags of an image to the repository")
@switch("--disable-content-trust", help="Skip image signing (default true)")
@option("--platform", help=PUSH_PLATFORM_HELP, since="1.46")
@switch("--quiet", "-q", help="Suppress verbose output")
def push(api: Api, arguments: tuple[str, ...], **flags: Any) -> int:
    platform = asked(flags["platform"], f"Invalid platform {flags['platform']}")
    wanted = _parsed(arguments[0])
    quiet = bool(flags["quiet"])
    if wanted.digest and not flags["all_tags"]:
        raise CliFailure("cannot push a digest reference")
    if flags["all_tags"]:
        if wanted.tag or wanted.digest:
            raise CliFailure("tag can't be used with --all-tags/-a")
        tags = [n.rpartition(":")[2] for i in api.get("/images/json") or () for n in i.get("RepoTags") or () if parse(n).repository == wanted.repository]
        if not tags:
            raise CliFailure(f"An image does not exist locally with the tag: {wanted.familiar_repository}")
    else:
        tags = [wanted.tag or "latest"]
        if not (wanted.tag or quiet):
            print("Using default tag: latest", flush=True)
    require(api, [f"{wanted.familiar_repository}:{tag}" for tag in tags], platform)
    for tag in tags:
        target = f"/images/{reference(wanted.familiar_repository)}/push"
        with api.stream("POST", target, b"", credentials.header_for(wanted.domain), tag=tag) as answer:
            Transfer(sys.stdout, quiet=quiet).show(answer.lines())
        if quiet:
            print(f"{wanted.repository}:{tag}")
    return 0


@command("login", "[SERVER]", summary="Authenticate to a registry.\nDefaults to Docker Hub if no server is specified.", most=1)
@option("--password", "-p", help="Password or Personal Access Token (PAT)", default="")
@switch("--password-stdin", help="Take the Password or Personal Access Token (PAT) from stdin")
@option("--username", "-u", help="Username", default="")
def login(api: Api, arguments: tuple[str, ...], username: str, password: str, password_stdin: bool | None) -> int:
    server = credentials.server_of(arguments[0] if arguments else "")
    if password and password_stdin:
        raise CliFailure("conflicting options: cannot specify both --password and --password-stdin")
    if password:
        print("WARNING! Using --password via the CLI is insecure. Use --password-stdin.", file=sys.stderr)
    if password_stdin:
        if not username:
            raise CliFailure("the --password-stdin option requires --username to be set")
        password = sys.stdin.readline().rstrip("\r\n")
    known = {} if username or password else credentials.find(server)
    if known.get("username"):
        username, password = known["username"], known.get("password", "")
    elif not (username and password):
        if not sys.stdin.isatty():
            raise CliFailure("Error: Cannot perform an interactive login from a non TTY device")
        username = username or input("Username: ").strip()
        password = password or getpass.getpass("Password: ")
    if not username:
        raise CliFailure("username is required")
    if not password:
        raise CliFailure("password is required")
    answer = api.post("/auth", {"username": username, "password": password, "serveraddress": server}) or {}
    file = credentials.keep(server, username, password, answer.get("IdentityToken") or "")
    if file is not None:
        print(
            f"\nWARNING! Your credentials are stored unencrypted in '{file}'.\nConfigure a credential helper to remove this warning. See\n"
            "https://docs.docker.com/go/credential-store/\n",
            file=sys.stderr,
        )
    print(answer.get("Status") or "Login Succeeded")
    return 0


@command("logout", "[SERVER]", summary="Log out from a registry.\nIf no server is specified, the default is defined by the daemon.", most=1)
def logout(api: Api, arguments: tuple[str, ...]) -> int:
    server = credentials.server_of(arguments[0] if arguments else "")
    print(f"Removing login credentials for {server}")
    credentials.forget(server)
    return 0


def _parsed(text: str) -> Reference:
    try:
        return parse(text)
    except InvalidReference as error:
        raise CliFailure(str(error)) from error
