"""`festoon network diff` and `capture`: what deviates on this node, and the packets that pass."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from typing import Any

from cli.api import Api, reference
from cli.failures import CliFailure
from cli.flags import DURATION, INT, option, switch
from cli.usage import command


@command(
    "diff",
    summary="Show what of this node's networks is not as it should be",
    most=0,
    examples=(
        ("", "a line for each thing that deviates; exit status 1 if there is one"),
        ("--repair", "make all of it good"),
    ),
)
@switch("--repair", help="Make it good, also what the kernel tells nobody of")
def diff(api: Api, arguments: tuple[str, ...], repair: bool | None) -> int:
    """Exit status 1 when something deviates and is not repaired."""
    found = api.get("/festoon/network/diff").get("deviations") or []
    for deviation in found:
        print(f"{deviation['where']}: {deviation['what']}")
    if repair:
        api.post("/festoon/network/repair")
        found = []
    return 1 if found else 0


@command(
    "capture",
    "TASK|CONTAINER|NETWORK",
    summary="Write the packets of a task, container or network as a pcap file",
    least=1,
    most=1,
    examples=(
        ("web.1 -o web.pcap", "a task's packets until Ctrl-C, on a manager also those of a task on another node"),
        ("mynet -c 100 -s 96", "the first 96 octets of a hundred packets of a network, for a pipe"),
        ("web.1 --duration 10s | tcpdump -nr -", "ten seconds of it, read at once"),
    ),
)
@option("--output", "-o", help="Write to a file instead of standard output", default="")
@option("--count", "-c", help="End after so many packets", type=INT, default=0)
@option("--duration", help="End after this time (ms|s|m|h)", type=DURATION, default=0)
@option("--snaplen", "-s", help="Octets to keep of each packet", type=INT, default=0)
def capture(api: Api, arguments: tuple[str, ...], output: str, **flags: Any) -> int:
    """Ends at a limit or with Ctrl-C."""
    if not output and sys.stdout.isatty():
        raise CliFailure("cowardly refusing to write packets to a terminal. Use the -o flag or redirect")
    query: dict[str, Any] = {"count": flags["count"], "duration_ms": int(flags["duration"] or 0) // 1_000_000}
    if flags["snaplen"]:
        query["snaplen"] = flags["snaplen"]
    with ExitStack() as stack:
        answer = stack.enter_context(api.stream("GET", f"/festoon/network/capture/{reference(arguments[0])}", **query))
        try:
            file = stack.enter_context(open(output, "wb")) if output else sys.stdout.buffer
        except OSError as error:
            raise CliFailure(f"{output}: {error.strerror}") from error
        try:
            for piece in answer.pieces():
                file.write(piece)
                file.flush()
        except KeyboardInterrupt:
            return 0  # that is how it ends
    return 0
