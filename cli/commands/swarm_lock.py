"""`festoon swarm unlock`, `swarm unlock-key`, and what is said of an unlock key wherever there is a new one."""

from __future__ import annotations

import getpass
import sys

from cli.api import Api
from cli.failures import CliFailure
from cli.flags import switch
from cli.usage import command


@command("unlock", summary="Unlock swarm")
def unlock(api: Api, arguments: tuple[str, ...]) -> int:
    state = (api.get("/info").get("Swarm") or {}).get("LocalNodeState")
    if state == "inactive":
        raise CliFailure("Error: This node is not part of a swarm")
    if state != "locked":
        raise CliFailure("Error: swarm is not locked")
    key = getpass.getpass("Enter unlock key: ") if sys.stdin.isatty() else sys.stdin.readline().strip()
    api.post("/swarm/unlock", {"UnlockKey": key})
    return 0


@command("unlock-key", summary="Manage the unlock key")
@switch("--quiet", "-q", help="Only display token")
@switch("--rotate", help="Rotate unlock key")
def unlock_key(api: Api, arguments: tuple[str, ...], quiet: bool | None, rotate: bool | None) -> int:
    if rotate:
        found = api.get("/swarm")
        if not found["Spec"]["EncryptionConfig"]["AutoLockManagers"]:
            raise CliFailure("cannot rotate because autolock is not turned on")
        api.post("/swarm/update", found["Spec"], version=found["Version"]["Index"], rotateManagerUnlockKey="true")
        if not quiet:
            print("Successfully rotated manager unlock key.")
    key = _fetched(api)
    if quiet:
        print(key)
    else:
        print_key(api, key)
    return 0


def show_key(api: Api) -> None:
    """The swarm's unlock key, with what to do with it. Raises CliFailure."""
    print_key(api, _fetched(api))


def _fetched(api: Api) -> str:
    try:
        key = str(api.get("/swarm/unlockkey").get("UnlockKey", ""))
    except CliFailure as error:
        raise CliFailure(f"could not fetch unlock key: {error.message}") from error
    if not key:
        raise CliFailure("no unlock key is set")
    return key


def print_key(api: Api, key: str) -> None:
    print(
        f"To unlock a swarm manager after it restarts, run the `{api.program} swarm unlock`\ncommand and provide the following key:\n\n    {key}\n\n"
        "Remember to store this key in a password manager, since without it you\nwill not be able to restart the manager."
    )
