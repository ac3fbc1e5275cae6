"""The types of flags that take addresses, as Docker's client reads them. Pure. Source: docker/cli's opts/hosts.go and pflag's ipnet_slice.go."""

from __future__ import annotations

from typing import Final

from cli.flags import FlagType

DEFAULT_HOST: Final = "0.0.0.0"  # noqa: S104  Docker's default for --listen-addr
DEFAULT_PORT: Final = "2377"


def _listen_address(text: str) -> str:
    """`[tcp://][host][:port]` with what is left out."""
    address = text.removeprefix("tcp://")
    if not address:
        return f"{DEFAULT_HOST}:{DEFAULT_PORT}"
    if "://" in address:
        raise ValueError(f"invalid proto, expected tcp: {text}")
    host, colon, port = address.rpartition(":") if not address.endswith("]") else (address, "", "")
    if not colon:
        host, port = address, ""
    port = port or DEFAULT_PORT
    plain = host.removeprefix("[").removesuffix("]")
    if not (port.isascii() and port.isdigit()):  # in the words of Go's url.Parse
        raise ValueError(f'parse "tcp://{address}": invalid port ":{port}" after host')
    if "[" not in host and ":" in plain:
        raise ValueError(f"invalid bind address format: {text}")
    return f"{host or DEFAULT_HOST}:{port}"


def _subnet(text: str) -> str:
    from ipaddress import ip_network

    for one in text.split(","):
        try:
            ip_network(one.strip(), strict=False)
        except ValueError:
            raise ValueError(f"invalid string being converted to CIDR: {one.strip()}") from None
        if "/" not in one:
            raise ValueError(f"invalid string being converted to CIDR: {one.strip()}")
    return text


LISTEN_ADDRESS: Final = FlagType("node-addr", _listen_address)
SUBNETS: Final = FlagType("ipNetSlice", _subnet)
