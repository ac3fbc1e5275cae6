"""--security-opt as values: pure. Source: moby's daemon/daemon_unix.go (parseSecurityOpt); labels are SELinux's, which this runtime has not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from cluster.model.errors import InvalidArgument

UNCONFINED: Final = "unconfined"
DEFAULT: Final = "default"
_BOOLEANS: Final = {"1": True, "t": True, "true": True, "0": False, "f": False, "false": False}


@dataclass(frozen=True, slots=True)
class Security:
    """`seccomp`: default, unconfined, or the JSON text of a profile (the client has read the file)."""

    no_new_privileges: bool = False
    seccomp: str = DEFAULT
    paths_open: bool = False


def parse(options: Iterable[str]) -> Security:
    """Raises InvalidArgument in Docker's words, or with one sentence for what this runtime has not."""
    no_new, seccomp, open_paths = False, DEFAULT, False
    for option in options:
        key, separator, value = _split(option)
        if not separator:
            if key != "no-new-privileges":
                raise InvalidArgument(f'invalid --security-opt 1: "{option}"')
            no_new = True
        elif key == "no-new-privileges":
            if value.lower() not in _BOOLEANS:
                raise InvalidArgument(f'invalid --security-opt 2: "{option}"')
            no_new = _BOOLEANS[value.lower()]
        elif key == "seccomp":
            seccomp = DEFAULT if value == "builtin" else value
        elif key == "systempaths" and value == UNCONFINED:
            open_paths = True
        elif key in ("label", "apparmor"):
            _refuse_unless_off(key, value)
        else:
            raise InvalidArgument(f'invalid --security-opt 2: "{option}"')
    return Security(no_new, seccomp, open_paths)


def _split(option: str) -> tuple[str, str, str]:
    """`key=value`, or the old `key:value`."""
    separator = "=" if "=" in option else ":"
    return option.partition(separator)


def _refuse_unless_off(key: str, value: str) -> None:
    if key == "apparmor" and value not in (UNCONFINED, ""):
        raise InvalidArgument(f"AppArmor profiles are not served: {value} can't be applied (only apparmor=unconfined)")
    if key == "label" and value != "disable":
        raise InvalidArgument(f"SELinux labels are not served: {value} can't be applied (only label=disable)")
