"""`festoon secret update` and `festoon config update`: a new version, and every service that uses an earlier one rolled to it.

What is in the swarm never changes: a version is an object of its own, called NAME.2, NAME.3, ..., with labels that say so, and the file's place in the
containers stays what it was. Docker has no such command; there one makes another secret and changes each service by hand.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from cli.api import Api
from cli.commands.dependency import CONFIG, SECRET, Noun, read_data
from cli.convergence import wait_converged
from cli.failures import ApiFailure, CliFailure
from cli.flags import DURATION, option, switch
from cli.usage import Command, command
from cluster.model.reserved_labels import VERSION, VERSION_OF

ATTEMPTS: Final = 5
"""At one service, when somebody else changes it at the same moment."""

OUT_OF_SEQUENCE: Final = "update out of sequence"
Values = Mapping[str, Any]


def _update(noun: Noun) -> Command:
    word, upper = noun.word, noun.word.upper()

    @command(
        "update",
        f"{upper} file|-",
        summary=f"Make a new version of a {word} and roll the services that use it",
        least=2,
        most=2,
        examples=((f"my_{word} new.txt", f"becomes my_{word}.2, and each service gets it under the file name it knows"),),
    )
    @switch("--detach", "-d", help="Exit immediately instead of waiting for the services to converge")
    @switch("--quiet", "-q", help="Suppress progress output")
    @option("--verify", help="How long tasks must stay up to count as converged", type=DURATION, default=10**9)
    def update(api: Api, arguments: tuple[str, ...], detach: bool | None, quiet: bool | None, verify: int) -> int:
        name, path = arguments
        series = versions(api.get(f"/{word}s") or (), name)
        if not series:
            raise CliFailure(f"{word} not found: {name}")
        data = read_data(path)
        made = successor(series, name)
        made_id = str(api.post(f"/{word}s/create", made | {"Data": data})["ID"])
        print(made_id, flush=True)
        rolled = [
            service
            for service in api.get("/services") or ()
            if _roll(api, noun, service["ID"], {one["ID"] for one in series}, made_id, made["Name"])
        ]
        for service in rolled:
            print(service["Spec"]["Name"], flush=True)
            if not detach:
                wait_converged(api, service["ID"], verify / 1e9, quiet=bool(quiet))
        return 0

    return update


def versions(known: Iterable[Values], name: str) -> list[Values]:
    """Of the one that is called so, oldest first. Pure."""
    series = [one for one in known if one["Spec"]["Name"] == name or (one["Spec"].get("Labels") or {}).get(VERSION_OF) == name]
    return sorted(series, key=_number)


def successor(series: list[Values], name: str) -> dict[str, Any]:
    """The next version's name, labels and template driver. Pure."""
    newest = series[-1]
    number = _number(newest) + 1
    spec = newest["Spec"]
    made = {"Name": f"{name}.{number}", "Labels": (spec.get("Labels") or {}) | {VERSION_OF: name, VERSION: str(number)}}
    return made | ({"Templating": spec["Templating"]} if spec.get("Templating") else {})


def _number(one: Values) -> int:
    text = (one["Spec"].get("Labels") or {}).get(VERSION, "")
    return int(text) if text.isdecimal() else 1


def _roll(api: Api, noun: Noun, service_id: str, old: set[str], new_id: str, new_name: str) -> bool:
    """Whether the service used an old version; if so it gets the new one. Raises ApiFailure."""
    title = noun.word.capitalize()
    for attempt in range(ATTEMPTS):
        service = api.get(f"/services/{service_id}")
        using = [f for f in service["Spec"]["TaskTemplate"]["ContainerSpec"].get(f"{title}s") or () if f[f"{title}ID"] in old]
        if not using:
            return False
        for file in using:
            file.update({f"{title}ID": new_id, f"{title}Name": new_name})
        try:
            api.post(f"/services/{service_id}/update", service["Spec"], version=service["Version"]["Index"])
        except ApiFailure as e:
            if OUT_OF_SEQUENCE not in e.message or attempt == ATTEMPTS - 1:
                raise
        else:
            return True
    return False


update_secret, update_config = _update(SECRET), _update(CONFIG)
