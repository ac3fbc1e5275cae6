"""`festoon secret …` and `festoon config …`: create, inspect, ls, rm (update is dependency_update.py's). Both nouns are one: what differs is in KINDS.

Source of the pretty form: docker/cli's formatters, blank for blank.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from cli.api import Api, filters_of, reference
from cli.commands.system import FORMAT_HELP, LIST_FORMAT_HELP, inspect_all
from cli.configuration import format_of
from cli.failures import FAILED, CliFailure, each
from cli.flags import FILTER, option, options, switch
from cli.listing import Listing, label_of
from cli.output import natural
from cli.service_flags import LABEL
from cli.units import go_time, human_age
from cli.usage import Command, Group, command

MAX_DATA_BYTES: Final = 1_024_000 + 1
"""More than any of them may have: the daemon says how much that is."""


@dataclass(frozen=True, slots=True)
class Noun:
    word: str
    driver: bool  # whether there are drivers for it
    listing: Listing
    blanks: Mapping[str, str]  # of the pretty form: field -> what stands between its colon and its value


SECRET: Final = Noun(
    "secret",
    True,
    Listing(
        {"ID": "ID", "Name": "NAME", "Driver": "DRIVER", "CreatedAt": "CREATED", "UpdatedAt": "UPDATED", "Labels": "LABELS"},
        ("ID", "Name", "Driver", "CreatedAt", "UpdatedAt"),
        kind="*secret.secretContext",
    ),
    {"ID": " " * 14, "Name": " " * 14, "Driver": " " * 12, "Created at": " " * 8, "Updated at": " " * 8},
)
CONFIG: Final = Noun(
    "config",
    False,
    Listing(
        {"ID": "ID", "Name": "NAME", "CreatedAt": "CREATED", "UpdatedAt": "UPDATED", "Labels": "LABELS"},
        ("ID", "Name", "CreatedAt", "UpdatedAt"),
        kind="*config.configContext",
    ),
    {"ID": "\t\t\t", "Name": "\t\t\t", "Created at": " " * 12 + "\t", "Updated at": " " * 12 + "\t"},
)


def _group(noun: Noun) -> Group:
    word = noun.word
    source = "a file or STDIN as content" if noun.driver else "a file or STDIN"
    return Group(
        word,
        summary=f"Manage Swarm {word}s",
        lazy={
            "create": (f"cli.commands.dependency:create_{word}", f"Create a {word} from {source}"),
            "inspect": (f"cli.commands.dependency:inspect_{word}", f"Display detailed information on one or more {word}s"),
            "ls": (f"cli.commands.dependency:ls_{word}", f"List {word}s"),
            "rm": (f"cli.commands.dependency:rm_{word}", f"Remove one or more {word}s"),
            "update": (f"cli.commands.dependency_update:update_{word}", f"Make a new version of a {word} and roll the services that use it"),
        },
        aliases={"list": "ls", "remove": "rm"},
    )


def _create(noun: Noun) -> Command:
    title, word = noun.word.capitalize(), noun.word

    def create(api: Api, arguments: tuple[str, ...], label: tuple[str, ...], template_driver: str, driver: str = "") -> int:
        body: dict[str, Any] = {"Name": arguments[0], "Labels": dict(text.partition("=")[::2] for text in label)}
        if driver:
            if len(arguments) > 1:
                raise CliFailure("When using secret driver secret data must be empty")
            body["Driver"] = {"Name": driver}
        else:
            try:
                if not arguments[1:] or not arguments[1]:
                    raise CliFailure(f"{word} file is required")
                body["Data"] = read_data(arguments[1])
            except CliFailure as e:  # Docker says it twice of a configuration
                raise CliFailure(f'Error reading content from "{arguments[1]}": {e.message}' if word == "config" else e.message) from e
        if template_driver:
            body["Templating"] = {"Name": template_driver}
        print(api.post(f"/{word}s/create", body)["ID"])
        return 0

    decorated = options("--label", "-l", help=f"{title} labels", type=LABEL)(create)
    decorated = option("--template-driver", help="Template driver", default="")(decorated)
    if noun.driver:
        decorated = option("--driver", "-d", help="Secret driver", default="")(decorated)
        return command("create", "SECRET [file|-]", summary="Create a secret from a file or STDIN as content", least=1, most=2)(decorated)
    return command("create", "CONFIG file|-", summary="Create a config from a file or STDIN", least=2, most=2)(decorated)


def read_data(path: str) -> str:
    """Of a file, or `-`: standard input, as base64. Raises CliFailure."""
    import base64

    name = "STDIN" if path == "-" else path
    try:
        if path == "-":
            data = sys.stdin.buffer.read(MAX_DATA_BYTES)
            more = len(data) == MAX_DATA_BYTES  # else the end has come, and who types would have to say so twice
            while more:
                more = bool(sys.stdin.buffer.read(MAX_DATA_BYTES))  # who writes it shall not break its pipe
        else:
            with open(path, "rb") as file:
                data = file.read(MAX_DATA_BYTES)
    except OSError as e:
        verb = "read" if isinstance(e, IsADirectoryError) else "open"
        raise CliFailure(f"error reading from {name}: {verb} {path}: {(e.strerror or str(e)).lower()}") from e
    if not data:
        raise CliFailure(f"error reading from {name}: data is empty")
    return base64.b64encode(data).decode()


def _inspect(noun: Noun) -> Command:
    word = noun.word

    @command("inspect", f"{word.upper()} [{word.upper()}...]", summary=f"Display detailed information on one or more {word}s", least=1, most=None)
    @option("--format", "-f", help=FORMAT_HELP, default="")
    @switch("--pretty", help="Print the information in a human friendly format")
    def inspect(api: Api, arguments: tuple[str, ...], format: str, pretty: bool | None) -> int:
        def get(name: str) -> Any:
            return api.get(f"/{word}s/{reference(name, word)}")

        if not pretty:
            return inspect_all(arguments, lambda name: (get(name), f"swarm.{word.title()}"), format, unreadable=FAILED)
        print("".join(_pretty(noun, get(name)) for name in arguments), end="")
        return 0

    return inspect


def _pretty(noun: Noun, found: Mapping[str, Any]) -> str:
    spec, blanks = found["Spec"], noun.blanks

    def line(field: str, value: str) -> str:
        return f"{field}:{blanks[field]}{value}\n"

    text = line("ID", found["ID"]) + line("Name", spec["Name"])
    if spec.get("Labels"):
        text += "Labels:\n" + "".join(f" - {key}={value}\n" if value else f" - {key}\n" for key, value in sorted(spec["Labels"].items()))
    if noun.driver:
        text += line("Driver", (spec.get("Driver") or {}).get("Name", ""))
    text += line("Created at", go_time(found["CreatedAt"]).lower()) + line("Updated at", go_time(found["UpdatedAt"]).lower())
    if noun.driver:
        return text
    import base64

    return text + f"Data:\n{base64.b64decode(spec.get('Data', '')).decode(errors='replace')}\n"


def _ls(noun: Noun) -> Command:
    word = noun.word

    @command("ls", summary=f"List {word}s", aliases=[f"{word} ls", f"{word} list"])
    @options("--filter", "-f", help="Filter output based on conditions provided", type=FILTER)
    @option("--format", help=LIST_FORMAT_HELP, default="")
    @switch("--quiet", "-q", help="Only display IDs")
    def ls(api: Api, arguments: tuple[str, ...], filter: tuple[str, ...], format: str, quiet: bool | None) -> int:
        import time

        now = time.time()
        found = sorted(api.get(f"/{word}s", filters=filters_of(filter)), key=lambda item: natural(item["Spec"]["Name"]))
        form = format_of(api.settings, f"{word}Format", format, quiet=quiet)
        print(noun.listing.render([_row(noun, item, now) for item in found], form, quiet=bool(quiet)), end="")
        return 0

    return ls


def _row(noun: Noun, found: Mapping[str, Any], now: float) -> dict[str, Any]:
    spec = found["Spec"]
    row: dict[str, Any] = {"ID": found["ID"], "Name": spec["Name"]}
    if noun.driver:
        row["Driver"] = (spec.get("Driver") or {}).get("Name", "")
    ages = {"CreatedAt": human_age(found["CreatedAt"], now), "UpdatedAt": human_age(found["UpdatedAt"], now)}
    labels = spec.get("Labels") or {}
    return row | ages | {"Labels": ",".join(f"{key}={value}" for key, value in sorted(labels.items())), "Label": label_of(labels)}


def _rm(noun: Noun) -> Command:
    word = noun.word

    @command("rm", f"{word.upper()} [{word.upper()}...]", summary=f"Remove one or more {word}s", least=1, most=None, aliases=[f"{word} rm", f"{word} remove"])
    def rm(api: Api, arguments: tuple[str, ...]) -> int:
        def remove(name: str) -> None:
            api.delete(f"/{word}s/{reference(name, word)}")
            print(name)

        return each(arguments, remove)

    return rm


secret, config = _group(SECRET), _group(CONFIG)
create_secret, create_config = _create(SECRET), _create(CONFIG)
inspect_secret, inspect_config = _inspect(SECRET), _inspect(CONFIG)
ls_secret, ls_config = _ls(SECRET), _ls(CONFIG)
rm_secret, rm_config = _rm(SECRET), _rm(CONFIG)
