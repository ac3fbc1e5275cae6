"""The node's own addresses and routes: which one to advertise, which are taken. `choose` is pure; the others ask the kernel (SIOCGIFADDR, netdevice(7)).

Docker's rules: an address or an interface's name, with an optional port; without one the only candidate is taken, several are listed.
"""

from __future__ import annotations

import fcntl
import ipaddress
import socket
import struct
from collections.abc import Collection
from pathlib import Path
from typing import Final

from cluster.model.decimals import is_natural
from cluster.model.errors import InvalidArgument

SIOCGIFADDR: Final = 0x8915
SIOCGIFMTU: Final = 0x8921
ETHERNET_MTU_BYTES: Final = 1500
DEFAULT_PORT: Final = 2377
ANY: Final = "0.0.0.0"  # noqa: S104  where Docker dials a manager of which only the port is said
_OURS: Final = ("lo", "docker0", "docker_gwbridge", "veth", "br-", "vxlan")


_FORMS: Final = {
    "advertise": "a non-zero IP address or network interface (with optional port number)",
    "listen": "an IP address or network interface (with optional port number)",
    "data path": "a non-zero IP address or network interface (without a port number)",
}


def interfaces() -> tuple[tuple[str, str], ...]:
    """(interface, IPv4 address) of every interface that has one, in the kernel's order."""
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            try:
                answer = fcntl.ioctl(probe, SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
            except OSError:
                continue  # the interface has no IPv4 address
            found.append((name, socket.inet_ntoa(answer[20:24])))
    return tuple(found)


def mtu_toward(address: str) -> int:
    """The MTU of the interface that has this address: what an overlay's packets have to fit into. Ethernet's when it has none of ours."""
    for name, own in interfaces():
        if own == address:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                answer = fcntl.ioctl(probe, SIOCGIFMTU, struct.pack("256s", name.encode()[:15]))
            return int(struct.unpack_from("=16xi", answer)[0])
    return ETHERNET_MTU_BYTES


def routes(bridges: Collection[str] = (), foreign: Collection[str] = ()) -> tuple[str, ...]:
    """Where this node's own routes lead (CIDR), without the default route and those of our bridges. `bridges`: the names of those that have one of
    their own; `foreign`: names as ours may have, and have not here. Source: proc(5), /proc/net/route."""
    found = []
    for line in Path("/proc/thread-self/net/route").read_text(encoding="ascii").splitlines()[1:]:
        name, destination, _, _, _, _, _, mask = line.split()[:8]
        if int(mask, 16) and name not in bridges and (name in foreign or not name.startswith(_OURS)):
            packed = (struct.pack("<I", int(number, 16)) for number in (destination, mask))
            found.append("/".join(map(socket.inet_ntoa, packed)))
    return tuple(str(ipaddress.ip_network(one)) for one in found)


def split_port(text: str) -> tuple[str, int]:
    """`host[:port]` -> (host, port or 0). Raises InvalidArgument for a port that is no number."""
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        return text, 0
    if not is_natural(port) or not 0 < int(port) < 65536:
        raise InvalidArgument(f"invalid port in address {text!r}")
    return host, int(port)


def remote(text: str) -> str:
    """Where a manager is to be reached, `host[:port]`, with what it leaves out. Raises InvalidArgument in Docker's (Go's) words."""
    if not text:
        raise InvalidArgument('invalid remoteAddr "": invalid empty address')
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, port = text, ""
    wrong = ""
    if host.startswith("[") != host.endswith("]"):
        wrong = f"address {text}: missing ']' in address"
    elif ":" in host and not host.startswith("["):
        wrong = f"address {text}: too many colons in address"
    elif port and not is_natural(port):
        wrong = f"address udp/{port}: unknown port"
    elif port and not 0 < int(port) < 65536:
        wrong = f"address {port}: invalid port"
    if wrong:
        raise InvalidArgument(f"could not find local IP address: dial udp: {wrong}")
    return f"{host or ANY}:{port or DEFAULT_PORT}"


def usable(candidates: tuple[tuple[str, str], ...], bridges: Collection[str] = ()) -> tuple[tuple[str, str], ...]:
    """Those that are not loopback and not bridges for containers: ours by our names (or by these), or Docker's."""
    return tuple((n, a) for n, a in candidates if n not in bridges and not n.startswith(_OURS))


def toward(manager: str) -> str:
    """This node's address on the way to `host:port`; no packet is sent (connect(2) on a datagram socket only looks the route up). Raises
    InvalidArgument."""
    host, port = split_port(manager)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((host, port))
        except (socket.gaierror, UnicodeError):
            raise InvalidArgument(f"could not find local IP address: dial udp: lookup {host}: no such host") from None
        except OSError as error:
            raise InvalidArgument(f"could not find local IP address: dial udp {manager}: connect: {str(error.strerror).lower()}") from None
        return str(probe.getsockname()[0])


def own_manager(listen: str) -> str:
    """host:port at which a node reaches its own manager, which listens at `listen`: what it advertises may be the address of a NAT."""
    return f"127.0.0.1:{split_port(listen)[1] or DEFAULT_PORT}" if is_any(listen) else listen


def is_any(listen: str) -> bool:
    """Whether `host[:port]` stands for every address of the machine."""
    return not listen or listen.startswith(("0.0.0.0", ":", "[::]"))  # noqa: S104


def choose(asked: str, candidates: tuple[tuple[str, str], ...], what: str = "advertise", bridges: Collection[str] = ()) -> tuple[str, int]:
    """The address that `asked` means (empty: the only one there is that is `usable`) and its port (0: none given). Raises InvalidArgument in Docker's
    words."""
    if asked:
        host, port = split_port(asked)
        for name, address in candidates:
            if name == host:
                return address, port
        try:
            parsed = ipaddress.ip_address(host)
        except ValueError:
            parsed = None
        if parsed is None or parsed.is_unspecified:
            raise InvalidArgument(f"{what} address must be {_FORMS.get(what, _FORMS['advertise'])}")
        return str(parsed), port
    found = usable(candidates, bridges)
    if not found:
        raise InvalidArgument("could not find the system's IP address")
    if len(found) > 1:
        listed = " and ".join(f"{a} on {n}" for n, a in found[:2])
        many = "multiple addresses on different interfaces" if found[0][0] != found[1][0] else "multiple addresses on interface " + found[0][0]
        raise InvalidArgument(f"could not choose an IP address to advertise since this system has {many} ({listed})")
    return found[0][1], 0
