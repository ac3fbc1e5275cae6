"""`festoon system install|uninstall|halt`: Festoon on this machine, whoever its init is. Parses and prints; agent/install does it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from cli.api import Api
from cli.commands.volume import confirmed
from cli.failures import FAILED, CliFailure
from cli.flags import FLOAT, option, switch
from cli.usage import Group, command

system_ = Group(
    "system",
    summary="Manage Festoon",
    hidden=("dial-stdio",),
    lazy={
        "certs": ("cli.commands.engine_certificates:certs", "Make certificates for the Engine API over TCP"),
        "df": ("cli.commands.system_use:df", "Show festoon disk usage"),
        "dial-stdio": ("cli.commands.dial:dial_stdio", "Proxy the stdio stream to the daemon connection. Should not be invoked manually."),
        "events": ("cli.commands.system:events", "Get real time events from the server"),
        "halt": ("cli.commands.installation:halt", "Stop every container for a shutdown of this machine"),
        "info": ("cli.commands.system:info", "Display system-wide information"),
        "install": ("cli.commands.installation:install", "Install Festoon on this machine and start it"),
        "prune": ("cli.commands.system_use:prune", "Remove unused data"),
        "uninstall": ("cli.commands.installation:uninstall", "Remove Festoon from this machine"),
    },
)
ROOT: Final = "/var/lib/festoon"
RUN: Final = "/run/festoon"
WARNING: Final = (
    "WARNING! This will remove from this machine:\n  - all containers and networks of Festoon\n{}"
    "  - its membership in a swarm\n  - festoond itself\n\nAre you sure you want to continue? [y/N] "
)
DATA: Final = "  - all images, volumes and other data in {}\n"
WITHOUT_SYSTEMD: Final = (
    "systemd does not run here: have this machine's init run `festoond` at its start, and `festoon system halt` before it goes down."
)


def _need_root(what: str) -> None:
    if os.geteuid() != 0:
        raise CliFailure(f"{what} needs root", FAILED)


@command(
    "install",
    summary="Install Festoon on this machine and start it",
    examples=(
        ("", "units of systemd, links in /usr/local/bin, the group festoon"),
        ("--root /srv/festoon", "with its state elsewhere"),
    ),
)
@option("--root", help="Folder of the state", default=ROOT)
@option("--run", help="Folder of sockets and network namespaces", default=RUN)
def install(api: Api, arguments: tuple[str, ...], root: str, run: str) -> int:
    from agent.install import system
    from cluster.model.errors import ClusterError

    _need_root("system install")
    try:
        system.install(system.here(Path(root), Path(run)))
    except (ClusterError, OSError) as error:
        raise CliFailure(f"Error: {error}", FAILED) from error
    print("festoond runs; members of the group `festoon` may use it, which is as good as root." if system.has_systemd() else WITHOUT_SYSTEMD)
    return 0


@command(
    "uninstall",
    summary="Remove Festoon from this machine, with everything that it has made",
    examples=(
        ("", "asks first; nothing is left"),
        ("--force --keep-data", "without asking; images, volumes and identity stay"),
    ),
)
@option("--root", help="Folder of the state", default=ROOT)
@option("--run", help="Folder of sockets and network namespaces", default=RUN)
@switch("--keep-data", help="Leave images, volumes and identity where they are")
@switch("--force", "-f", help="Do not prompt for confirmation")
def uninstall(api: Api, arguments: tuple[str, ...], root: str, run: str, keep_data: bool | None, force: bool | None) -> int:
    from agent.install import system
    from cluster.model.errors import ClusterError
    from netfabric.errors import FabricError
    from runtime.errors import RuntimeFault

    _need_root("system uninstall")
    if not force and not confirmed(WARNING.format("" if keep_data else DATA.format(root))):
        return 0
    try:
        system.uninstall(system.here(Path(root), Path(run)), keep_data=bool(keep_data))
    except (ClusterError, RuntimeFault, FabricError, OSError) as error:
        raise CliFailure(f"Error: {error}", FAILED) from error
    return 0


@command(
    "halt",
    summary="Stop every container for a shutdown of this machine; the next boot starts them again",
    examples=(("--time 30", "for an init that is not systemd, before the machine goes down"),),
)
@option("--root", help="Folder of the state", default=ROOT)
@option("--run", help="Folder of sockets and network namespaces", default=RUN)
@option("--time", "-t", help="Seconds to wait before killing a container", type=FLOAT, default=10.0)
def halt(api: Api, arguments: tuple[str, ...], root: str, run: str, time: float) -> int:
    from agent.install import system

    _need_root("system halt")
    system.halt(Path(root), Path(run), time)
    return 0

