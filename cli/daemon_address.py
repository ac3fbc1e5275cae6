"""Where the daemon is, as people write it: a path, a host, a host with a port, or an address with its scheme. Pure; loaded when one was given.

Source: docker/cli's opts.ParseHost, whose words these are.
"""

from __future__ import annotations

from typing import Final

from cli.failures import CliFailure

TCP_PORT: Final = 2375
TLS_PORT: Final = 2376
_FAILED: Final = "Failed to initialize: "
_UNRESOLVED: Final = f"{_FAILED}unable to resolve docker endpoint: "


def daemon_address(given: str, *, default: str, tls: bool) -> str:
    """The address with all of its parts. Raises CliFailure for what is none."""
    if given.startswith("/"):
        return given
    scheme, separator, rest = given.partition("://")
    if not separator:
        scheme, rest = "tcp", given
    if scheme == "unix":
        return given if rest else default
    if scheme == "ssh":
        return given
    if scheme == "fd":
        raise CliFailure(f"{_FAILED}unable to parse docker host `{given}`")
    if scheme == "npipe":
        raise CliFailure(f"{_FAILED}protocol not available")
    if scheme != "tcp":
        raise CliFailure(f"{_UNRESOLVED}invalid bind address format: {given}")
    return "tcp://" + _with_port(rest, TLS_PORT if tls else TCP_PORT)


def _with_port(rest: str, usual: int) -> str:
    place, slash, path = rest.partition("/")
    if place.startswith("[") and "]" not in place:
        raise CliFailure(f'{_UNRESOLVED}parse "tcp://{rest}": missing \']\' in host')
    at = place.rfind(":")
    host, port = (place[:at], place[at + 1 :]) if at > place.rfind("]") else (place, "")
    if port and not (port.isascii() and port.isdigit()):
        raise CliFailure(f'{_UNRESOLVED}parse "tcp://{rest}": invalid port ":{port}" after host')
    return f"{host or 'localhost'}:{port or usual}{slash if path else ''}{path}"
