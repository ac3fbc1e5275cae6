"""--security-opt of `run` and of `service create`: the words as they are sent, a seccomp profile's file read. Source: docker/cli's container/opts.go."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any

from cli.failures import MISUSED, CliFailure


def container_option(text: str) -> str:
    """A seccomp profile is sent, not its path. Raises CliFailure."""
    key, _, value = text.partition("=" if "=" in text else ":")
    if not value and key != "no-new-privileges":
        raise CliFailure(f'Invalid --security-opt: "{text}"', MISUSED)
    if key != "seccomp" or value in ("unconfined", "builtin"):
        return text
    return f"seccomp={read_seccomp(value)}"


def privileges(options: Sequence[str]) -> dict[str, Any] | None:
    """--security-opt of a service: the API's Privileges, a seccomp profile's file read. Raises CliFailure."""
    made: dict[str, Any] = {}
    for text in options:
        key, _, value = text.partition("=")
        if text in ("no-new-privileges", "no-new-privileges=true"):
            made["NoNewPrivileges"] = True
        elif key == "seccomp" and value in ("unconfined", "builtin"):
            made["Seccomp"] = {"Mode": "unconfined" if value == "unconfined" else "default"}
        elif key == "seccomp" and value:
            made["Seccomp"] = {"Mode": "custom", "Profile": base64.b64encode(read_seccomp(value).encode()).decode()}
        elif text == "apparmor=unconfined":
            made["AppArmor"] = {"Mode": "disabled"}
        else:
            raise CliFailure(f'Invalid --security-opt: "{text}"', MISUSED)
    return made or None


def read_seccomp(path: str) -> str:
    """A seccomp profile as it is sent. Raises CliFailure."""
    try:
        with open(path) as file:
            return json.dumps(json.load(file), separators=(",", ":"))
    except OSError as e:
        reason = (e.strerror or "").lower()
        raise CliFailure(f"opening seccomp profile ({path}) failed: open {path}: {reason}", MISUSED) from e
    except ValueError as e:
        cut_short = isinstance(e, json.JSONDecodeError) and not e.doc[e.pos :].strip()
        reason = "unexpected end of JSON input" if cut_short else str(e)
        raise CliFailure(f"compacting json for seccomp profile ({path}) failed: {reason}", MISUSED) from e
