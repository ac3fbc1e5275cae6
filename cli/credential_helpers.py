"""Credential helpers: programs that keep registry passwords for Docker's client, one question each (`docker-credential-NAME get|store|erase`).

Owns the dialogue; which helper a registry has stands in the client's configuration (cli/credentials.py). Source: docker-credential-helpers.
"""

from __future__ import annotations

import json
import subprocess
from typing import Final

from cli.failures import CliFailure

TOKEN: Final = "<token>"  # noqa: S105  the name under which helpers keep identity tokens
ANSWER_MAX_BYTES: Final = 1024 * 1024
_NOT_FOUND: Final = "credentials not found in native keychain"


def get(helper: str, server: str) -> dict[str, str]:
    """The AuthConfig of a registry; empty when the helper has none. Raises CliFailure."""
    said = _ask(helper, "get", server, "error getting credentials")
    if said is None:
        return {}
    try:
        found = json.loads(said)
        username, secret = str(found["Username"]), str(found["Secret"])
    except (ValueError, KeyError, TypeError) as error:
        raise CliFailure(f"error getting credentials - docker-credential-{helper} gave no credentials") from error
    if username == TOKEN:
        return {"serveraddress": server, "identitytoken": secret}
    return {"serveraddress": server, "username": username, "password": secret}


def store(helper: str, server: str, username: str, password: str, identity_token: str) -> None:
    kept = {"ServerURL": server, "Username": TOKEN if identity_token else username, "Secret": identity_token or password}
    _ask(helper, "store", json.dumps(kept), "error storing credentials")


def erase(helper: str, server: str) -> None:
    _ask(helper, "erase", server, "error erasing credentials")


def _ask(helper: str, what: str, question: str, failed: str) -> bytes | None:
    """The answer; None when the helper knows nothing of it. Raises CliFailure in docker's words."""
    program = f"docker-credential-{helper}"
    try:
        done = subprocess.run([program, what], input=question.encode(), capture_output=True, check=False)
    except OSError:
        raise CliFailure(f'{failed} - err: exec: "{program}": executable file not found in $PATH, out: ``') from None
    said = done.stdout[:ANSWER_MAX_BYTES]
    words = said.decode("utf-8", "replace").strip()
    if done.returncode == 0:
        return said
    if words == _NOT_FOUND:
        return None
    raise CliFailure(f"{failed} - err: exit status {done.returncode}, out: `{words}`")
