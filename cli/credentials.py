"""Where a user's registry passwords are: Docker's client configuration, `$DOCKER_CONFIG/config.json` or `~/.docker/config.json`.

Owns that file's `auths` and touches nothing else in it. Passwords are kept by a credential helper where the file names one (cli/credential_helpers.py),
else as safe as Docker keeps them: base64 in a file of mode 0600.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from cli.failures import CliFailure
from cluster.model.reference import DEFAULT_DOMAIN, LEGACY_DOMAIN

HUB: Final = "https://index.docker.io/v1/"
MAX_CONFIG_BYTES: Final = 4 * 1024 * 1024
_HUB_HOSTS: Final = (DEFAULT_DOMAIN, LEGACY_DOMAIN, "registry-1.docker.io")


def server_of(text: str) -> str:
    """The key under which a registry's credentials are kept."""
    host = (text.partition("://")[2] or text).partition("/")[0]
    return HUB if not host or host in _HUB_HOSTS else host


def helper_of(document: Mapping[str, Any], server: str) -> str:
    """The name of the credential helper that keeps a registry's passwords; empty when they are in the file itself."""
    own = document.get("credHelpers")
    named = own.get(server) if isinstance(own, dict) else None
    return str(named or document.get("credsStore") or "")


def header_for(domain: str) -> tuple[tuple[str, str], ...]:
    """X-Registry-Auth for a reference's domain; always there, as from Docker's client."""
    document = find(server_of(domain))
    return (("X-Registry-Auth", base64.urlsafe_b64encode(json.dumps(document).encode()).decode()),)


def find(server: str) -> dict[str, str]:
    """The AuthConfig of a registry; empty when there is none, and of a file that can't be read. A helper that fails is warned of: much needs no
    credentials, and what does is refused."""
    try:
        document = read_all()
    except CliFailure:
        return {}  # of which a warning was said (cli/configuration.py)
    if helper := helper_of(document, server):
        from cli import credential_helpers

        try:
            return credential_helpers.get(helper, server)
        except CliFailure as failure:
            print(f"WARNING: {failure.message}", file=sys.stderr)
            return {}
    kept = document.get("auths", {})
    entry = kept[server] if server in kept else next((kept[key] for key in kept if server_of(key) == server), None)
    if not isinstance(entry, dict):
        return {}
    found = {"serveraddress": server}
    if isinstance(token := entry.get("identitytoken"), str) and token:
        found["identitytoken"] = token
    try:
        username, _, password = base64.b64decode(str(entry.get("auth") or "")).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return found
    return found | ({"username": username, "password": password.rstrip("\0")} if username else {})


def _of_this_machine() -> str:
    """The helper that a first log-in goes to, as in Docker's client; empty without one."""
    from shutil import which

    name = "pass" if which("pass") else "secretservice"
    return name if which(f"docker-credential-{name}") else ""


def keep(server: str, username: str, password: str, identity_token: str = "") -> Path | None:
    """Remember them; returns the file, or None when a helper keeps them."""
    document = read_all()
    if not any(document.get(key) for key in ("auths", "credHelpers", "credsStore")) and (found := _of_this_machine()):
        document["credsStore"] = found
    if helper := helper_of(document, server):
        from cli import credential_helpers

        try:
            credential_helpers.store(helper, server, username, password, identity_token)
        except CliFailure as failure:
            raise CliFailure(f"Error saving credentials: {failure.message}") from failure
        document.setdefault("auths", {})[server] = {}  # that there is something
        write_all(document)
        return None
    entry = {"auth": base64.b64encode(f"{username}:{'' if identity_token else password}".encode()).decode()}
    document.setdefault("auths", {})[server] = entry | ({"identitytoken": identity_token} if identity_token else {})
    return write_all(document)


def forget(server: str) -> None:
    """Also where there is nothing, and under the address that older clients or people wrote. Raises CliFailure when a helper could erase none of them
    (one that has nothing under an address may call that a failure)."""
    document = read_all()
    keys = (server,) if server == HUB else (server, f"http://{server}", f"https://{server}")
    failures = [failure for key in keys if (failure := _erased(helper_of(document, key), key))]
    kept = document.get("auths", {})
    if {key for key in keys if kept.pop(key, None) is not None}:
        write_all(document)
    if len(failures) == len(keys):
        raise failures[0]


def _erased(helper: str, key: str) -> CliFailure | None:
    """Why the helper did not; there may be none."""
    if not helper:
        return None
    from cli import credential_helpers

    try:
        credential_helpers.erase(helper, key)
    except CliFailure as failure:
        return failure
    return None


def path() -> Path:
    return Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "config.json"


def read_all() -> dict[str, Any]:
    try:
        with open(path(), "rb") as file:
            document = json.loads(file.read(MAX_CONFIG_BYTES))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise CliFailure(f"Error loading config file: {path()}: {(error.strerror or str(error)).lower()}") from error
    except ValueError as error:
        raise CliFailure(f"Error loading config file: {path()}: {error}") from error
    if not isinstance(document, dict) or not isinstance(document.get("auths", {}), dict):
        raise CliFailure(f"Error loading config file: {path()}: not a client's configuration")
    return document


def write_all(document: dict[str, Any]) -> Path:
    import tempfile  # for log-ins alone

    target = path()
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=target.parent, prefix=".config-", delete=False) as file:  # mode 0600
        json.dump(document, file, indent="\t")
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(file.name, target)
    return target
